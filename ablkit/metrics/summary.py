"""The flat metrics of a finished run, and of comparisons of runs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ablkit.attacks.attack import Poisoned
from ablkit.exclusion.suspects import Suspects
from ablkit.metrics.definitions import defense_effectiveness, isolation_quality
from ablkit.shapes import Int64, ndarray

UNDEFENDED = ("attack_success_rate", "clean_accuracy", "clean_accuracy_non_target")
"""What attacks are compared by."""

COMPARED = (
    "clean_accuracy",
    "clean_accuracy_non_target",
    "target_class_accuracy",
    "attack_success_rate",
    "robust_accuracy",
    "defense_effectiveness",
)
"""What methods are compared by."""

OF_SOME_ATTACKS = {
    "cross_trigger_accuracy": "accuracy under another's trigger",
    "false_trigger_rate": "false triggers",
}
"""What only some attacks are measured by, whether something else than the trigger opens the backdoor -> its title."""

UNLEARNED = ("attack_success_rate", "clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy")
"""What the parts of the unlearning are compared by."""


def of_run(
    history: list[dict],
    isolated: Int64[ndarray, " k"],
    poisoned: Poisoned,
    record: dict[str, float] | None = None,
    suspects: Suspects | None = None,
) -> dict:
    """The flat metrics of a finished training, as `metrics.json` has them.

    Accuracies and attack success rate of the final model under their plain names, after phase 1 with `_before`, after
    the fine-tuning with `_finetuned` (for a defence: the model that it was given); isolation quality; where images were
    judged as suspects, precision and recall of excluding them (`exclusion_`); numbers of images; seconds and images per
    second of the training, with what a defence starts from and without the evaluations; what attack and method measured
    of themselves, with `poisoning_` and `method_` before the names. What the attacker trained or optimised took
    `poisoning_seconds`, now or when it was made and kept; after a kill, the rest of it.
    """
    ends = {record["stage"]: record for record in history}
    names = ["clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy", "attack_success_rate"]
    names += ["robust_accuracy"]
    names += [name for name in OF_SOME_ATTACKS if name in history[-1]]
    suffixes = {"isolate": "_before", "finetune": "_finetuned", history[-1]["stage"]: ""}
    result = {name + suffix: ends[stage][name] for stage, suffix in suffixes.items() if stage in ends for name in names}
    if len(isolated):
        result |= isolation_quality(isolated, poisoned.is_poisoned)
        for name in ("isolation_auroc", "isolation_average_precision"):
            result[name] = ends["isolate"][name] if "isolate" in ends else None
        result["isolated_images"] = len(isolated)
    if suspects is not None:
        quality = isolation_quality(suspects.images, poisoned.is_poisoned)
        result |= {name.replace("isolation", "exclusion"): value for name, value in quality.items()}
    images, seconds = (sum(record.get(name, 0) for record in history) for name in ("images", "seconds"))
    return result | {
        "training_images": len(poisoned),
        "poisoned_images": int(poisoned.is_poisoned.sum()),
        "seconds": seconds,
        "images_per_second": images / seconds if seconds else None,
        "poisoning_seconds": sum(value for name, value in poisoned.record.items() if name.endswith("_seconds")),
        **{f"poisoning_{name}": value for name, value in poisoned.record.items()},
        **{f"method_{name}": value for name, value in (record or {}).items()},
    }


def with_effectiveness(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs with `defense_effectiveness`, each held against the undefended run of its attack and seed.

    nan for those, and for runs of an attack and seed without one.
    """
    rows = frame[["attack", "seed", "method", "attack_success_rate", "clean_accuracy"]].to_dict("records")
    shares = [{name: row[name] for name in ("attack_success_rate", "clean_accuracy")} for row in rows]
    undefended = {
        (row["attack"], row["seed"]): share for row, share in zip(rows, shares, strict=True) if row["method"] == "none"
    }
    before = [None if row["method"] == "none" else undefended.get((row["attack"], row["seed"])) for row in rows]
    rating = [
        None if own is None else defense_effectiveness(own, share) for own, share in zip(before, shares, strict=True)
    ]
    return frame.assign(defense_effectiveness=pd.Series(rating, frame.index, dtype=float))


