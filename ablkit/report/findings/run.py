"""What one run says: whether its model has the backdoor that it should or should not have, and the price."""

from __future__ import annotations

from ablkit.report.findings.words import (
    ANSWERED,
    DEAR,
    FAILS,
    GONE,
    HOLDS,
    IN_PART,
    PRESENT,
    UNKNOWN,
    UNMEASURED,
    known,
    limit,
    name_of,
    over,
    percent,
    price,
    removed,
    upper,
)

_PRICED = ("clean_accuracy", "target_class_accuracy")
"""Where a method costs something."""


def of_run(metrics: dict, method: str) -> str:
    """Whether one run has the backdoor that its method should remove (or, undefended, should have), and the price.

    ABL is held against its model before the unlearning, another defence against the model that it was given. Where no
    image is poisoned there is no backdoor to judge: the sentence says what a method takes from clean data.

    Args:
        metrics: what `summary.of_run` gives.
    """
    if metrics.get("poisoned_images") == 0:
        return _on_clean_data(metrics, method)
    title, success = name_of(method), known(metrics.get("attack_success_rate"))
    if success is None:
        return f"{UNKNOWN} The attack success rate was {UNMEASURED}. {over(1)}"
    accuracy, target = (known(metrics.get(name)) for name in ("clean_accuracy", "target_class_accuracy"))
    rate = f"attack success rate of {percent(success)}"
    have = f"Clean accuracy is {percent(accuracy)}, in the target class {percent(target)}."
    if method == "none":
        word = HOLDS if success >= PRESENT else IN_PART if success > GONE else FAILS
        return f"{word} The undefended model has an {rate}. {have} {over(1)}"
    if method == "oracle":
        word = HOLDS if success <= GONE else FAILS
        return f"{word} {upper(title)}, the model has an {rate}. {have} {over(1)}"
    suffix = "_finetuned" if known(metrics.get("attack_success_rate_finetuned")) is not None else "_before"
    before, *base = (known(metrics.get(name + suffix)) for name in ("attack_success_rate", *_PRICED))
    step = "ABL's unlearning" if method == "abl" and suffix == "_finetuned" else title
    if before is None or before < PRESENT:
        below = "" if before is None else f", below the {limit(PRESENT)} from which a backdoor counts as present"
        told = f"Before {step} the attack success rate was {percent(before)}{below}; after it, {percent(success)}."
        return f"{UNKNOWN} {told} {have} {over(1)}"
    is_mute = target is not None and target < ANSWERED
    told = f"{upper(step)} takes the attack success rate from {percent(before)} to {percent(success)}"
    if suffix == "_before":  # a model after a few epochs: its accuracy is nothing to be held against
        costs = [None, None]
        paid = f"{have} What that costs only an undefended run of the same seed can say."
        return f"{removed([success <= GONE and not is_mute], *costs)} {told}. {paid} {over(1)}"
    costs = [None if None in pair else pair[0] - pair[1] for pair in zip(base, (accuracy, target), strict=True)]
    is_removed = success <= GONE and not is_mute and not (costs[0] is not None and costs[0] >= DEAR)
    return f"{removed([is_removed], *costs)} {told}; {price(costs[0], base[1], target)}. {over(1)}"


def _on_clean_data(metrics: dict, method: str) -> str:
    """What one run on a training set without poison has, and how many images its method took for poisoned."""
    whole = metrics.get("training_images")
    kinds = (("isolated_images", "isolated"), ("method_excluded_images", "excluded"))
    counted = {word: known(metrics.get(name)) for name, word in kinds}
    if method == "exclude":  # its isolated images are only followed, and stay in the training
        counted["isolated"] = None
    told = [
        f"{number:.0f} of {whole} clean images ({percent(number / whole)}) {'was' if number == 1 else 'were'} {word}."
        for word, number in counted.items()
        if number is not None
    ]
    success, accuracy, target = (known(metrics.get(name)) for name in ("attack_success_rate", *_PRICED))
    told.append(f"Clean accuracy is {percent(accuracy)}, in the target class {percent(target)}.")
    base = [known(metrics.get(f"{name}_finetuned")) for name in _PRICED]
    if None not in (*base, accuracy, target):
        step = "ABL's unlearning" if method == "abl" else name_of(method)
        told.append(f"{upper(step)}: {price(base[0] - accuracy, base[1], target)}.")
    taken = f"the model takes {percent(success)} of triggered images for the target"
    judged = f"{UNKNOWN} No image is poisoned, so there is no backdoor to judge: {taken}."
    return " ".join([judged, *told, over(1)])
