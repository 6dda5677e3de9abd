"""The command line: `ablkit data | parameters | run | report | sweep | runs | export | attacks | methods`."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ablkit import __version__, commands
from ablkit.errors import UserError, shortened
from ablkit.runs import arguments


class Parser(argparse.ArgumentParser):
    """argparse's, with one line and no abbreviated options: a mistake is a UserError like every other."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> None:
        """Raise UserError; argparse would print its usage, and end the process."""
        raise UserError(f"{shortened(message)}; see `{self.prog} --help`")


def main(given: list[str] | None = None, parser: Parser | None = None) -> int:
    """Run a command; exit code 0 when it did what it says, 1 when a notebook failed, 2 for the user's mistakes.

    What no command expects is one line too, and exit code 2; `--traceback`, or ABLKIT_TRACEBACK=1, shows all of it.

    Args:
        parser: of other commands than the kit's own; see `benchmarks`.
    """
    given = sys.argv[1:] if given is None else given
    whole = "--traceback" in given or os.environ.get("ABLKIT_TRACEBACK", "0") not in ("", "0")
    if threading.current_thread() is threading.main_thread():
        # A closed terminal or a batch system ends us as Ctrl-C does, so that no training is left behind.
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _interrupt)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal's encoding does not
    try:
        _check_current_folder()
        options = _parser().parse_args(_joined(given)) if parser is None else parser.parse_args(given)
        code = options.command(options) or 0
        sys.stdout.flush()  # here, where a full disk is still one line
        return code
    except KeyboardInterrupt:
        print("\nablkit: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `ablkit attacks | head`
        _print_no_more()
        print("ablkit: stopped, as nobody reads what it prints", file=sys.stderr)
        return 1
    except Exception as error:
        if whole:
            traceback.print_exc()
        if isinstance(error, OSError):
            _print_no_more()
        for line in str(error).splitlines() if isinstance(error, UserError) else [_unexpected(error)]:
            print(f"ablkit: {shortened(line, 600)}", file=sys.stderr)
        return 2


def _joined(given: list[str]) -> list[str]:
    """The arguments with `runs bundle` and `runs add` as one command each: what else follows `runs` is a key."""
    at = next((place for place, word in enumerate(given) if not word.startswith("-")), 0)
    two = given[at : at + 2]
    is_one = two in (["runs", "bundle"], ["runs", "add"])
    return [*given[:at], " ".join(two), *given[at + 2 :]] if is_one else given


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError:  # torch would end the process without a word of ours
        raise UserError("the current folder does not exist any more; change to one that does") from None


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no room left to print or write; free some space, then run the same command again"
    reason = f"unexpected {type(error).__name__}: {error}" if str(error) else f"unexpected {type(error).__name__}"
    return f"{shortened(reason)}; run it again with --traceback to see where, and report that"


def _print_no_more() -> None:
    """Or Python complains while it ends, where what was printed last could not be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> Parser:
    everywhere = Parser(add_help=False)
    everywhere.add_argument("--traceback", action="store_true", help="show where an unexpected error comes from")
    parser = Parser(prog="ablkit", description="Anti-Backdoor Learning, re-run.", parents=[everywhere])
    parser.add_argument("--version", action="version", version=__version__)
    kinds = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=partial(Parser, parents=[everywhere]))

    data = kinds.add_parser("data", help="prepare a data set")
    data.add_argument("name", help="cifar10 or digits")
    data.set_defaults(command=commands.data)

    parameters = kinds.add_parser("parameters", help="print a notebook's parameters as YAML, for papermill -f")
    parameters.add_argument("notebook")
    parameters.add_argument("--preset", default="quick", help="smoke, quick, paper or released (default: quick)")
    parameters.set_defaults(command=commands.parameters)

    _add_run(kinds)
    _add_report(kinds)
    _add_sweep(kinds)
    _add_runs(kinds)

    export = kinds.add_parser("export", help="write the finished runs as CSV and Parquet")
    export.add_argument("notebook", nargs="?", default="run")
    export.add_argument("--to", type=_table, default=Path("results"), metavar="NAME", help="NAME.csv and NAME.parquet")
    export.set_defaults(command=commands.export)

    attack_list = kinds.add_parser("attacks", help="list the attacks: kind, paper, rate, settings, cost")
    attack_list.set_defaults(command=commands.attacks)

    method_list = kinds.add_parser("methods", help="list the methods: title, paper, what it needs, settings")
    method_list.set_defaults(command=commands.methods)
    return parser


def _add_run(kinds: argparse._SubParsersAction) -> None:
    run = kinds.add_parser("run", help="run one notebook through papermill")
    run.add_argument("notebook", help="run, loss_gap, attacks, defenses, unlearning, what_unlearns, twins or sweep")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    run.add_argument(
        "-f",
        type=partial(arguments.path, "-f"),
        action="append",
        default=[],
        metavar="FILE",
        help="set parameters from YAML",
    )
    run.add_argument("--preset", default="quick", help="smoke, quick, paper or released (default: quick)")
    run.add_argument("--force", action="store_true", help="run again although it is done, training all anew")
    run.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="kill the run after this time")
    run.set_defaults(command=commands.run)


def _add_report(kinds: argparse._SubParsersAction) -> None:
    report = kinds.add_parser("report", help="run what is missing and build the pages")
    report.add_argument("--preset", default="quick", help="smoke, quick, paper or released (default: quick)")
    several = {"action": "extend", "nargs": "+", "default": []}  # given twice, an option adds to what it names
    report.add_argument("--seeds", type=_seed, **several, help="one run of each kind for each seed (default: 0)")
    report.add_argument("--dataset", help="cifar10 (default), digits or a prepared folder")
    report.add_argument("--attacks", **several, metavar="ATTACK", help="names, or 'all' (default: badnets)")
    more = "also: loss_gap, attacks, defenses, unlearning, what_unlearns, twins, isolators, exclusion, architectures"
    report.add_argument("--with", **several, metavar="NOTEBOOK", help=more)
    report.add_argument("--as-is", action="store_true", help="run nothing: pages of what is done, a list of the rest")
    report.add_argument("--to", type=_to, help="folder of the pages (default: reports/local)")
    report.add_argument(
        "--from",
        type=partial(arguments.path, "--from"),
        metavar="DATA",
        help="make pages of committed numbers, run nothing",
    )
    report.add_argument("--add", **several, metavar="KEY", help="take these finished runs into DATA first")
    report.set_defaults(command=commands.report)


def _add_sweep(kinds: argparse._SubParsersAction) -> None:
    sweep = kinds.add_parser("sweep", help="run every combination in a YAML file that is not done yet")
    sweep.add_argument("file", type=partial(arguments.path, "file"), help="see notebooks/sweeps")
    sweep.add_argument("--preset", help="in place of the file's, such as smoke for a rehearsal")
    room = sweep.add_mutually_exclusive_group()
    room.add_argument("--workers", type=_at_a_time("--workers"), metavar="K", help="runs at a time (1)")
    room.add_argument("--per-gpu", type=_number_or_auto, default=0, metavar="K", help="runs on each GPU, or auto")
    sweep.add_argument(
        "--shard", metavar="I/N", help="this machine's part, I from 0; from Slurm or Kubernetes by itself"
    )
    sweep.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster; 'local' starts one")
    sweep.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="kill a run after this time")
    sweep.add_argument(
        "--budget", type=_minutes, metavar="MINUTES", help="start only what is expected to end in this time"
    )
    sweep.add_argument("--dry-run", action="store_true", help="list the runs and their states")
    sweep.set_defaults(command=commands.sweep)


def _add_runs(kinds: argparse._SubParsersAction) -> None:
    kept = kinds.add_parser("runs", help="list runs, show one, delete failed ones")
    kept.add_argument("key", nargs="?", help="show the run whose key begins so")
    kept.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="only runs like this")
    kept.add_argument("--state", choices=("done", "failed", "unfinished"), help="only runs in this state")
    kept.add_argument("--delete-failed", action="store_true", help="delete the folders of failed runs")
    kept.set_defaults(command=commands.runs)

    bundle = kinds.add_parser("runs bundle", help="write finished runs, without their weights, as one archive")
    bundle.add_argument("keys", nargs="*", metavar="KEY", help="runs whose keys begin so (all that are finished)")
    bundle.add_argument("--sweep", type=partial(arguments.path, "--sweep"), metavar="FILE", help="those of a sweep")
    bundle.add_argument(
        "--to", type=_archive, required=True, metavar="FILE", help="such as runs.tar.gz; at most 16 MiB"
    )
    bundle.set_defaults(command=commands.bundle)

    add = kinds.add_parser("runs add", help="add the runs of such an archive to those here")
    add.add_argument("file", type=partial(arguments.path, "file"), metavar="FILE", help="an archive")
    add.set_defaults(command=commands.add)


_seconds = partial(arguments.seconds, "--timeout")
_minutes = partial(arguments.minutes, "--budget")
_seed = partial(arguments.whole, "--seeds", least=0, most=arguments.MOST_SEED)
_to = partial(arguments.path, "--to")
_table = _archive = partial(arguments.file_path, "--to")


def _at_a_time(option: str, least: int = 1) -> Callable[[str], int]:
    return partial(arguments.whole, option, least=least, most=arguments.MOST_AT_A_TIME)


def _number_or_auto(text: str) -> int | str:
    return text if text == "auto" else _at_a_time("--per-gpu")(text)


if __name__ == "__main__":
    sys.exit(main())
