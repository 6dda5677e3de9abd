"""The command line: `ablkit COMMAND`, a function of `ablkit.commands` each; `ablkit --help` lists them."""

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
from ablkit.runs import arguments, options


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
        # A path may hold what the terminal's encoding does not. Who reads through a pipe sees each line at once.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        _check_current_folder()
        read = _parser().parse_args(_joined(given)) if parser is None else parser.parse_args(given)
        code = read.command(read) or 0
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
    """The arguments with `runs bundle` and the like as one command each: what else follows `runs` is a key."""
    at = next((place for place, word in enumerate(given) if not word.startswith("-")), 0)
    two = given[at : at + 2]
    is_one = two in (["runs", "bundle"], ["runs", "add"], ["data", "import"], ["attacks", "export"])
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

    data = kinds.add_parser("data", help="prepare a data set; without a name list them all")
    data.add_argument("name", nargs="?", help="one of the list; for images of your own see `ablkit data import --help`")
    data.add_argument("--from", type=partial(arguments.path, "--from"), metavar="FOLDER", help="with its files already")
    data.add_argument("--size", type=_side, metavar="PIXELS", help="of each side, where a set lets you choose")
    data.set_defaults(command=commands.data)
    _add_import(kinds)
    _add_clean(kinds)

    for name, (add, text) in options.COMMANDS.items():
        about_runs = kinds.add_parser(name, help=text)
        add(about_runs)
        about_runs.set_defaults(command=getattr(commands, name.rpartition(" ")[2]))
    _add_report(kinds)
    _add_sweep(kinds)

    attack_list = kinds.add_parser("attacks", help="list the attacks: kind, paper, rate, settings, cost")
    attack_list.set_defaults(command=commands.attacks)
    _add_export_of_attack(kinds)

    method_list = kinds.add_parser("methods", help="list the methods: title, paper, what it needs, settings")
    method_list.set_defaults(command=commands.methods)
    return parser


def _add_import(kinds: argparse._SubParsersAction) -> None:
    importing = kinds.add_parser("data import", help="make a data set of a folder of images, or of arrays")
    importing.add_argument(
        "source",
        type=partial(arguments.path, "source"),
        metavar="SOURCE",
        help="a folder of class folders, with train/ and test/ above them or not; an .npz; an .npy of images",
    )
    importing.add_argument(
        "labels",
        nargs="?",
        type=partial(arguments.path, "labels"),
        metavar="LABELS",
        help="with an .npy, that of labels",
    )
    importing.add_argument("--name", required=True, help="of the data set, such as pets")
    importing.add_argument("--size", type=_import_side, help="resize the images to SIZE x SIZE pixels")
    importing.add_argument("--classes", **_CLASSES)
    importing.add_argument(
        "--test-share", type=_share("--test-share"), help="of each class, where there is no test set (0.2)"
    )
    importing.add_argument("--seed", type=_whole("--seed"), default=0, help="draws that test set (0)")
    importing.set_defaults(command=commands.import_data)


def _add_clean(kinds: argparse._SubParsersAction) -> None:
    clean = kinds.add_parser("clean", help="train on data of unknown trust: verdict, table of all images, model")
    clean.add_argument(
        "source", type=_text_of_path, help="a data set's name, or a folder of class folders, as `data import` takes it"
    )
    clean.add_argument("--name", help="of the data set that a folder becomes (the folder's name)")
    clean.add_argument("--size", type=_import_side, help="resize a folder's images to SIZE x SIZE")
    clean.add_argument("--classes", **_CLASSES)
    clean.add_argument("--test-share", type=_share("--test-share"), help="of a folder, for testing (0.2)")
    clean.add_argument("--seed", type=_whole("--seed"), help="draws test set, weights and order (0)")
    clean.add_argument("--export", type=partial(arguments.path, "--export"), metavar="FOLDER", help="the cleaned set")
    clean.add_argument("--preset", default="quick", help=options.PRESETS)
    clean.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of your_data, such as `flip false`: images are mirrored at random while training, which is"
        " wrong where a mirrored one means something else (signs, text)",
    )
    clean.add_argument("--force", action="store_true", help="train all anew although it is done, for a new images.csv")
    clean.set_defaults(command=commands.clean)

    predict = kinds.add_parser("predict", help="say what a model that `clean` has made takes images for")
    predict.add_argument(
        "model", type=partial(arguments.path, "MODEL"), metavar="MODEL", help="the folder of the model"
    )
    predict.add_argument("images", type=_image, nargs="+", metavar="IMAGE", help="files of images")
    predict.set_defaults(command=commands.predict)


