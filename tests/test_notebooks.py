"""The notebooks are clean, and their parameters cells say what the package checks."""

from __future__ import annotations

import ast
import json
import re
import statistics
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import nbformat
import papermill
import pytest

from ablkit.errors import UserError
from ablkit.report import findings
from ablkit.runs import notebooks
from ablkit.runs.parameters import NOTEBOOKS, PRESETS, check, defaults
from ablkit.training.recipe import Recipe

FOLDER = Path(__file__).parents[1] / "notebooks"
FILES = sorted(FOLDER.glob("*.ipynb"))


def problems(notebook: dict) -> list[str]:
    """What a committed notebook must not have."""
    found = []
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if [i for i, cell in enumerate(cells) if notebooks.is_parameters(cell)] not in ([1], [2]):
        found.append("the parameters cell is not the only one and second or third")
    if any(cell["outputs"] or cell["execution_count"] for cell in code):
        found.append("outputs or execution counts")
    if notebook["metadata"]["kernelspec"]["name"] != "python3":
        found.append("a kernel of its own")
    ids = [cell["id"] for cell in cells]
    if len(set(ids)) < len(ids) or not all(re.fullmatch(r"[a-z][a-z0-9-]+", name) for name in ids):
        found.append("ids that are not unique and readable")
    for cell in code:
        source = "".join(cell["source"])
        if not notebooks.is_parameters(cell) and len(source.splitlines()) > 12:
            found.append(f"cell {cell['id']} is too long")
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(ast.parse(source))):
            found.append(f"cell {cell['id']} defines a function")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_notebooks_are_clean(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert problems(json.loads(path.read_text())) == []
    assert len(notebooks.cells(path)) <= 16


def test_a_dirty_notebook_is_found():
    notebook = json.loads(FILES[0].read_text())
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell |= {"execution_count": 1, "source": ["def f():\n", *["    x = 1\n"] * 12], "id": "A B"}
    notebook["metadata"]["kernelspec"]["name"] = "mine"
    assert len(problems(notebook)) >= 4


FINDINGS = {
    "run": "of_run",
    "loss_gap": "of_gap",
    "attacks": "of_attacks",
    "table1": "of_methods",
    "unlearning": "of_methods",
    "what_unlearns": "of_arms",
    "twins": "of_twins",
    "isolators": "of_isolators",
    "architectures": "of_architectures",
    "gamma": "of_cases",
    "isolation_rate": "of_cases",
    "turning_epoch": "of_cases",
    "poison_rate": "of_cases",
    "recipes": "of_cases",
}
"""Notebook that judges a hypothesis -> the finding with which it ends."""


def claims(notebook: dict, finding: str) -> list[str]:
    """Where a notebook claims something instead of asking, and computing what the data say."""
    found = []
    title, _, first = "".join(notebook["cells"][0]["source"]).partition("\n\n")
    if not re.fullmatch(r"# [A-Z].*\?", title):
        found.append("the title asks nothing")
    if not re.match(r"\*\*Hypothesis\*\* \([^)]*paper|\*\*Hypothesis\*\* \(Li et al\.", first):
        found.append("no hypothesis with its source")
    last = notebook["cells"][-1]
    if last["cell_type"] != "code" or f"cells.say(findings.{finding}(" not in "".join(last["source"]):
        found.append("the last cell computes no verdict")
    if "Claim" in "".join("".join(cell["source"]) for cell in notebook["cells"]):
        found.append("a claim")
    return found


@pytest.mark.parametrize("name", FINDINGS)
def test_a_notebook_asks_and_ends_with_what_the_data_say(name):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    assert claims(notebook, FINDINGS[name]) == []
    # The twin: as they were.
    notebook["cells"][0]["source"] = ["# Poisoned examples are learned faster\n", "\n", "**Claim.** They are."]
    notebook["cells"] += notebook["cells"][-2:-1]
    assert len(claims(notebook, FINDINGS[name])) == 4


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("run", (findings.GONE, findings.PRESENT, findings.CHEAP, findings.DEAR)),
        ("loss_gap", (findings.FASTER, findings.PRECISE)),
        ("attacks", (findings.PRESENT,)),
        ("table1", (findings.GONE, findings.PRESENT, findings.CHEAP, findings.DEAR)),
        ("unlearning", (findings.GONE, findings.PRESENT, findings.CHEAP, findings.DEAR)),
        ("what_unlearns", (findings.GONE, findings.PRESENT, findings.MOST, findings.MATTERS)),
        ("twins", (findings.MATTERS,)),
        ("isolators", (findings.RELIABLE, findings.PRECISE)),
        ("architectures", (findings.RELIABLE, findings.PRESENT)),
        ("gamma", (findings.GONE, findings.PRESENT)),
        ("adaptive", (findings.GONE, findings.PRESENT)),
    ],
)
def test_a_notebook_says_by_which_limits_it_judges(name, limits):
    (cell,) = (cell for cell in notebooks.cells(FOLDER / f"{name}.ipynb") if cell["id"] == "reading")
    text = "".join(cell["source"])
    for limit in limits:
        assert re.search(rf"\b{100 * limit:.0f} (%|points)", text), limit
    assert not re.search(rf"\b{100 * limits[0] + 1:.0f} (%|points)", text)


