"""The command line: `ablkit data | parameters | run | report | sweep | runs | export | attacks | methods | bench`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from ablkit import __version__
from ablkit.errors import UserError, unknown


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit code 0 when it did what it says, 1 when a notebook failed, 2 for the user's mistakes."""
    options = _parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        # A closed terminal or a batch system ends us as Ctrl-C does, so that no training is left behind.
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _interrupt)
    try:
        return options.command(options) or 0
    except UserError as error:
        print(f"ablkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nablkit: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `ablkit attacks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it ends
        print("ablkit: stopped, as nobody reads what it prints", file=sys.stderr)
        return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# Each command imports what it needs: torch and pandas take seconds, and a mistake in the arguments should not.
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ablkit", description="Anti-Backdoor Learning, re-run.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="prepare a data set")
    data.add_argument("name", help="cifar10 or digits")
    data.set_defaults(command=_data)

    parameters = commands.add_parser("parameters", help="print a notebook's parameters as YAML, for papermill -f")
    parameters.add_argument("notebook")
    parameters.add_argument("--preset", default="quick", help="smoke, quick, paper or released (default: quick)")
    parameters.set_defaults(command=_parameters)

    run = commands.add_parser("run", help="run one notebook through papermill")
    run.add_argument("notebook", help="run, loss_gap, attacks, defenses, unlearning, twins or sweep")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    run.add_argument("-f", type=Path, action="append", default=[], metavar="FILE", help="set parameters from YAML")
    run.add_argument("--preset", default="quick", help="smoke, quick, paper or released (default: quick)")
    run.add_argument("--force", action="store_true", help="run again although it is done")
    run.add_argument("--timeout", type=float, metavar="SECONDS", help="kill the run after this time")
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="run what is missing and build the pages")
    report.add_argument("--preset", default="quick", help="smoke, quick, paper or released (default: quick)")
    report.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of each kind for each seed")
    report.add_argument("--dataset", help="cifar10 (default), digits or a prepared folder")
    report.add_argument("--attacks", nargs="+", default=["badnets"], metavar="ATTACK", help="names, or 'all'")
    report.add_argument(
        "--with", nargs="+", default=[], metavar="NOTEBOOK", help="also compare: defenses, unlearning, twins"
    )
    report.add_argument("--as-is", action="store_true", help="run nothing: pages of what is done, a list of the rest")
    report.add_argument("--to", type=Path, help="folder of the pages (default: reports/local)")
    report.set_defaults(command=_report)

    sweep = commands.add_parser("sweep", help="run every combination in a YAML file that is not done yet")
    sweep.add_argument("file", type=Path, help="see notebooks/sweeps")
    sweep.add_argument("--preset", help="in place of the file's, such as smoke for a rehearsal")
    room = sweep.add_mutually_exclusive_group()
    room.add_argument("--workers", type=int, default=1, metavar="K", help="runs at a time, sharing the cores (1)")
    room.add_argument("--per-gpu", type=_number_or_auto, default=0, metavar="K", help="runs on each GPU, or auto")
    room.add_argument("--side-by-side", type=int, metavar="K", help="runs in one process on each GPU")
    sweep.add_argument("--shard", metavar="I/N", help="this machine's part; from Slurm or Kubernetes by itself")
    sweep.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster; 'local' starts one")
    sweep.add_argument("--timeout", type=float, metavar="SECONDS", help="kill a run after this time")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs and their states")
    sweep.set_defaults(command=_sweep)

    kept = commands.add_parser("runs", help="list runs, show one, delete failed ones")
    kept.add_argument("key", nargs="?", help="show the run whose key begins so")
    kept.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="only runs like this")
    kept.add_argument("--state", choices=("done", "failed", "unfinished"), help="only runs in this state")
    kept.add_argument("--delete-failed", action="store_true", help="delete the folders of failed runs")
    kept.set_defaults(command=_runs)

    export = commands.add_parser("export", help="write the finished runs as CSV and Parquet")
    export.add_argument("notebook", nargs="?", default="run")
    export.add_argument("--to", type=Path, default=Path("results"), metavar="NAME", help="NAME.csv and NAME.parquet")
    export.set_defaults(command=_export)

    attack_list = commands.add_parser("attacks", help="list the attacks: kind, paper, rate, settings, cost")
    attack_list.set_defaults(command=_attacks)

    method_list = commands.add_parser("methods", help="list the methods: title, paper, what it needs, settings")
    method_list.set_defaults(command=_methods)

    bench = commands.add_parser("bench", help="speed of training beside a conventional pipeline")
    bench.add_argument("what", nargs="?", choices=("training", "attacks", "sweeps"), default="training")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    bench.add_argument("--to", type=Path, metavar="FOLDER", help="of training: measure more, and write a page there")
    bench.add_argument("--device", default="auto")
    bench.add_argument("--precision", default="auto")
    bench.set_defaults(command=_bench)
    return parser