def _add_export_of_attack(kinds: argparse._SubParsersAction) -> None:
    export = kinds.add_parser("attacks export", help="write a poisoned set as PNG files, with the truth beside them")
    export.add_argument("--attack", default="badnets", help="default: badnets")
    export.add_argument("--rate", type=_share("--rate"), default=0.1, help="poisoning rate (0.1)")
    export.add_argument("--to", type=_to, required=True, metavar="FOLDER", help="a new folder")
    export.add_argument("--dataset", default="cifar10", help="cifar10 (default), digits or a prepared folder")
    export.add_argument("--train-size", type=_whole("--train-size"), default=0, help="training images (0: all)")
    export.add_argument("--target", type=_whole("--target"), default=0, help="class that is aimed at (0)")
    export.add_argument("--seed", type=_whole("--seed"), default=0, help="draws all that is drawn (0)")
    export.add_argument("--device", default="auto", help="where an attacker trains: auto, cpu or cuda")
    export.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a setting of the attack"
    )
    export.set_defaults(command=commands.export_attack)


def _add_report(kinds: argparse._SubParsersAction) -> None:
    report = kinds.add_parser("report", help="run what is missing and build the pages")
    report.add_argument("--preset", default="quick", help=options.PRESETS)
    several = {"action": "extend", "nargs": "+", "default": []}  # given twice, an option adds to what it names
    report.add_argument("--seeds", type=_seed, **several, help="one run of each kind for each seed (default: 0)")
    report.add_argument("--dataset", help="cifar10 (default), another of `ablkit data`, or a prepared folder")
    report.add_argument("--attacks", **several, metavar="ATTACK", help="names, or 'all' (default: badnets)")
    more = "also: notebooks that compare runs, such as loss_gap, attacks, table1, unlearning, exclusion or adaptive"
    report.add_argument("--with", **several, metavar="NOTEBOOK", help=more)
    report.add_argument("--as-is", action="store_true", help="run nothing: pages of what is done, a list of the rest")
    report.add_argument("--to", type=_to, help="folder of the pages (default: reports/local)")
    report.add_argument(
        "--from",
        type=partial(arguments.path, "--from"),
        metavar="DATA",
        help="make pages of committed numbers, run nothing",
    )
    report.add_argument("--add", **several, metavar="KEY", help="take these finished runs into DATA first; or all")
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


def _whole(option: str, most: int = arguments.MOST_SEED) -> Callable[[str], int]:
    return partial(arguments.whole, option, least=0, most=most)


def _share(option: str) -> Callable[[str], float]:
    return partial(arguments.share, option)


_CLASSES = {
    "type": lambda text: text.split(","),
    "metavar": "NAME,...",
    "help": "take these class folders of a folder alone, in this order",
}
_seconds = partial(arguments.seconds, "--timeout")
_import_side = partial(arguments.whole, "--size", least=5, most=1024)
_minutes = partial(arguments.minutes, "--budget")
_seed = partial(arguments.whole, "--seeds", least=0, most=arguments.MOST_SEED)
_to = partial(arguments.path, "--to")


def _at_a_time(option: str, least: int = 1) -> Callable[[str], int]:
    return partial(arguments.whole, option, least=least, most=arguments.MOST_AT_A_TIME)


def _side(text: str) -> int:
    return arguments.whole("--size", text, 8, 1024)


def _text_of_path(text: str) -> str:
    arguments.path("source", text)
    return text  # as it was given: `pets/` is a folder, `pets` may be a data set


def _image(text: str) -> Path:
    """A file that is there may have any name: one that is odd does not keep the others from being read."""
    return Path(text) if os.path.lexists(text) else arguments.path("IMAGE", text)


def _number_or_auto(text: str) -> int | str:
    return text if text == "auto" else _at_a_time("--per-gpu")(text)


if __name__ == "__main__":
    sys.exit(main())
