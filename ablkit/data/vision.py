"""The one place that imports torchvision: late, and repaired where its compiled operators do not load."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

from ablkit.errors import UserError

_MISSING_OPERATORS = ("nms", "qnms")
# Declarations last as long as this object does, so it must outlive the import.
_declarations: list[torch.library.Library] = []


@cache
def torchvision() -> ModuleType:
    """The torchvision module with `datasets`, `models`, `transforms.v2` and `utils` ready to use.

    Imported at the first call, since it costs seconds that most commands need not spend. Raises UserError where
    torchvision is not installed.
    """
    try:
        return _import()
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise UserError("torchvision is not installed; install it with `pip install torchvision`") from None
    except RuntimeError as error:
        # A torchvision built for CUDA beside a CPU torch (pytorch/vision#9085): its C++ operators cannot load, yet it
        # registers shape rules for two of them and dies because they do not exist. Declaring them is enough for all
        # that is used here; torchvision.ops.nms itself stays dead, and nothing here calls it.
        if "operator torchvision::" not in str(error):
            raise
        _declare_missing_operators()
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        return _import()


def _import() -> ModuleType:
    module = importlib.import_module("torchvision")
    importlib.import_module("torchvision.transforms.v2")  # torchvision itself leaves it out
    return module


def _declare_missing_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in _MISSING_OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declarations.append(library)
