"""What each command does, with the options that `ablkit.cli` has read for it."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ablkit.errors import UserError, shortened, shown, unknown
from ablkit.runs import arguments

# Each command imports what it needs: torch and pandas take seconds, and a mistake in the arguments should not.


def data(options: argparse.Namespace) -> None:
    """Prepare a data set, or list them all."""
    from ablkit import data

    own = {"given": vars(options)["from"], "size": options.size}
    own = {name: value for name, value in own.items() if value is not None}
    if options.name is not None:
        print(data.prepare(options.name, **own))
    elif own:
        raise UserError("--from and --size are of one data set: give its name; `ablkit data` lists them")
    else:
        there = data.prepared_names()
        for name, card in data.CARDS.items():
            print(f"{name:<15}{card.line}; {'prepared' if name in there else f'`ablkit data {name}` prepares it'}")
            print(f"{'':<15}licence: {card.licence}")
        for name in there:
            if name not in data.CARDS:
                print(f"{name:<15}prepared, not of this list")


def import_data(options: argparse.Namespace) -> None:
    """Make a data set of a folder of images, or of arrays."""
    from ablkit.data.importing import import_images

    told = {name: getattr(options, name) for name in ("labels", "size", "test_share", "seed")}
    import_images(options.source, options.name, classes=options.classes or (), **told)
    print(f"next: ablkit run run --preset smoke -p dataset {shlex.quote(options.name)}")


def clean(options: argparse.Namespace) -> int:
    """Look for poison in a data set, train without it, and hand on what was found; 1 where the run fails."""
    from ablkit.cleaning import export, source
    from ablkit.paths import runs_root
    from ablkit.report import your_data
    from ablkit.runs import arrays, records
    from ablkit.runs.execute import RunFailed, check_against_data, execute
    from ablkit.runs.parameters import YourData, changed, check
    from ablkit.training import hardware

    given = arguments.pairs(options.p)
    instead = {"dataset": "the first argument is the data set", "seed": "--seed draws the test set, too"}
    for name in instead.keys() & given.keys():
        raise UserError(f"-p {name} has no meaning here: {instead[name]}")
    first = check("your_data", changed("your_data", options.preset, given), strict=False)
    hardware.choose(first.device, first.precision)  # before an import, which may take minutes
    arguments.check_folder("ABLKIT_RUNS", runs_root())
    if options.export is not None:
        export.check_new(options.export, Path(options.source))
        arguments.check_folder("--export", options.export)
    imported: dict = {name: getattr(options, name) for name in ("size", "classes", "test_share", "seed")}
    given = {"seed": options.seed or 0, "threads": arguments.cores(), **given}

    def of(name: str) -> YourData:
        return check("your_data", changed("your_data", options.preset, {**given, "dataset": name}), strict=False)

    imported["fits"] = lambda name: check_against_data(of(name))
    name, folder = source.found(options.source, options.name, **imported)
    parameters = of(name)
    try:
        outcome = execute("your_data", parameters, force=options.force)
        if lacking := your_data.lacking(outcome.folder):
            print(f"the run {outcome.folder.name} lacks {lacking}, and is made again")
            outcome = execute("your_data", parameters, force=True)
    except RunFailed as error:
        print(f"ablkit: your_data failed: {shortened(str(error), 600)}", file=sys.stderr)
        return 1
    print(your_data.told(outcome.folder))
    if note := source.mirror_note(name, parameters.flip):
        print(f"{note}\n")
    print(f"page, table and model: {outcome.folder}")
    if options.export is not None:
        drawn = {"seed": parameters.seed, **parameters.drawing()}
        suspects = arrays.excluded(outcome.folder, records.metrics(outcome.folder)["training_images"])
        judged = options.export, name, outcome.folder / your_data.TABLE, folder, suspects
        print(*export.export(*judged, **drawn), sep="\n")
    return 0


def predict(options: argparse.Namespace) -> None:
    """Say what a model that `clean` has made takes images for."""
    from ablkit.cleaning import model_card

    model_card.predict(*model_card.read(options.model), options.images)


def parameters(options: argparse.Namespace) -> None:
    """Print the parameters of a notebook as YAML."""
    import yaml

    from ablkit.runs.parameters import defaults

    print(yaml.safe_dump(defaults(options.notebook, options.preset), sort_keys=False), end="")


def run(options: argparse.Namespace) -> int:
    """Run one notebook; 1 where it fails."""
    from ablkit.files import read_json
    from ablkit.paths import runs_root
    from ablkit.runs.execute import RunFailed, execute
    from ablkit.runs.parameters import changed, check, defaults, idle
    from ablkit.runs.parameters.yaml_file import read
    from ablkit.sweep import definition

    given: dict = {}
    for file in options.f:
        given |= read(file)
    given |= arguments.pairs(options.p)
    parameters = check(options.notebook, changed(options.notebook, options.preset, given), strict=False)
    arguments.check_folder("ABLKIT_RUNS", runs_root())
    if options.notebook == "run":
        idle.refuse(parameters, given, defaults("run", options.preset))
    if options.notebook == "sweep":
        definition.read(parameters.path)  # so that its mistakes are told before the notebook starts
    try:
        outcome = execute(options.notebook, parameters, force=options.force, timeout=options.timeout)
    except RunFailed as error:
        print(f"ablkit: {options.notebook} failed: {shortened(str(error), 600)}", file=sys.stderr)
        return 1
    print("done before:" if outcome.was_done else "done:", outcome.folder)
    for name, value in read_json(outcome.folder / "metrics.json").items():
        print(f"  {name:<36} {value:.4g}" if isinstance(value, float) else f"  {name:<36} {value}")
    return 0


def report(options: argparse.Namespace) -> int:
    """Run what a report needs and write its pages; 1 where a run fails."""
    from ablkit.attacks import ATTACKS
    from ablkit.paths import project, runs_root
    from ablkit.report.build import from_data, run_all
    from ablkit.report.plan import COMPARISONS

    folder = vars(options)["from"]
    if folder is not None:
        if options.as_is or options.dataset is not None or vars(options)["with"] or options.attacks:
            raise UserError(
                "--from makes pages of committed numbers alone: leave --as-is, --dataset, --with, --attacks out"
            )
        if options.preset != "quick" or options.seeds:
            raise UserError("--from makes pages of all committed numbers: leave --preset and --seeds out")
        return from_data(folder, options.add, options.to or folder.parent)
    if options.add:
        raise UserError(f"--add {shown(options.add[0])} needs --from: the folder of numbers that the run joins")
    changes = {"dataset": options.dataset} if options.dataset is not None else {}
    to = options.to or project() / "reports" / "local"
    if not options.as_is:
        arguments.check_folder("ABLKIT_RUNS", runs_root())
    seeds, attacks = options.seeds or [0], options.attacks or ["badnets"]
    names = tuple(dict.fromkeys(one for name in attacks for one in (ATTACKS if name == "all" else [name])))
    comparisons = tuple(vars(options)["with"])
    for name in comparisons:
        if name not in COMPARISONS:
            raise unknown("comparison", name, COMPARISONS)
    return run_all(options.preset, seeds, to, changes, names, comparisons, as_is=options.as_is)


def sweep(options: argparse.Namespace) -> int:
    """Run what a sweep file asks for; 1 where a run fails."""
    from ablkit.sweep import sweep

    if options.ray is not None and options.workers:
        raise UserError("--workers with --ray: the cluster decides how many runs it has room for; leave --workers out")
    names = ("preset", "per_gpu", "shard", "ray", "timeout", "budget", "dry_run")
    return sweep(options.file, workers=options.workers or 1, **{name: getattr(options, name) for name in names})


def runs(options: argparse.Namespace) -> None:
    """List runs, show one, or delete failed ones."""
    from ablkit.runs import listing

    wanted = arguments.pairs(options.p)
    if options.key is not None and (wanted or options.state or options.delete_failed):
        raise UserError(f"a key, here {shown(options.key)}, names one run to show; give it without other options")
    if options.delete_failed and options.state not in (None, "failed"):
        raise UserError(f"--delete-failed with --state {options.state}: failed ones are deleted; leave --state out")
    if options.key is not None:
        listing.show(options.key)
    elif options.delete_failed:
        listing.delete_failed(wanted)
    else:
        listing.show_all(wanted, options.state)


def bundle(options: argparse.Namespace) -> int:
    """Write finished runs as one archive; 1 where some are left out."""
    from ablkit.runs import bundle, listing

    if options.keys and options.sweep is not None:
        raise UserError("--sweep with keys: give one of them, as each says which runs are meant")
    arguments.check_file("--to", options.to)
    found, damaged = _finished_of(options.sweep) if options.sweep is not None else listing.finished(options.keys)
    written, too_much = bundle.write(options.to, found)
    if written:
        size = options.to.stat().st_size / 2**20
        many = f"{len(written)} run{'s' * (len(written) > 1)}"
        print(f"{many} in {options.to}, {size:.1f} MiB; add them elsewhere with `ablkit runs add`")
    if too_much:
        keys = " ".join(folder.name for folder in too_much)
        print(f"left out, as there is no room for them in 16 MiB: `ablkit runs bundle {keys} --to ANOTHER_FILE`")
    return 1 if too_much or damaged else 0


def _finished_of(sweep: Path) -> tuple[list[Path], int]:
    """The folders of the runs of a sweep file that are done; how many are not is told in a line."""
    from ablkit.sweep import definition

    jobs = definition.read(sweep)
    found = [job.folder for job in jobs if job.is_done()]
    print(f"{sweep}: {len(found)} of {len(jobs)} runs are done")
    return found, 0


def add(options: argparse.Namespace) -> None:
    """Add the runs of an archive."""
    from ablkit.paths import runs_root
    from ablkit.runs import adding

    arguments.check_folder("ABLKIT_RUNS", runs_root())
    outcomes = adding.add(options.file)
    named = {what: [folder.name for folder, was in outcomes.items() if was == what] for what in outcomes.values()}
    new, old = (len(named.get(what, [])) for what in ("added", "there"))
    were = "was" if old == 1 else "were"
    print(f"{new} run{'s' * (new != 1)} added to {runs_root()}, {old} {were} there already")
    reasons = {
        "other": "there already with another result, and left as they are; to take the archive's, delete theirs",
        "busy": "in hand of another process; add them when it is done",
    }
    refused = [f"{', '.join(named[what][:20])}: {reason}" for what, reason in reasons.items() if what in named]
    if refused:
        raise UserError("\n".join(refused))


def export(options: argparse.Namespace) -> None:
    """Write finished runs as tables."""
    from ablkit.runs import listing

    for ending in ("csv", "parquet"):
        arguments.check_file("--to", Path(f"{options.to}.{ending}"))
    for path in listing.export(options.notebook, options.to):
        print(path)


def attacks(options: argparse.Namespace) -> None:
    """List the attacks."""
    from ablkit.attacks import ATTACKS
    from ablkit.runs import listing
    from ablkit.settings import described

    try:
        costs = listing.making_costs()
    except UserError as error:  # a damaged run should not hide the attacks
        costs = {}
        print(f"ablkit: costs are unknown: {shortened(str(error))}", file=sys.stderr)
    for name, attack in ATTACKS.items():
        print(f"{name:<9}{attack.kind}, {attack.changes}; {attack.paper}")
        print(f"{'':<9}rate: share of the {attack.rate_of}; reports of the small presets take {attack.quick_rate}")
        print(f"{'':<9}settings: {described(attack.settings)}")
        if attack.twin:
            print(f"{'':<9}without {attack.twin.without}: {attack.twin.settings}")
        print(f"{'':<9}cost: {costs.get(name, f'unknown before a run; ablkit run run -p attack {name}')}")


def export_attack(options: argparse.Namespace) -> None:
    """Write a poisoned set as PNG files."""
    from ablkit.attacks.export import export

    names = ("dataset", "attack", "rate", "target", "seed", "train_size", "device")
    arguments.check_folder("--to", options.to)
    export(options.to, settings=arguments.pairs(options.p), **{name: getattr(options, name) for name in names})


def methods(options: argparse.Namespace) -> None:
    """List the methods."""
    from ablkit.defenses import DEFENSES, METHODS, kind_of_settings
    from ablkit.settings import described

    for name, title in METHODS.items():
        defense = DEFENSES.get(name)
        print(f"{name:<16}{title}" + (f"; {defense.paper}" if defense else ""))
        needs = f"needs {defense.needs}; " if defense else ""
        print(f"{'':<16}{needs}settings: {described(kind_of_settings(name))}")