def _means(frame: pd.DataFrame, by: str | list[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Means of metrics over the rows that have them; a metric that no run has is empty, whatever type that gave it."""
    return frame.astype(dict.fromkeys(metrics, float)).groupby(by, sort=False)[list(metrics)].mean()


def _number(value: object) -> float | None:
    return None if pd.isna(value) else float(value)


def of_methods(frame: pd.DataFrame) -> dict:
    """The flat metrics of a comparison of methods: means over seeds, with attack and method as suffix."""
    means = _means(frame, ["attack", "method"], COMPARED)
    return {
        f"{metric}_{attack}_{method}": _number(value)
        for (attack, method), row in means.iterrows()
        for metric, value in row.items()
    }


def of_arms(frame: pd.DataFrame) -> dict:
    """The flat metrics of a comparison of arms of the unlearning: means over seeds, with attack and arm as suffix."""
    means = _means(frame, ["attack", "arm"], UNLEARNED)
    return {
        f"{metric}_{attack}_{arm}": _number(value)
        for (attack, arm), row in means.iterrows()
        for metric, value in row.items()
    }


def of_cases(frame: pd.DataFrame) -> dict:
    """The flat metrics of a notebook that varies one thing: means over seeds; attack, case and method behind."""
    means = _means(frame, ["attack", "case", "method"], compared_cases(frame))
    return {
        f"{metric}_{attack}_{case}_{method}": _number(value)
        for (attack, case, method), row in means.iterrows()
        for metric, value in row.items()
    }


def compared_cases(frame: pd.DataFrame) -> list[str]:
    """What cases are compared by: UNLEARNED, and how precise the isolation was where there was any."""
    return [*UNLEARNED, *(["isolation_precision"] if "isolation_precision" in frame else [])]


def unlearning(history: list[dict]) -> pd.DataFrame:
    """The unlearning of one run, a row an epoch, with `epoch` and what of UNLEARNED was measured.

    Epoch 0 is the fine-tuned model. The last row is that of the result, which is measured on all test images. Empty for
    a run without a fine-tuning and an unlearning.

    Args:
        history: its records, see `runs.history`.
    """
    before = [record for record in history if record["stage"] == "finetune"][-1:]
    after = [record for record in history if record["stage"] == "unlearn"]
    rows = [*(record | {"epoch": 0} for record in before), *after]
    if after:
        rows[-1] = {**history[-1], "epoch": rows[-1]["epoch"]}
    return pd.DataFrame(rows).reindex(columns=["epoch", *UNLEARNED])


def stages(history: list[dict], **run: object) -> pd.DataFrame:
    """What each stage of a run took, in its order: `stage`, `epochs`, `seconds` and `measuring` (seconds, too).

    `measuring` is what was measured after each epoch, on test and training images; no defender pays it.

    Args:
        run: further columns, such as method and seed.
    """
    rows: dict[str, dict] = {}
    for record in history:
        own = rows.setdefault(record["stage"], {**run, "stage": record["stage"], "epochs": 0})
        own["epochs"] += 1
        for name, kept in (("seconds", "seconds"), ("measuring", "evaluation_seconds")):
            own[name] = own.get(name, 0.0) + (_number(record.get(kept)) or 0.0)
    return pd.DataFrame(rows.values(), columns=[*run, "stage", "epochs", "seconds", "measuring"])


def of_cost(frame: pd.DataFrame) -> dict:
    """The flat metrics of a comparison of costs: seconds of training and MiB, means over seeds; attack, method behind.

    Args:
        frame: see `comparisons.costs`.
    """
    each = frame.groupby(["attack", "method", "seed"], sort=False).agg(seconds=("seconds", "sum"), mib=("mib", "first"))
    means = each.groupby(level=["attack", "method"], sort=False).mean()
    return {
        f"{name}_{attack}_{method}": _number(value)
        for (attack, method), row in means.iterrows()
        for name, value in row.items()
    }


def of_undefended(frame: pd.DataFrame) -> list[str]:
    """The metrics of undefended runs that any of them has."""
    return [name for name in (*UNDEFENDED, *OF_SOME_ATTACKS) if name in frame]


def of_attacks(frame: pd.DataFrame) -> dict:
    """The flat metrics of a comparison of attacks: means over seeds, with the attack as suffix."""
    means = _means(frame, "attack", UNDEFENDED)
    return {f"{metric}_{name}": _number(means.loc[name, metric]) for name in means.index for metric in means.columns}


def of_twins(frame: pd.DataFrame) -> dict:
    """The flat metrics of attacks beside their twins: means over seeds, with the attack, or attack and twin, behind."""
    means = _means(frame, ["attack", "attack_settings"], of_undefended(frame))
    return {
        f"{metric}_{attack}{'_twin' if settings else ''}": float(value)
        for (attack, settings), row in means.iterrows()
        for metric, value in row.dropna().items()
    }


def of_gap(frame: pd.DataFrame) -> dict:
    """The flat metrics of loss gaps: their state at the turning epoch, means over seeds; attack and method behind."""
    last = frame.groupby(["attack", "method", "seed"], sort=False).tail(1)
    means = _means(last, ["attack", "method"], [name for name in last if name not in _OF_A_GAP])
    return {
        f"{name}_{attack}_{method}": _number(value)
        for (attack, method), row in means.iterrows()
        for name, value in row.items()
    }


_OF_A_GAP = ("attack", "method", "seed", "epoch")


def loss_gap(histories: dict[str, list[dict]]) -> pd.DataFrame:
    """The first phase of some runs, one row for each method and epoch; see `runs.history`."""
    columns = ["clean_loss", "poisoned_loss", "isolation_precision", "isolation_recall"]
    columns += ["isolation_auroc", "isolation_average_precision"]
    rows = [{"method": method, **record} for method, records in histories.items() for record in records]
    own = pd.DataFrame([row for row in rows if row["stage"] == "isolate"])
    return own.reindex(columns=["method", "epoch", *columns])


ISOLATION = {"precision": "isolation_precision", "precision_at_5": "isolation_precision_at_5"}
ISOLATION |= {"precision_at_10": "isolation_precision_at_10", "auroc": "isolation_auroc"}
"""What isolation scores are compared by -> how the names of these metrics begin in the history of a run."""


def isolators(history: list[dict], **run: object) -> pd.DataFrame:
    """How well each score would isolate after each epoch of phase 1, one row for each: epoch, score, ISOLATION.

    Empty for a run that has not kept scores.

    Args:
        run: further columns, such as attack, seed and loss.
    """
    begin = f"{ISOLATION['auroc']}_"
    rows = [
        {**run, "epoch": record["epoch"], "score": name.removeprefix(begin)}
        | {metric: record[f"{known}_{name.removeprefix(begin)}"] for metric, known in ISOLATION.items()}
        for record in history
        if record["stage"] == "isolate"
        for name in record
        if name.startswith(begin)
    ]
    return pd.DataFrame(rows, columns=[*run, "epoch", "score", *ISOLATION]).astype(dict.fromkeys(ISOLATION, float))


def of_isolators(frame: pd.DataFrame) -> dict:
    """The flat metrics of a comparison of scores: the median over seeds and epochs; score, attack and loss behind."""
    medians = frame.groupby(["score", "attack", "loss"], sort=False)[list(ISOLATION)].median()
    return {
        f"{metric}_{score}_{attack}_{loss}": _number(value)
        for (score, attack, loss), row in medians.iterrows()
        for metric, value in row.items()
    }


FIRST_PHASE = ("isolation_precision", "isolation_precision_averaged", "isolation_auroc")
FIRST_PHASE += ("clean_accuracy", "attack_success_rate")
"""What architectures are compared by: what would be isolated by the loss and by averaged weights, what is learned."""


def first_phase(history: list[dict], **run: object) -> pd.DataFrame:
    """The epochs of phase 1 of a run, one a row with `epoch` and FIRST_PHASE; nan for what was not measured.

    Args:
        run: further columns, such as attack, seed and model.
    """
    rows = [{**run, **record} for record in history if record["stage"] == "isolate"]
    found = pd.DataFrame(rows).reindex(columns=[*run, "epoch", *FIRST_PHASE])
    return found.astype(dict.fromkeys(FIRST_PHASE, float))


def of_architectures(epochs: pd.DataFrame) -> dict:
    """The flat metrics of a comparison of models: means over seeds after the last epoch; attack and model behind."""
    last = epochs[epochs["epoch"] == epochs["epoch"].max()]
    means = _means(last, ["attack", "model"], FIRST_PHASE)
    return {
        f"{metric}_{attack}_{model}": _number(value)
        for (attack, model), row in means.iterrows()
        for metric, value in row.items()
    }