def _number_or_auto(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _data(options: argparse.Namespace) -> None:
    from ablkit import data

    print(data.prepare(options.name))


def _parameters(options: argparse.Namespace) -> None:
    import yaml

    from ablkit.parameters import defaults

    print(yaml.safe_dump(defaults(options.notebook, options.preset), sort_keys=False), end="")


def _run(options: argparse.Namespace) -> int:
    from ablkit.execute import RunFailed, execute
    from ablkit.files import read_json
    from ablkit.parameters import changed, check

    given: dict = {}
    for file in options.f:
        given |= _read_yaml(file)
    given |= dict(options.p)
    parameters = check(options.notebook, changed(options.notebook, options.preset, given), strict=False)
    try:
        outcome = execute(options.notebook, parameters, force=options.force, timeout=options.timeout)
    except RunFailed as error:
        print(f"ablkit: {options.notebook} failed: {error}", file=sys.stderr)
        return 1
    print("done before:" if outcome.was_done else "done:", outcome.folder)
    for name, value in read_json(outcome.folder / "metrics.json").items():
        print(f"  {name:<36} {value:.4g}" if isinstance(value, float) else f"  {name:<36} {value}")
    return 0


def _read_yaml(path: Path) -> dict:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no parameters; write one 'name: value' a line")
    return values


def _report(options: argparse.Namespace) -> int:
    from ablkit.attacks import ATTACKS
    from ablkit.paths import project
    from ablkit.report.plan import COMPARISONS, run_all

    changes = {"dataset": options.dataset} if options.dataset else {}
    to = options.to or project() / "reports" / "local"
    names = tuple(ATTACKS) if options.attacks == ["all"] else tuple(options.attacks)
    comparisons = tuple(vars(options)["with"])
    for name in comparisons:
        if name not in COMPARISONS:
            raise unknown("comparison", name, COMPARISONS)
    return run_all(options.preset, options.seeds, to, changes, names, comparisons, as_is=options.as_is)


def _sweep(options: argparse.Namespace) -> int:
    from ablkit.sweep import sweep

    names = ("preset", "workers", "per_gpu", "side_by_side", "shard", "ray", "timeout", "dry_run")
    return sweep(options.file, **{name: getattr(options, name) for name in names})


def _runs(options: argparse.Namespace) -> None:
    from ablkit import browse

    if options.key:
        browse.show(options.key)
    elif options.delete_failed:
        browse.delete_failed(dict(options.p))
    else:
        browse.show_all(dict(options.p), options.state)


def _export(options: argparse.Namespace) -> None:
    from ablkit import browse

    for path in browse.export(options.notebook, options.to):
        print(path)


def _attacks(options: argparse.Namespace) -> None:
    from ablkit import browse
    from ablkit.attacks import ATTACKS
    from ablkit.settings import defaults

    try:
        costs = browse.making_costs()
    except UserError as error:  # a damaged run should not hide the attacks
        costs = {}
        print(f"ablkit: costs are unknown: {error}", file=sys.stderr)
    for name, attack in ATTACKS.items():
        print(f"{name:<9}{attack.kind}, {attack.changes}; {attack.paper}")
        print(f"{'':<9}rate: share of the {attack.rate_of}; reports of the small presets take {attack.quick_rate}")
        settings = ", ".join(f"{key}={value}" for key, value in defaults(attack.settings).items())
        print(f"{'':<9}settings: {settings or 'none'}")
        if attack.twin:
            print(f"{'':<9}without {attack.twin.without}: {attack.twin.settings}")
        print(f"{'':<9}cost: {costs.get(name, f'unknown before a run; ablkit run run -p attack {name}')}")


def _methods(options: argparse.Namespace) -> None:
    from ablkit.defenses import DEFENSES, METHODS
    from ablkit.settings import defaults

    for name, title in METHODS.items():
        if name not in DEFENSES:
            print(f"{name:<16}{title}")
            continue
        defense = DEFENSES[name]
        print(f"{name:<16}{title}; {defense.paper}")
        settings = ", ".join(f"{key}={value}" for key, value in defaults(defense.settings).items())
        print(f"{'':<16}needs {defense.needs}; settings: {settings or 'none'}")


def _bench(options: argparse.Namespace) -> None:
    from ablkit.bench import attacks, sweeps, training

    if options.what == "attacks":
        attacks.bench(options.json)
    elif options.what == "sweeps":
        sweeps.bench(options.json)
    elif options.to:
        from ablkit.bench import page

        print(page.write(options.to, options.device, options.precision))
    else:
        training.bench(options.device, options.precision, options.json)


if __name__ == "__main__":
    sys.exit(main())
