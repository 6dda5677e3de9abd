"""Does `ablkit clean` see the poison in a stranger's folder, and hand on a clean model? Measured from end to end.

Each set becomes a folder of PNG files, which goes through `ablkit clean` as it would for anybody: nothing but the files
is given. What it hands on is then held against the truth.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ablkit import attacks, cli, data, paths
from ablkit.cleaning import model_card
from ablkit.data import folders
from ablkit.data.images import Images
from ablkit.files import read_json, write_json
from ablkit.report import your_data
from ablkit.runs import records
from ablkit.training.inference import predict
from benchmarks import strange_attacks
from benchmarks.strange_attacks import Set

FILE = "trust.json"
"""Of all that was measured, in a folder of the report's data."""
UNPOISONED = "attack_success_rate_unpoisoned"
"""Share of the triggered images that a model of the clean folder takes for the attacked class."""


class Case(NamedTuple):
    """One folder: images of a data set, an attack or none, and the options that its owner would give."""

    dataset: str
    attack: str
    seed: int
    target: int = 0
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the folder, and so of the data set that `ablkit clean` makes of it."""
        return f"trust-{self.dataset}-{self.attack.replace('_', '-') or 'clean'}-{self.seed}"


# A mirrored sign is another one: whoever has signs must say so, as a folder does not.
_SIGNS = {"target": 1, "options": ("-p", "flip", "false")}
CASES = (
    *(Case("gtsrb", attack, seed, **_SIGNS) for seed in (0, 1) for attack in ("blend", "badnets", "")),
    *(Case("cifar10", attack, 0) for attack in ("blend", *strange_attacks.ATTACKS, "badnets")),
    *(Case("cifar10", "", seed) for seed in range(5)),
    Case("cifar10", "dynamic", 0),
    *(Case("gtsrb", "dynamic", seed, **_SIGNS) for seed in (0, 1)),
    *(Case("gtsrb", "", seed, **_SIGNS) for seed in (2, 3, 4)),
)
IMAGES, RATE = 10_000, 0.1


def measure(to: Path, threads: int, cases: tuple[Case, ...] = CASES, further: tuple[str, ...] = ()) -> Path:
    """Measure what `to`/trust.json does not hold yet, a case at a time; return its path. A killed call goes on.

    A case takes 5 to 10 minutes, 4 more where it trains twice, with `dynamic` half an hour. In the end, each attack
    meets the model of the clean folder of its data set and seed: what that one takes for the attacked class is no
    backdoor.

    Args:
        threads: of each training.
        further: options of `ablkit clean`, such as a smaller training for a rehearsal.
    """
    path = to / FILE
    for case in cases:
        known = read_json(path)["folders"] if path.exists() else []
        if [case.dataset, case.attack, case.seed] in [[row[k] for k in ("dataset", "attack", "seed")] for row in known]:
            print(f"{case.name}: measured before")
            continue
        row = _measured(case, ["-p", "threads", str(threads), *case.options, *further])
        write_json(path, {"folders": [*known, row]})
        print(row)
    named = {(case.dataset, case.attack, case.seed): case for case in cases}
    rows = read_json(path)["folders"]
    for row in rows:
        case = named.get((row["dataset"], row["attack"], row["seed"]))
        if case and case.attack and UNPOISONED not in row:
            row |= _unpoisoned(case)
    write_json(path, {"folders": rows})
    return path


def _measured(case: Case, options: list[str]) -> dict:
    train, test = data.load(case.dataset, train_size=IMAGES, seed=case.seed)
    made = _poisoned(case, train, test)
    folder = paths.cache_root() / case.name
    if not (paths.data_root() / case.name / "meta.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # what a killed call has left
        files = [f"train/{name}" for name in folders.write(folder / "train", made.train)]
        files += [f"test/{name}" for name in folders.write(folder / "test", test)]
        print(f"{case.name}: {len(files):,} files")
    seed = str(case.seed)
    if cli.main(["clean", str(folder), "--name", case.name, "--seed", seed, "--size", "32", *options]):
        raise RuntimeError(f"ablkit clean failed on {folder}")
    return _row(case, made, _runs(case)[-1])


def _runs(case: Case) -> list[Path]:
    """The finished runs of a case's folder on this machine, the newest last."""
    done = records.folders("your_data", "metrics.json")
    own = [run for run in done if records.parameters(run)["dataset"] == case.name]
    return sorted(own, key=lambda run: (run / "metrics.json").stat().st_mtime)


def _unpoisoned(case: Case) -> dict:
    """How often the model of the clean folder hits a case's aims; nothing where that folder was not tried here."""
    runs = _runs(case._replace(attack=""))
    if not runs:
        return {}
    made = _poisoned(case, *data.load(case.dataset, train_size=IMAGES, seed=case.seed))
    return {UNPOISONED: _success(runs[-1], made)}


def _success(folder: Path, made: Set) -> float | None:
    network, _ = model_card.read(folder)
    return float((predict(network, made.triggered, "fp32") == made.aims).mean()) if len(made.aims) else None


def _poisoned(case: Case, train: Images, test: Images) -> Set:
    if not case.attack:
        return Set(train, np.zeros(len(train), bool), test.images[:0], test.labels[:0])
    if case.attack in strange_attacks.ATTACKS:
        return strange_attacks.ATTACKS[case.attack](train, test, RATE, case.target, case.seed)
    poisoned = attacks.poison(train, case.attack, rate=RATE, target=case.target, seed=case.seed)
    found = poisoned.triggered(test)
    return Set(poisoned.data, poisoned.is_poisoned, np.asarray(found.images), found.aims)


def _row(case: Case, made: Set, folder: Path) -> dict:
    """What the run in a folder has found, beside the truth; shares are fractions of 1, None where nothing is shared."""
    is_suspected, measured = _suspected(folder / your_data.TABLE, made), records.metrics(folder)
    both = (is_suspected & made.is_poisoned).sum()
    return {
        "dataset": case.dataset,
        "attack": case.attack,
        "seed": case.seed,
        "images": len(made.train),
        "poisoned": int(made.is_poisoned.sum()),
        "attacked_classes": np.unique(made.train.labels[made.is_poisoned]).tolist(),
        "suspected_classes": np.unique(made.train.labels[is_suspected]).tolist(),
        "suspects": int(is_suspected.sum()),
        "found": float(both / made.is_poisoned.sum()) if made.is_poisoned.any() else None,
        "precision": float(both / is_suspected.sum()) if is_suspected.any() else None,
        "attack_success_rate": _success(folder, made),
        "clean_accuracy": model_card.read(folder)[1].numbers["clean_accuracy"],
        "rule": measured["rule"],
        "seconds": measured["seconds"],
        "environment": records.environment(folder),
    }


def _suspected(table: Path, made: Set) -> np.ndarray:
    """Which training images are suspected, in the order of the set: a file's name is its number."""
    is_suspected = np.zeros(len(made.train), bool)
    with open(table, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for row in rows:
        is_suspected[int(Path(row["file"]).stem)] = row["is_suspected"] == "True"
    return is_suspected
