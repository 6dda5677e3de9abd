"""Parameters of run.ipynb that have no part in a run, because of what its others say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ablkit import attacks, defenses
from ablkit.errors import UserError, shown
from ablkit.runs.parameters.one_run import RUN, OneRun

_UNLEARNING = ("unlearn_learning_rate", "unlearn_batchnorm", "unlearn_augmentation", "carry_momentum")
_LATER = ("schedule", "joint_weight", "unlearn_epochs", *_UNLEARNING)


def reasons(p: OneRun) -> dict[str, str]:
    """Name of each parameter that changes nothing in a run -> in what: `method none`, for instance."""
    found: dict[str, str] = {}

    def add(names: Iterable[str], why: str) -> None:
        for name in names:
            found.setdefault(name, why)

    defense = defenses.DEFENSES.get(p.method)
    is_plain = p.method in ("none", "oracle") or (defense is not None and defense.needs == "clean data")
    if is_plain:
        add(("isolation_loss", "gamma", "per_sample"), f"method {p.method}, whose phase 1 is plain training")
    elif p.isolation_loss == "plain":
        add(("gamma", "per_sample"), "isolation_loss plain")
    if is_plain or p.method == "exclude":
        add(_LATER, f"method {p.method}, which unlearns nothing")
    if p.method == "unlearn":
        add(("schedule", "unlearn_batchnorm", "carry_momentum"), "method unlearn, which has settings of its own for it")
    if p.method == "abl":
        add(_UNLEARNING if p.schedule == "joint" else ("joint_weight",), f"schedule {p.schedule}")
    if attacks.find(p.attack).kind == "clean label":
        add(("include_target",), f"attack {p.attack}, which poisons images of the target class alone")
    add(("crop_area",) if p.crop == "padded" else ("crop_padding",), f"crop {p.crop}")
    return found


def told(runs: Iterable[OneRun]) -> list[str]:
    """A line on the runs that come out as others do, as they differ only in what changes nothing; no line without any.

    They are made all the same, as each is asked for.
    """
    alike: dict[str, list[OneRun]] = defaultdict(list)
    for p in runs:
        usual = {name: p.defaults()[name] for name in reasons(p)}
        alike[p.model_copy(update=usual).model_dump_json()].append(p)
    count = sum(len(same) - 1 for same in alike.values())
    if not count:
        return []
    varied = (name for name in RUN.model_fields for same in alike.values() if len({getattr(p, name) for p in same}) > 1)
    names = dict.fromkeys(varied)
    which = "1 run comes" if count == 1 else f"{count} runs come"
    return [f"{which} out as another does: {', '.join(names)} changes nothing there"]


def refuse(p: OneRun, given: Iterable[str], usual: Mapping[str, object]) -> None:
    """Raise UserError for the first parameter that was given another value than the usual one, and changes nothing."""
    for name, why in reasons(p).items():
        if name in given and getattr(p, name) != usual[name]:
            raise UserError(f"{name} {shown(getattr(p, name))} has no part in {why}; leave it out")
