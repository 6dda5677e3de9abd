"""torchvision imports with any torch; each case in a process of its own, for what counts is the order of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def python(code: str) -> subprocess.CompletedProcess:
    clone = Path(__file__).parents[1]
    return subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=clone, capture_output=True, text=True)


def test_torchvision_imports_with_any_torch_and_only_when_asked():
    done = python(
        "import sys; from ablkit.data import vision; assert 'torchvision' not in sys.modules\n"
        "module = vision.torchvision(); assert vision.torchvision() is module\n"
        "module.datasets.CIFAR10, module.transforms.v2.RandomCrop, module.utils.make_grid\n"
        "print(sum(weight.numel() for weight in module.models.resnet34(num_classes=10).parameters()))"
    )
    assert (done.stdout, done.stderr) == ("21289802\n", "")


REPAIR = """
import torch
from ablkit.data import vision
attempts = []
def fake_import():
    attempts.append(1)
    if len(attempts) == 1:
        raise RuntimeError("{message}")
    return torch
vision._import = fake_import
vision.torchvision()
print(torch.ops.torchvision.nms.default)
"""


def test_only_the_known_fault_is_repaired():
    repaired = python(REPAIR.format(message="operator torchvision::nms does not exist"))
    assert repaired.stdout == "torchvision.nms.default\n"
    other = python(REPAIR.format(message="something else"))
    assert "RuntimeError: something else" in other.stderr


def test_a_missing_torchvision_is_a_users_error():
    done = python("import sys; sys.modules['torchvision'] = None; from ablkit.data import vision; vision.torchvision()")
    assert "UserError: torchvision is not installed" in done.stderr
