"""All committed runs, sorted into scales: what every page is a function of."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.data import CARDS
from ablkit.defenses import METHODS
from ablkit.errors import shown
from ablkit.exclusion.rule import RULE
from ablkit.report import data
from ablkit.report.identity import NO_RESULT, identity
from ablkit.report.page import link, listed, literal
from ablkit.report.text import label
from ablkit.runs.environment import hardware_line
from ablkit.runs.job import Job
from ablkit.runs.parameters import PRESETS, defaults
from ablkit.runs.records import Damaged
from ablkit.training.peers import PEERS

DATASETS = {name: card.title for name, card in CARDS.items()}
"""Data set -> its name on pages."""
FULL = ("paper", "released")
"""The presets at the paper's scale, the only ones whose numbers are judged against its own."""
_SMALL = ("quick", "smoke")
"""The presets in which each attack comes with its own poisoning rate."""
_SUBJECT = ("attack", "attack_settings", "poison_rate", "method", "method_settings", "seed")
"""Parameters that say which of a preset's runs one is."""
ASIDE = (*NO_RESULT, "dataset", "train_size")
"""Parameters that make no other recipe: where it ran, what was watched, and on how many images."""
MEASURED = ("attack_success_rate", "clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy")
MEASURED += ("isolation_precision", "seconds", "images_per_second", "training_images")
"""What pages show of runs; a run that lacks one has a dash there."""
JUDGED_AGAIN = "judged-again.csv"
"""What today's rule says of runs of `exclude` by an earlier one, beside them; `benchmarks.judged_again` writes it."""
_COSTS = ("seconds", "images_per_second")
_LONGEST_NAME = 60
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Scale:
    """Runs that may be compared: one recipe on one data set, on one kind of hardware."""

    preset: str
    dataset: str
    place: str
    """Such as `CPU, bf16`; which processor or GPU, `hardware_of` tells."""
    runs: pd.DataFrame
    """Only those with the preset's own settings: one for each attack, method and seed."""

    @property
    def is_full(self) -> bool:
        """Whether its numbers may be held against the paper's."""
        return self.preset in FULL

    @property
    def is_peers(self) -> bool:
        """Whether its recipe is ABL as another kit runs it."""
        return self.preset in PEERS

    @property
    def title(self) -> str:
        """Data set, number of images, epochs, hardware, and whose recipe it is if it is a peer's, in one line."""
        first = self.runs.iloc[0]
        whole = sum(int(first[f"{stage}_epochs"]) for stage in ("isolation", "finetune", "unlearn"))
        images = f"{self.images:,} images" if self.images else "all images"
        recipe = f", recipe {self.preset}" if self.is_peers else ""
        return f"{dataset_title(self.dataset)}, {images}, {whole} epochs, {self.place}{recipe}"

    @property
    def images(self) -> int:
        """Training images of a run; 0 where no run says how many."""
        known = self.runs.get("training_images", pd.Series(dtype=float)).dropna()
        return int(known.iloc[0] if len(known) else self.runs.iloc[0]["train_size"])

    def of(self, method: str, attack: str | None = None) -> pd.DataFrame:
        """Its runs of a method, on one attack or on all, by seed."""
        return self._parts.get((method, attack), self.runs.iloc[:0])

    @cached_property
    def _parts(self) -> dict[tuple[str, str | None], pd.DataFrame]:
        """The runs of each method, and of each method and attack."""
        whole = {(name, None): own for name, own in self.runs.groupby("method", sort=False)}
        return whole | dict(iter(self.runs.groupby(["method", "attack"], sort=False)))

    def attacks(self, *methods: str) -> list[str]:
        """The attacks that each of these methods has runs of, in the order of the paper's table."""
        return [name for name in ATTACKS if all(len(self.of(method, name)) for method in methods)]


