"""Bad input of every kind: one short line, exit code 2, before anything starts and without anything left behind."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from ablkit import cli, commands, settings, training
from ablkit.errors import UserError
from ablkit.runs import arguments
from ablkit.runs.parameters import check, defaults
from ablkit.sweep import slots, sweep

SMOKE = ["run", "run", "--preset", "smoke"]


@pytest.fixture
def scratch(folders, tmp_path, monkeypatch) -> Path:
    """An own folder to stand in, with one of each kind of thing that is no good file."""
    place = tmp_path / "scratch"
    (place / "folder").mkdir(parents=True)
    (place / "sweep.yaml").write_text("notebook: run\npreset: smoke\ngrid: {seed: [0, 1]}\n")
    (place / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (place / "latin.yaml").write_bytes(b"a: \xff\n")
    (place / "dangling.yaml").symlink_to(place / "gone.yaml")
    os.mkfifo(place / "pipe.yaml")
    monkeypatch.chdir(place)
    monkeypatch.setenv("ABLKIT_RUNS", str(place / "runs"))
    for name in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "ABLKIT_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    return place


def judge(given: list[str], scratch: Path, capsys) -> tuple[str, list[str]]:
    """What a command says where it is refused, and which of the rules of a refusal it breaks."""
    before = sorted(scratch.rglob("*"))
    code = cli.main(given)
    told = capsys.readouterr().err
    broken = {
        "exit code 2": code == 2,
        "one line": told.count("\n") == 1 and told.endswith("\n"),
        "of 400 characters": len(told) < 400,
        "from ablkit": told.startswith("ablkit: ") and "unexpected" not in told,
        "nothing left": sorted(scratch.rglob("*")) == before,
    }
    return told, [rule for rule, kept in broken.items() if not kept]


HUGE = "1" + "0" * 5_000
REFUSED = {
    "no command": ([], "COMMAND"),
    "an unknown command": (["rn"], "invalid choice"),
    "a long command": (["x" * 100_000], "invalid choice"),
    "an unknown option": ([*SMOKE, "--fast"], "--fast"),
    "half an option": ([*SMOKE, "--time", "3"], "unrecognized arguments"),
    "half a parameter": ([*SMOKE, "-p", "seed"], "expected 2 arguments"),
    "a parameter twice": ([*SMOKE, "-p", "seed", "1", "-p", "seed", "2"], "-p 'seed' stands twice"),
    **{
        f"a time of {value[:9]}": ([*SMOKE, "--timeout", value], "is no time limit: give a number of seconds above 0")
        for value in ("inf", "0", "-1", "nan", "1e400", "1e9", "x", "", "\u0663", HUGE)
    },
    **{
        f"{option} {value[:9]}": (["sweep", "sweep.yaml", option, value], f"{option} ")
        for option in ("--workers", "--per-gpu")
        for value in ("0", "-1", "1000000000", "x", "1.5", "\u00b2", "\u0663", HUGE)
    },
    **{
        f"shard {value[:9]}": (["sweep", "sweep.yaml", "--shard", value], "must be i/n with i from 0 to n - 1")
        for value in ("", "1", "2/2", "0/0", "0/1000000000", "\u0660/\u0662", "\u00b2/3", f"0/{HUGE}", "0/2/3")
    },
    **{
        f"seeds {value[:9]}": (["report", "--preset", "smoke", "--seeds", value], "--seeds")
        for value in ("-1", "1.5", "\u0663", str(2**63), HUGE)
    },
    "workers beside Ray": (["sweep", "sweep.yaml", "--ray", "local", "--workers", "2"], "--workers with --ray"),
    "no address of Ray": (["sweep", "sweep.yaml", "--ray", ""], "--ray ''"),
    "an address of nobody": (["sweep", "sweep.yaml", "--ray", "127.0.0.1:9"], "does not answer"),
    "a port of Ray that is none": (["sweep", "sweep.yaml", "--ray", "127.0.0.1:99999"], "port of --ray"),
    **{
        f"-f {name}": ([*SMOKE, "-f", name], message)
        for name, message in {
            "twice.yaml": "line 2: 'seed' stands in line 1 already",
            "gone.yaml": "does not exist",
            "dangling.yaml": "does not exist",
            "folder": "is no regular file",
            "pipe.yaml": "is no regular file",
            "latin.yaml": "is no text",
            "": "can be no path",
            "a\0b": "can be no path",
            "a\nb": "can be no path",
            "x" * 5_000: "can be no path",
            "\ud800": "can be no path",
        }.items()
    },
    **{
        f"{name} {value[:9]}": ([*SMOKE, "-p", name, value], name)
        for name, value in [
            ("seed", HUGE),
            ("seed", str(10**4_000)),
            ("seed", str(2**63)),
            ("seed", "-1"),
            ("seed", ""),
            ("gamma", "nan"),
            ("gamma", "inf"),
            ("poison_rate", "nan"),
            ("finetune_learning_rate", "inf"),
            ("held_out", "nan"),
            ("batch_size", "0"),
            ("batch_size", str(10**9)),
            ("isolation_epochs", str(10**9)),
            ("train_size", HUGE),
            ("target", str(2**64)),
            ("nesterov", "perhaps"),
        ]
    },
    **{
        f"{name} {value[:9]!r}": ([*SMOKE, "-p", name, value], "")
        for name, value in [
            ("x" * 5_000, "1"),
            ("\udcff", "1"),
            ("", ""),
            ("attack", "\udc80"),
            ("attack", "x" * 100_000),
            ("attack", "\x1b[31m\n"),
            ("dataset", "../.."),
            ("dataset", "\0"),
            ("dataset", ""),
            ("device", "\x1b"),
            ("model", f"wrn-{'9' * 5_000}-1"),
            ("model", "wrn-\u0661\u0666-1"),
            ("method_settings", "x" * 5_000),
            ("attack_settings", "size=nan"),
            ("attack_settings", f"size={HUGE}"),
            ("attack_settings", "size=\u0663"),
            ("attack_settings", "," * 5_000 + "="),
        ]
    },
    "a setting that is not finite": ([*SMOKE, "-p", "attack", "sig", "-p", "attack_settings", "delta=inf"], "delta"),
    "too many steps": (
        [*SMOKE, "-p", "attack", "cl", "-p", "attack_settings", "steps=1000000000"],
        "at most 1,000,000",
    ),
    "other digits": (["run", "attacks", "--preset", "smoke", "-p", "seeds", "0 \u0663"], "seeds"),
    "a long seed": (["run", "attacks", "--preset", "smoke", "-p", "seeds", HUGE], "seeds"),
    "too many seeds": (["run", "attacks", "-p", "seeds", " ".join(map(str, range(2_000)))], "seeds names 2000"),
    "a sweep file that can be none": (["run", "sweep", "-p", "file", "\0"], "is not in"),
    **{
        f"{name} of the notebook about sweeps": (
            ["run", "sweep", "-p", name, value],
            f"{name} {said} has no part in a sweep",
        )
        for name, value, said in (
            ("dataset", "cifar10", "'cifar10'"),
            ("device", "cpu", "'cpu'"),
            ("precision", "fp32", "'fp32'"),
            ("threads", "2", "2"),
        )
    },
    "a notebook of parameters": (["parameters", "\x1b" * 500], "is no notebook"),
    "a preset of parameters": (["parameters", "run", "--preset", ""], "is no preset"),
    "pages into a file": (["report", "--preset", "smoke", "--to", "sweep.yaml"], "is no folder; set --to to a folder"),
    "pages below a file": (["report", "--preset", "smoke", "--to", "sweep.yaml/x"], "is no folder; set --to"),
    "pages into a dangling link": (["report", "--preset", "smoke", "--to", "dangling.yaml"], "set --to to a folder"),
    "an empty data set": (["report", "--preset", "smoke", "--dataset", ""], "is no dataset"),
    **{
        f"a table {value[:9]!r}": (["export", "--to", value], "--to")
        for value in (".", "", "folder/", "..", "sweep.yaml/x", "x" * 5_000, "x" * 250, "\0")
    },
    "data of unknown trust without a name": (["clean", ""], "source '' can be no path"),
    "a data set without a name": (["clean", ".", "--name", ""], "--name '' can be no data set's name"),
    "a model without a name": (["predict", "", "x.png"], "MODEL '' can be no path"),
    "a table of nothing": (["export", "rnu"], "'rnu' is no notebook"),
    "a key and more": (["runs", "abc", "--delete-failed"], "give it without other options"),
    "failed and done": (["runs", "--delete-failed", "--state", "done"], "failed ones are deleted"),
    "a parameter of no notebook": (["runs", "-p", "x" * 5_000, "1"], "is no parameter"),
    "an argument of attacks": (["attacks", "x"], "unrecognized arguments"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_nonsense_is_one_line_before_anything_starts(scratch, capsys, as_users_run_it, kind):
    given, message = REFUSED[kind]
    told, broken = judge(given, scratch, capsys)
    assert broken == []
    assert message in told


def test_the_current_folder_is_a_path_and_nothing_is_none():
    assert arguments.path("source", ".") == Path()
    with pytest.raises(UserError, match="source '' can be no path"):
        arguments.path("source", "")


def test_an_empty_key_begins_no_run(scratch, made, monkeypatch, capsys):
    key = made(0).folder.name
    for given in (
        ["runs", ""],
        ["runs", "bundle", "", "--to", "x.tar.gz"],
        ["report", "--from", "folder", "--add", ""],
    ):
        told, broken = judge(given, scratch, capsys)
        assert broken == [] and "'' begins 0 runs" in told
    assert cli.main(["runs", key[:1]]) == 0  # the twin


def test_the_rules_see_a_command_that_does_what_it_says(scratch, capsys):
    told, broken = judge(["sweep", "sweep.yaml", "--dry-run", "--timeout", "60", "--workers", "2"], scratch, capsys)
    assert told == "" and broken[:2] == ["exit code 2", "one line"]
    (scratch / "runs").mkdir()
    assert judge(["runs"], scratch, capsys)[1][:1] == ["exit code 2"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SLURM_ARRAY_TASK_ID": "abc"}, "SLURM_ARRAY_TASK_ID 'abc' must be a whole number"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT is not set"),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "0"}, "SLURM_ARRAY_TASK_COUNT '0' must be"),
        (
            {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_STEP": "0"},
            "SLURM_ARRAY_TASK_STEP '0' must be a whole number from 1",
        ),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3"}, "is no shard: submit the array as 0-2"),
        ({"JOB_COMPLETION_INDEX": "1"}, "but not ABLKIT_SHARDS"),
        ({"JOB_COMPLETION_INDEX": "x", "ABLKIT_SHARDS": "2"}, "JOB_COMPLETION_INDEX 'x' must be a whole number"),
        ({"JOB_COMPLETION_INDEX": "2", "ABLKIT_SHARDS": "2"}, "JOB_COMPLETION_INDEX '2' must be"),
        ({"JOB_COMPLETION_INDEX": "0", "ABLKIT_SHARDS": "x" * 5_000}, "ABLKIT_SHARDS"),
    ],
)
def test_nonsense_from_the_batch_system_is_one_line(scratch, capsys, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told, broken = judge(["sweep", "sweep.yaml"], scratch, capsys)
    assert broken == []
    assert message in told


@pytest.mark.parametrize("command", [SMOKE, ["sweep", "sweep.yaml"], ["report", "--preset", "smoke", "--to", "pages"]])
def test_a_folder_of_runs_that_cannot_be_is_named_before_anything_starts(scratch, capsys, monkeypatch, command):
    monkeypatch.setenv("ABLKIT_RUNS", str(scratch / "sweep.yaml"))
    told, broken = judge(command, scratch, capsys)
    assert broken == []
    assert "sweep.yaml is no folder; set ABLKIT_RUNS to one" in told
    monkeypatch.setenv("ABLKIT_RUNS", str(scratch / ("x" * 300)))
    told, broken = judge(command, scratch, capsys)
    assert broken == []
    assert "can be no path; give another one" in told
    monkeypatch.setenv("ABLKIT_RUNS", str(scratch / "folder" / "runs"))
    monkeypatch.setattr(arguments.os, "access", lambda path, mode: False)  # as for anybody but root
    told, broken = judge(command, scratch, capsys)
    assert broken == []
    assert "may not be written; set " in told and "to a folder you may write" in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TypeError("no\nlen() " + "x" * 5_000), "unexpected TypeError: no len() xxx"),
        (MemoryError(), "unexpected MemoryError;"),
        (RecursionError("too deep"), "unexpected RecursionError: too deep;"),
        (OSError(5, "Input/output error", "/x"), "unexpected OSError: [Errno 5] Input/output error: '/x'"),
        (KeyError("x"), "unexpected KeyError: 'x'"),
    ],
)
def test_what_no_command_expects_is_one_line_and_the_rest_on_request(scratch, capsys, monkeypatch, error, told):
    def fail(options: object) -> None:
        raise error

    monkeypatch.setattr(commands, "methods", fail)
    assert cli.main(["methods"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"ablkit: {told}") and line.count("\n") == 1 and len(line) < 400
    assert "run it again with --traceback" in line
    for given in (["--traceback", "methods"], ["methods", "--traceback"]):
        assert cli.main(given) == 2
        assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setenv("ABLKIT_TRACEBACK", "1")
    assert cli.main(["methods"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_full_disk_below_the_output_is_one_line(capfd, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(cli.sys, "stdout", full)
        assert cli.main(["methods"]) == 2
        monkeypatch.undo()
    assert "no room left to print or write; free some space" in capfd.readouterr().err


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 10**400, "x", None, [1]])
def test_a_time_limit_is_judged_for_library_calls_too(value):
    with pytest.raises(UserError, match="is no time limit"):
        arguments.seconds("timeout", value)


def test_a_good_time_limit_is_one_that_the_clock_takes(scratch):
    import threading

    assert arguments.seconds("timeout", 0.5) == 0.5
    assert arguments.seconds("timeout", "1e3") == 1000
    assert arguments.MOST_SECONDS * arguments.MOST_AT_A_TIME < threading.TIMEOUT_MAX
    with pytest.raises(UserError, match="timeout nan is no time limit"):
        sweep(scratch / "sweep.yaml", timeout=math.nan)
    with pytest.raises(UserError, match="workers 0 must be a whole number from 1"):
        slots.make([], 0)


def test_what_is_no_number_is_none_on_any_way_in():
    with pytest.raises(UserError, match="parameter seed of run: input should be a number, got True"):
        check("run", {**defaults("run"), "seed": True}, strict=False)
    assert check("run", {**defaults("run"), "seed": "3"}, strict=False).seed == 3
    for name, value in (("gamma", math.nan), ("momentum", math.inf), ("batch_size", 10**9), ("unlearn_epochs", 10**9)):
        with pytest.raises(UserError, match=name):
            training.recipe("smoke", **{name: value})
    for text in ("delta=nan", "delta=1e400", f"delta={'9' * 400}", "delta=\u0663"):
        with pytest.raises(UserError, match="delta of sig"):
            settings.make("sig", _Sig, settings.parse(text))


@dataclass(frozen=True)
class _Sig:
    delta: float = 1.0
