"""The house: where a stranger finds things, and that what lies deeper knows nothing of what stands on it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ablkit import provenance
from ablkit.attacks import ATTACKS
from ablkit.runs import arguments, environment
from ablkit.sweep import slots

ROOMS = (
    "ground",
    "data",
    "models",
    "training",
    "attacks",
    "exclusion",
    "defenses",
    "metrics",
    "cleaning",
    "runs",
    "sweep",
    "report",
    "cli",
)
"""From the ground up; each imports from those before it alone."""


def room(module: str) -> int:
    name = [*module.split("."), ""][1]
    return ROOMS.index("cli" if name == "commands" else name if name in ROOMS else "ground")


def test_rooms_import_only_from_those_below_them_and_no_module_from_itself_in_a_circle():
    imported = {module: provenance.imports(source) for module, source in provenance._SOURCES.items()}
    upward = [(one, other) for one, others in imported.items() for other in others if room(other) > room(one)]
    assert upward == []
    # The twin: the other way round there are many.
    assert len([1 for one, others in imported.items() for other in others if room(other) < room(one)]) > 100
    assert [one for one, others in imported.items() if one in provenance.everything(*others)] == []


def test_the_house_has_eleven_rooms_ten_modules_and_a_readme():
    entries = [path for path in Path(provenance.__file__).parent.iterdir() if path.name != "__pycache__"]
    assert sorted(path.name for path in entries if path.is_dir()) == sorted({*ROOMS} - {"ground", "cli"})
    files = [path for path in entries if path.is_file()]
    assert len(files) <= 11 and [path.name for path in files if path.suffix != ".py"] == ["README.md"]
    attacks = {path.stem for path in (Path(provenance.__file__).parent / "attacks").iterdir() if path.suffix != ".md"}
    assert attacks - {"__pycache__"} == {*ATTACKS, "__init__", "attack", "attacker", "export"}


def test_trainings_exclusion_and_defences_never_name_what_is_poisoned():
    def naming(*rooms: str) -> set[str]:
        own = [module for module in provenance._SOURCES if any(f"{module}.".startswith(f"ablkit.{r}.") for r in rooms)]
        return {one for one in own if re.search(r"\b(is_poisoned|true_labels)\b", provenance._SOURCES[one])}

    assert naming("training", "exclusion", "defenses") == set()
    # The twin: what measures, shows or exports it names it.
    assert {"ablkit.metrics.definitions", "ablkit.report.tables", "ablkit.attacks.export"} <= naming(
        "metrics", "report", "attacks"
    )


def test_one_function_counts_the_cores_that_a_process_may_use(monkeypatch):
    folder = Path(provenance.__file__).parents[1]
    files = [path for name in ("ablkit", "benchmarks") for path in sorted((folder / name).rglob("*.py"))]
    counting = [path.name for path in files if re.search(r"sched_getaffinity|os\.cpu_count", path.read_text())]
    assert counting == ["arguments.py"]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert arguments.cores() == environment.describe("cpu")["cores"] == slots.cores() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {5})  # the twin
    assert arguments.cores() == environment.describe("cpu")["cores"] == slots.cores() == 1


def test_what_executes_a_notebook_or_imports_images_imports_no_torch():
    def imported(module: str) -> bool:
        code = f"import sys, {module}; print('torch' in sys.modules)"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"True\n"

    assert not imported("ablkit.runs.child")
    assert not imported("ablkit.cli, ablkit.data.importing")
    assert imported("ablkit.runs.execute")  # the twin
