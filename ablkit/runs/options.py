"""The commands about runs, each with its options: to make runs, list them, hand them on."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from ablkit.runs import arguments

PRESETS = "smoke, quick, paper, released, or a peer's: backdoorbench, toolbox, backdoorbox, nab (default: quick)"
"""What `--preset` says of itself."""


def parameters(parser: argparse.ArgumentParser) -> None:
    """Those of `ablkit parameters`."""
    parser.add_argument("notebook")
    parser.add_argument("--preset", default="quick", help=PRESETS)


def run(parser: argparse.ArgumentParser) -> None:
    """Those of `ablkit run`."""
    parser.add_argument("notebook", help="a file of notebooks/, such as run, loss_gap, exclusion or sweep")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    parser.add_argument(
        "-f",
        type=partial(arguments.path, "-f"),
        action="append",
        default=[],
        metavar="FILE",
        help="set parameters from YAML",
    )
    parser.add_argument("--preset", default="quick", help=PRESETS)
    parser.add_argument("--force", action="store_true", help="run again although it is done, training all anew")
    seconds = partial(arguments.seconds, "--timeout")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="kill the run after this time")


def runs(parser: argparse.ArgumentParser) -> None:
    """Those of `ablkit runs`."""
    pairs = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    parser.add_argument("key", nargs="?", help="show the run whose key begins so")
    parser.add_argument("-p", **pairs, help="only runs like this")
    parser.add_argument("--state", choices=("done", "failed", "unfinished"), help="only runs in this state")
    parser.add_argument("--delete-failed", action="store_true", help="delete the folders of failed runs")


def bundle(parser: argparse.ArgumentParser) -> None:
    """Those of `ablkit runs bundle`."""
    parser.add_argument("keys", nargs="*", metavar="KEY", help="runs whose keys begin so (all that are finished)")
    parser.add_argument("--sweep", type=partial(arguments.path, "--sweep"), metavar="FILE", help="those of a sweep")
    archive = partial(arguments.file_path, "--to")
    parser.add_argument("--to", type=archive, required=True, metavar="FILE", help="such as runs.tar.gz; at most 16 MiB")


def add(parser: argparse.ArgumentParser) -> None:
    """Those of `ablkit runs add`."""
    parser.add_argument("file", type=partial(arguments.path, "file"), metavar="FILE", help="an archive")


def export(parser: argparse.ArgumentParser) -> None:
    """Those of `ablkit export`."""
    parser.add_argument("notebook", nargs="?", default="run")
    parser.add_argument("--to", type=_table, default=Path("results"), metavar="NAME", help="NAME.csv and NAME.parquet")


def _table(text: str) -> Path:
    """A name without the ending of either table, whether it was given or not."""
    path = arguments.file_path("--to", text)
    return path.with_suffix("") if path.suffix in (".csv", ".parquet") else path


COMMANDS = {
    "parameters": (parameters, "print a notebook's parameters as YAML, for papermill -f"),
    "run": (run, "run one notebook through papermill"),
    "runs": (runs, "list runs, show one, delete failed ones"),
    "runs bundle": (bundle, "write finished runs, without their weights, as one archive"),
    "runs add": (add, "add the runs of such an archive to those here"),
    "export": (export, "write the finished runs as CSV and Parquet"),
}
"""Name of a command -> what adds its options to a parser, and what it does."""
