"""Measure: `python -m benchmarks training | attacks | sweeps | trust | judged-again`, from the clone's folder."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from ablkit import cli
from ablkit.runs import arguments


def parser() -> cli.Parser:
    """The options of each benchmark."""
    parser = cli.Parser(
        prog="python -m benchmarks",
        description="Speed, and what `ablkit clean` finds, measured where they are claimed.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where an unexpected error comes from")
    kinds = parser.add_subparsers(required=True, metavar="WHAT", parser_class=cli.Parser)
    file = partial(arguments.file_path, "--json")
    training = kinds.add_parser("training", help="images per second beside a conventional pipeline")
    where = training.add_mutually_exclusive_group()
    where.add_argument("--json", type=file, metavar="FILE", help="write the figures there too")
    where.add_argument(
        "--to",
        type=partial(arguments.path, "--to"),
        metavar="FOLDER",
        help="measure more, for the page of speed: reports/data",
    )
    training.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    training.add_argument("--precision", default="auto", help="auto (default), fp32 or bf16")
    training.set_defaults(command=_training)
    for name, title, command in (
        ("attacks", "how fast the triggers of closed-form attacks are made", _attacks),
        ("sweeps", "what a run costs in a sweep beyond a bare papermill call", _sweeps),
    ):
        other = kinds.add_parser(name, help=title)
        other.add_argument("--json", type=file, metavar="FILE", help="write the figures there too")
        other.set_defaults(command=command)
    trust = kinds.add_parser("trust", help="what `ablkit clean` finds in poisoned folders, held against the truth")
    trust.add_argument("--threads", type=int, default=1, metavar="K", help="of each training (1)")
    trust.set_defaults(command=_trust)
    again = kinds.add_parser("judged-again", help="what today's rule says of runs of `exclude` by an earlier one")
    again.set_defaults(command=_judged_again)
    for other in (trust, again):
        where = "the data of a report, where the result is, or will be: reports/data"
        other.add_argument("--to", type=partial(arguments.path, "--to"), required=True, metavar="FOLDER", help=where)
    return parser


def _training(options: argparse.Namespace) -> None:
    from benchmarks import training, whole

    if options.to:
        arguments.check_folder("--to", options.to)
        print(whole.write(options.to, options.device, options.precision))
        return
    _check(options)
    training.bench(options.device, options.precision, options.json)


def _attacks(options: argparse.Namespace) -> None:
    from benchmarks import attacks

    _check(options)
    attacks.bench(options.json)


def _sweeps(options: argparse.Namespace) -> None:
    from benchmarks import sweeps

    _check(options)
    sweeps.bench(options.json)


def _trust(options: argparse.Namespace) -> None:
    from benchmarks import trust

    arguments.check_folder("--to", options.to)
    print(trust.measure(options.to, options.threads))


def _judged_again(options: argparse.Namespace) -> None:
    from benchmarks import judged_again

    arguments.check_folder("--to", options.to)
    print(judged_again.measure(options.to))


def _check(options: argparse.Namespace) -> None:
    if options.json:
        arguments.check_file("--json", options.json)


if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:], parser()))