def declared(path: Path) -> dict[str, object]:
    """Name -> default of a notebook's parameters, as papermill reads them, with a type and a help each."""
    lines = papermill.inspect_notebook(str(path))
    assert all(line["help"] for line in lines.values())
    values = {name: ast.literal_eval(line["default"]) for name, line in lines.items()}
    assert {name: line["inferred_type_name"] for name, line in lines.items()} == {
        name: type(value).__name__ for name, value in values.items()
    }
    return values


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_papermill_reads_the_parameters_of_the_model(name):
    values = declared(FOLDER / f"{name}.ipynb")
    assert list(values.items()) == list(defaults(name, "quick").items())  # in the same order, too


def unlike(source: str) -> list[str]:
    """What is wrong with the comments of a parameters cell: one in another column, or one that lacks a choice."""
    lines = [line for line in source.splitlines() if re.match(r"\w+: ", line)]
    column = statistics.mode(line.index("#") for line in lines)
    found = [line for line in lines if line.index("#") != max(column, len(line.partition("#")[0].rstrip()) + 2)]
    choices = {name: get_args(kind) for name, kind in get_type_hints(Recipe).items() if get_origin(kind) is Literal}
    for line in lines:
        words = re.findall(r"\w+", line.partition("#")[2])
        found += [line for choice in choices.get(line.partition(":")[0], ()) if choice not in words]
    return found


def parameters_of(path: Path) -> str:
    (cell,) = filter(notebooks.is_parameters, json.loads(path.read_text())["cells"])
    return "".join(cell["source"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_comments_of_parameters_stand_in_one_column_and_name_every_choice(path):
    assert unlike(parameters_of(path)) == []


@pytest.mark.parametrize(("old", "new"), [('"padded" ', '"padded"'), (", or momentum_0", ""), ("lga, ", "")])
def test_a_comment_that_lacks_a_choice_or_stands_elsewhere_is_found(old, new):
    source = parameters_of(FOLDER / "run.ipynb")
    assert old in source and len(unlike(source.replace(old, new))) == 1


def missing(text: str) -> set[str]:
    """The notebooks that a text names by their files and that are not there."""
    return {
        name for name in re.findall(r"`(?:notebooks/)?(\w+)\.ipynb`", text) if not (FOLDER / f"{name}.ipynb").exists()
    }


def test_every_notebook_that_a_notebook_names_is_there():
    texts = [path.read_text() for path in FILES]
    assert set().union(*map(missing, texts)) == set()
    assert sum("`table1.ipynb`" in text for text in texts) >= 2 and missing("see `defenses.ipynb`") == {"defenses"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gamma: float = 0.5 ", "gamma: float = 0.6 "),
        ("gamma: float = 0.5 ", "gamma: float | None = 0.5 "),
        ("gamma: float = 0.5 ", "gamma = 0.5 "),
        ("# threshold of LGA", "# such as gamma=0.3"),
    ],
)
def test_a_parameter_that_papermill_reads_otherwise_is_found(tmp_path, old, new):
    text = (FOLDER / "run.ipynb").read_text()
    assert old in text
    path = tmp_path / "run.ipynb"
    path.write_text(text.replace(old, new))
    with pytest.raises(AssertionError):
        assert declared(path) == defaults("run", "quick")


def test_there_is_a_notebook_for_each_model_and_the_other_way_round():
    assert {path.stem for path in FILES} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(name, preset):
    if (name, preset) == ("what_unlearns", "nab"):  # which neither fine-tunes nor unlearns
        with pytest.raises(UserError, match="finetune_epochs is 0, so that there is nothing to compare"):
            check(name, defaults(name, preset))
    else:
        check(name, defaults(name, preset))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gama": 0.5}, "'gama' is no parameter of run; did you mean 'gamma'?"),
        ({"gamma": "0.7"}, "parameter gamma of run: input should be a valid number, got '0.7'"),
        ({"seed": 1.5}, "parameter seed of run"),
        ({"method": "able"}, "'able' is no method; did you mean 'abl'"),
        ({"attack": "badnet"}, "'badnet' is no attack; did you mean 'badnets'?"),
        ({"poison_rate": -0.1}, "poison_rate -0.1 is outside [0, 1); the paper uses 0.1, 0 is clean data"),
        ({"isolation_rate": 1.5}, "isolation_rate 1.5 is outside (0, 1)"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"train_size": -5}, "train_size -5 is negative"),
        ({"model": "wrn-17-1"}, "model 'wrn-17-1'"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(values, message):
    with pytest.raises(UserError) as error:
        check("run", values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_line_may_write_numbers_as_text():
    assert check("run", {"gamma": "0.7", "seed": "3", "flip": "false"}, strict=False).gamma == 0.7