@dataclass(frozen=True)
class Collection:
    """Everything that the pages are made of."""

    folder: Path
    """Of the numbers."""
    runs: pd.DataFrame
    """One row a run; `repeats` tells how often it was made, `preset` and `is_standard` what of, and `is_first_phase`
    that it ends with phase 1 of ABL, so that it is no run of a finished defence."""
    scales: list[Scale]
    """That with the most attacks first; those of the peers' recipes last."""
    wanted: tuple[tuple[Job, str], ...] = ()
    """Runs that a report asked for and that are not there, each with its state and what went wrong."""

    @property
    def main(self) -> Scale | None:
        """The scale that the index shows: the first; None without any run."""
        return self.scales[0] if self.scales else None

    @property
    def full(self) -> list[Scale]:
        """The scales at the paper's size."""
        return [scale for scale in self.scales if scale.is_full]

    @cached_property
    def identities(self) -> list[str]:
        """The `identity` of each run."""
        return [identity(run) for run in self.runs.reindex(columns=list(defaults("run"))).to_dict("records")]

    def history(self, run: pd.Series) -> pd.DataFrame:
        """The epochs of a run."""
        return data.history(run["folder"])


def collect(folder: Path, wanted: tuple[tuple[Job, str], ...] = ()) -> Collection:
    """Read a folder of committed numbers; raises Damaged for a run that cannot be read."""
    runs = data.load(folder)
    if runs.empty:
        return Collection(folder, runs, [], wanted)
    for name, value in defaults("run").items():
        # What a run of older code does not say had the value that is the default of a parameter since there is one.
        runs[name] = runs[name].where(runs[name].notna(), value) if name in runs else value
    for name in MEASURED:
        runs[name] = runs[name].astype(float) if name in runs else float("nan")
    for name in ("env_commit", "env_started"):
        runs[name] = runs[name].fillna(_UNKNOWN) if name in runs else _UNKNOWN
    runs["is_judged_alike"] = runs["key"].isin(_judged_alike(folder / JUDGED_AGAIN))
    _check_names(runs)
    described = runs.apply(_describe, axis=1, result_type="expand")
    runs = _without_repeats(pd.concat([runs, described], axis=1))
    ranks = {name: place for names in (ATTACKS, METHODS) for place, name in enumerate(names)}
    order = runs.assign(attack=runs["attack"].map(ranks), method=runs["method"].map(ranks))
    runs = runs.loc[order.sort_values(["attack", "method", "seed", "preset", "place", "env_started"]).index]
    runs = data.as_objects(runs.reset_index(drop=True)).copy()  # in one piece: pages take parts of it hundreds of times
    # A preset that ends with phase 1, such as `nab`, has no run of a finished defence.
    finished = runs["finetune_epochs"] + runs["unlearn_epochs"] > 0
    kinds = runs[runs["is_standard"] & finished].groupby(["preset", "dataset", "place", "train_size"], sort=False)
    scales = [Scale(preset, dataset, place, own) for (preset, dataset, place, _), own in kinds]
    scales.sort(key=lambda s: (s.is_peers, -s.runs["attack"].nunique(), -len(s.runs), s.preset, s.place))
    return Collection(folder, runs, scales, wanted)


def _judged_alike(path: Path) -> set[str]:
    """The keys of runs of an earlier rule that today's judges alike."""
    rows = data.table(path, key=str)
    return set() if rows.empty else set(rows.loc[(rows["rule"] == RULE) & rows["is_alike"].astype(bool), "key"])


def _check_names(runs: pd.DataFrame) -> None:
    """Raise UserError for an attack or a method that this version does not have."""
    for column, known in (("attack", ATTACKS), ("method", METHODS)):
        for name, folder in zip(runs[column], runs["folder"], strict=True):
            if name not in known:
                raise Damaged(
                    folder / "params.json", f"names the {column} {shown(name)}, which this version does not have"
                )


def dataset_title(name: str) -> str:
    """What a data set is called on pages, in Markdown."""
    return DATASETS.get(name) or literal(label(name, _LONGEST_NAME))


def hardware_of(runs: pd.DataFrame) -> str:
    """Processors or GPUs, cores, precision and versions that some runs were made with, in Markdown."""
    facts = [{name[4:]: run[name] for name in runs if name.startswith("env_")} for _, run in runs.iterrows()]
    return "; ".join(dict.fromkeys(literal(hardware_line(own)) for own in facts))


