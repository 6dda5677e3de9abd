"""The commands in the READMEs: each is understood by the program that it names, and the quick ones are run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
import papermill.cli
import pytest
from readmes import FENCED, PARTS, ROOT, TEXTS

from ablkit import cli
from ablkit.attacks import ATTACKS
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.report.plan import COMPARISONS
from ablkit.runs.parameters import changed, check, defaults
from ablkit.runs.parameters.presets import PRESETS
from ablkit.runs.parameters.yaml_file import read as read_yaml
from ablkit.sweep import definition
from benchmarks.__main__ import parser as benchmarks_parser

# Commands

PROGRAMS = ("ablkit", "papermill", "python", "make", "pytest", "bash", "export", "pip")


@dataclass(frozen=True)
class Command:
    """A command as a README prints it."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words, without variables before it, a comment, and where its output goes."""
        words = shlex.split(self.text, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        words = words[: words.index(">")] if ">" in words else words
        return [words[0].rpartition("/bin/")[2], *words[1:]] if words else []

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def commands(page: str, text: str) -> list[Command]:
    """The commands of its blocks and in its lines; every line of a block without a language is one."""
    lines = [line for language, block in FENCED.findall(text) if not language for line in block.splitlines() if line]
    rest = FENCED.sub("", text)
    maybe = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest)]
    maybe += re.findall(r"^ {4}(\S.*)$", rest, re.MULTILINE)
    found = [Command(page, line) for line in maybe if re.match(rf"({'|'.join(PROGRAMS)}) \S", line)]
    return [command for command in (*(Command(page, line) for line in lines), *found) if command.words]


COMMANDS = [command for page, text in TEXTS.items() for command in commands(page, text)]
ABLKIT = [command for command in COMMANDS if command.words[0] == "ablkit"]
NEW = {"stripe", "shrink"}
"""What the examples add; their commands are run below."""


def understand(command: Command) -> None:
    """Raise where a program does not understand the command, or a file or a name in it does not exist."""
    program, *words = command.words
    assert program in PROGRAMS, f"{program} is no program of the READMEs"
    for word in words:
        if re.match(rf"({'|'.join(PARTS)})/", word):
            assert (ROOT / word).exists(), f"{word} does not exist"
    if program == "ablkit":
        understand_ablkit(words)
    elif program == "papermill":
        given = papermill.cli.papermill.make_context("papermill", list(words)).params
        notebook = Path(given["notebook_path"]).stem
        check(notebook, changed(notebook, "quick", dict(given["parameters"])), strict=False)
    elif program == "python" and words[:2] == ["-m", "benchmarks"]:
        benchmarks_parser().parse_args(words[2:])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text()
        targets = {*re.findall(r"^(\w+):", makefile, re.MULTILINE), ".node/.installed"}
        for word in words:
            name, is_setting, _ = word.partition("=")
            known = re.search(rf"^{name} \?= ", makefile, re.MULTILINE) if is_setting else name in targets
            assert known, f"make knows no {name}"


def understand_ablkit(words: list[str]) -> None:
    try:
        options = cli._parser().parse_args(cli._joined(words))
    except UserError:
        if any(word.startswith("-") for word in words):
            raise
        with pytest.raises(SystemExit):  # a command's name alone, in a sentence
            cli._parser().parse_args(cli._joined([*words, "--help"]))
        return
    given = vars(options)
    if "preset" in given:
        assert given["preset"] in {*PRESETS, None}
    if words[0] == "run" and not NEW & {*words}:
        check(options.notebook, changed(options.notebook, options.preset, dict(options.p)), strict=False)
    elif words[0] == "parameters":
        defaults(options.notebook, options.preset)
    elif words[0] == "sweep":
        definition.read(ROOT / options.file, options.preset)
    elif words[0] == "report":
        assert {*options.attacks} <= {*ATTACKS, "all"} and {*given["with"]} <= {*COMPARISONS}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_is_understood(command):
    understand(command)


def test_commands_of_every_program_are_found():
    assert {command.words[0] for command in COMMANDS} == {*PROGRAMS}
    kinds = {command.words[1] for command in ABLKIT}
    assert kinds == {
        *("attacks", "clean", "data", "export", "methods", "parameters", "predict", "report", "run", "runs", "sweep"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "ablkit sweeps",
        "ablkit runs bundel --to FILE --yes",
        "ablkit run runn",
        "ablkit run run -p atack badnets",
        "ablkit run run -p attack badnet",
        "ablkit run run --preset fast",
        "ablkit run table1 -p changes nope=1",
        "ablkit report --with twinss",
        "ablkit report --attacks badnet",
        "ablkit sweep notebooks/sweeps/nope.yaml",
        "ablkit sweep notebooks/sweeps/quick.yaml --worker 2",
        ".venv/bin/ablkit parameters --preset quick",
        "ablkit parameters runn",
        "papermill notebooks/runn.ipynb out.ipynb",
        "papermill notebooks/run.ipynb out.ipynb -p atack badnets",
        "papermill notebooks/run.ipynb out.ipynb --nope",
        "python -m benchmarks trainings",
        "python benchmarks/gpu/speeds.py FILE",
        "pytest tests/test_nope.py",
        "make reports",
        "make report SEED=1",
        "conda install ablkit",
    ],
)
def test_a_command_that_nothing_understands_is_found(text):
    with pytest.raises((UserError, AssertionError, click.ClickException)):
        understand(Command("", text))


def test_a_sentence_may_name_a_command_without_what_it_needs():
    for name in ("ablkit sweep", ".venv/bin/ablkit runs bundle"):
        understand(Command("", name))


QUICK = ("attacks", "methods", "parameters", "runs", "export", "sweep")
NAMES = (["sweep"], ["runs", "bundle"], ["runs", "add"])
"""Commands that sentences name alone, without what they need."""


def test_the_quick_commands_do_what_they_say(made, tmp_path, monkeypatch, capsys):
    """In the order of the pages, where one run is done; a sweep only lists its runs."""
    key = made(0, precision="auto", method="none").folder.name
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("notebooks").symlink_to(ROOT / "notebooks")
    done = []
    for command in ABLKIT:
        words = [key if word == "KEY" else word for word in command.words[1:]]
        if words[0] not in QUICK or words in NAMES or "OUT/" in command.text:  # a folder of the GPU's script
            continue
        if words[:2] == ["attacks", "export"]:  # of CIFAR-10; see test_export_attack.py
            continue
        words += ["--dry-run"] if words[0] == "sweep" and "--dry-run" not in words else []
        if words in done:
            continue
        assert main(words) == 0, command
        told = capsys.readouterr().out
        if command.text.partition("#")[0].strip().endswith("> released.yaml"):
            Path("released.yaml").write_text(told)
        done.append(words)
    begun = {" ".join(words[:2]) for words in done}
    assert {"attacks", "methods", "parameters run", "runs bundle", "runs add", f"runs {key}", "export run"} <= begun
    assert read_yaml(Path("released.yaml"))["released"] is True
    assert {path.name for path in Path().iterdir()} == {
        "notebooks",
        "released.yaml",
        "results.csv",
        "results.parquet",
        "runs.tar.gz",
    }
    assert main(["runs", "nope"]) == 2  # the twin
