"""Packaging: four files that name the same packages agree, and each check here is seen to find a disagreement."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ablkit

CLONE = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
# An address, a path, or a local build such as 2.13.0+cpu: a pin that holds on one machine only.
ONE_MACHINE_ONLY = re.compile(r"://|\+|@|--(index|extra-index|find-links|trusted)|[=\s]\.{0,2}/\w")


def read(name: str) -> str:
    return (CLONE / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}


def bounds(text: object) -> set[str]:
    return set(str(text or "").replace(" ", "").split(",")) - {""}


def environment_disagreements(text: str) -> list[str]:
    """What environment.yml names differently from pyproject.toml, one entry a package."""
    entries = [entry for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, str)]
    specs = [rattler.MatchSpec(entry) for entry in entries]
    conda = {spec.name.normalized: bounds(spec.version) for spec in specs}
    expected = {
        CONDA_NAMES.get(wanted.name, wanted.name): bounds(wanted.specifier) for wanted in RUNTIME + EXTRAS["lab"]
    }
    expected |= {"python": bounds(PROJECT["requires-python"]), "pip": set()}
    return sorted(name for name in conda.keys() | expected.keys() if conda.get(name) != expected.get(name))


def test_the_conda_environment_has_the_bounds_of_the_package():
    text = read("environment.yml")
    assert environment_disagreements(text) == []
    assert environment_disagreements(text.replace("pandas >=2.2,<4", "pandas >=2.2,<5")) == ["pandas"]
    assert environment_disagreements(text.replace("- seaborn >=0.13.2", "- tqdm")) == ["seaborn", "tqdm"]
    with pytest.raises(Exception, match="unable to parse version spec"):
        environment_disagreements(text.replace("papermill >=2.6", "papermill >=>2"))


def test_the_conda_environment_takes_its_packages_from_one_channel_and_ours_from_the_clone():
    environment = yaml.safe_load(read("environment.yml"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][-1] == {"pip": ["-e ."]}


def pins(text: str) -> dict[str, Requirement]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def unpinned(text: str) -> list[str]:
    """The packages of pyproject.toml that constraints.txt leaves out or pins outside their range."""
    pinned = pins(text)

    def holds(wanted: Requirement) -> bool:
        pin = pinned.get(canonicalize_name(wanted.name))
        versions = [specifier.version for specifier in pin.specifier if specifier.operator == "=="] if pin else []
        return len(versions) == 1 and wanted.specifier.contains(versions[0])

    everything = RUNTIME + [wanted for wanteds in EXTRAS.values() for wanted in wanteds]
    return sorted(wanted.name for wanted in everything if not holds(wanted))


def test_the_constraints_pin_every_dependency_inside_its_range():
    text = read("constraints.txt")
    assert unpinned(text) == []
    assert unpinned(re.sub(r"(?m)^pandas==.*$", "pandas==4.0.0", text)) == ["pandas"]
    assert unpinned(re.sub(r"(?m)^pytest==.*$", "", text)) == ["pytest"]
    assert unpinned(text.replace("numpy==", "numpy>=")) == ["numpy"]


def test_the_constraints_hold_on_every_machine():
    def suspicious(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("#") and ONE_MACHINE_ONLY.search(line)]

    text = read("constraints.txt")
    assert suspicious(text) == []
    for line in (
        "torch==2.13.0+cpu",
        "a @ file:///x/a.whl",
        "--find-links /x",
        "--index-url https://x/simple",
        "./a.whl",
    ):
        assert suspicious(f"{text}\n {line}") == [f" {line}"]


def test_the_first_install_step_names_the_pinned_torch():
    makefile, pinned = read("Makefile"), pins(read("constraints.txt"))
    for name in ("torch", "torchvision"):
        assert f" {name}{pinned[name].specifier}" in makefile


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == ablkit.__version__ and citation["license"] == PROJECT["license"] == "MIT"
    paper = citation["references"][0]
    assert paper["title"] == "Anti-Backdoor Learning: Training Clean Models on Poisoned Data"
    assert [author["family-names"] for author in paper["authors"]] == ["Li", "Lyu", "Koren", "Lyu", "Li", "Ma"]
    assert "MIT License" in read("LICENSE")