def measured(runs: pd.DataFrame) -> str:
    """When, at which commits and with what some runs were made, in Markdown sentences."""
    is_known = (runs["env_started"] != _UNKNOWN) & (runs["env_commit"] != _UNKNOWN)
    told, others = [], int((~is_known).sum())
    if is_known.any():
        dates = sorted({literal(str(started)[:10]) for started in runs.loc[is_known, "env_started"]})
        when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
        commits = listed(sorted({literal(name) for name in runs.loc[is_known, "env_commit"]}))
        told.append(f"Measured {when} at {commits}, {hardware_of(runs[is_known])}.")
    if others:
        told.append(f"When or at which commit {others} of {len(runs)} runs were made is not known.")
    return " ".join(told)


def provenance(runs: pd.DataFrame) -> str:
    """The same, and where the command of each run stands."""
    return f"{measured(runs)} {link('Every run with its command', 'runs.html')}."


def place_of(run: pd.Series) -> str:
    """The kind of hardware that a run was made on, such as `CPU, bf16`, in letters and digits."""
    where = "GPU" if run.get("env_device") == "cuda" else "CPU"
    precision = run.get("env_precision")
    text = f"{where}, {precision}" if isinstance(precision, str) else str(where)
    return " ".join(re.sub(r"[^\w, -]|_", " ", text).split())[:_LONGEST_NAME]


def _describe(run: pd.Series) -> dict:
    """What a run is one of: the preset whose recipe it has, and whether all else is the preset's too."""
    preset = next((name for name in PRESETS if not differences(run, name)), "")
    standard = (
        run["poison_rate"] == standard_rate(preset, run["attack"])
        and not run["attack_settings"]
        and not run["method_settings"]
    )
    alone = run["method"] == "abl" and not run["finetune_epochs"] and not run["unlearn_epochs"]
    kind = {"is_standard": bool(preset) and standard, "is_first_phase": alone}
    return {"preset": preset, **kind, "place": place_of(run)}


def standard_rate(preset: str, attack: str) -> float:
    """The poisoning rate of an attack in the runs of a preset."""
    return ATTACKS[attack].quick_rate if preset in _SMALL else 0.1


def differences(run: pd.Series, preset: str) -> dict:
    """The parameters of a run's recipe that are not those of a preset, with their values."""
    own = defaults("run", preset)
    names = [name for name in own if name not in (*_SUBJECT, *ASIDE)]
    found = {name: run[name] for name in names if run[name] != own[name]}
    sized = run["train_size"] == own["train_size"] or (preset == "smoke" and run["dataset"] != own["dataset"])
    return found if sized or run["dataset"] != own["dataset"] else found | {"train_size": run["train_size"]}


def _without_repeats(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a run: of those with the same parameters and kind of hardware one, the first that has its epochs.

    What changes no result makes no other run, see `identity.NO_RESULT`; of those with their epochs the one that kept
    most scores stays. `repeats` holds all of them: key, commit, and the metrics in which each differs from it.
    """
    names = [name for name in defaults("run") if name not in NO_RESULT]
    same_run = [json.dumps(values) for values in runs[[*names, "place"]].astype(str).to_numpy().tolist()]
    groups: dict[str, list[dict]] = {}
    for name, run in zip(same_run, runs.to_dict("records"), strict=True):
        groups.setdefault(name, []).append(run)
    kept = []
    for same in groups.values():
        same.sort(key=lambda run: (-len(str(run["trajectories"]).split()), str(run["env_started"])))
        first = next((run for run in same if (run["folder"] / "history.csv").exists()), same[0])
        others = [{"key": run["key"], "commit": run["env_commit"], "differs": _differing(first, run)} for run in same]
        kept.append({**first, "repeats": others})
    return pd.DataFrame(kept)


def _differing(first: dict, second: dict) -> list[str]:
    """The metrics, other than times, that two runs both have and that are not the same."""
    if first is second:
        return []
    names = [name for name in first if not name.startswith("env_") and name not in ("key", "folder")]
    return [
        name
        for name in names
        if name not in _COSTS
        and not name.endswith("_seconds")
        and pd.notna(first[name])
        and pd.notna(second[name])
        and first[name] != second[name]
    ]
