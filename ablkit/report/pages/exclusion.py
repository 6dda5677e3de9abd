"""Training without the suspects, beside ABL, undefended training and training on clean data."""

from __future__ import annotations

import pandas as pd

from ablkit.exclusion import suspects
from ablkit.report import charts, findings
from ablkit.report.collect import Collection, dataset_title, hardware_of
from ablkit.report.exclusion import SEPARATION, SEPARATION_OF_OTHERS, drawn, separations
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.exclusion import (
    CHOSEN_WITH,
    MEASURED,
    NEAR,
    beside,
    is_earlier,
    of_earlier_rule,
    paired,
    price,
)
from ablkit.report.findings.words import FEWEST, count
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed, literal
from ablkit.report.pages import missing, protocol
from ablkit.report.text import percent
from ablkit.report.verdicts import INTERVAL, over_seeds

NAME = "exclusion.html"
_COLUMNS = ("attack", *("undefended", "ABL", "excluded") * 3, "n")
_GROUPS = (
    ("", 1),
    ("attack success, %", 3),
    ("clean accuracy, %", 3),
    ("target class, %", 3),
    ("", 1),
)


_OTHERS = {
    "abl": "ABL",
    "retrain": "without the images that ABL isolates",
    "random": "without as many drawn by chance",
    "oracle": "trained on clean data",
}
_CONTROLS = (
    "Isolated: the images that ABL isolates. By chance: as many images of the same classes as are suspected, drawn."
)


def page(c: Collection) -> Page:
    """The project's own method: does it end as training on clean data does?"""
    title = "A clean model from poisoned data: training without the suspects"
    frame = runs_of(c)
    blocks: list[Block] = [Text(protocol.HOW)]
    if frame.empty or not (frame["method"] == "exclude").any():
        commands = ["ablkit run exclusion", "ablkit run exclusion -p attack_names badnets"]
        blocks += missing.not_run(c, "training without suspects on any attack at quick scale", commands)
        return Page(
            NAME,
            title,
            f"None of {len(TITLES)} attacks was run with this method at quick scale yet.",
            blocks,
            "Clean models",
        )
    own = beside(frame)
    blocks += [figure(c, "exclusion"), _table(own), *_margin(own), *_false_alarms(c)]
    blocks += [*_controls(own), *protocol.blocks(own), *_left_out(c, own)]
    return Page(NAME, title, findings.of_exclusion(frame), blocks, "Clean models")


def in_short(c: Collection) -> str:
    """What the first page says of it, beside ABL; empty where no run is there."""
    own = _measured(c)
    if own.empty:
        return ""
    gone, names = int((own["attack_success_rate"] <= GONE).sum()), own["attack"].nunique()
    dates = sorted(literal(str(started)[:10]) for started in own["env_started"])
    measured = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    left = own[own["attack_success_rate"] > GONE].groupby("attack", sort=False)["attack_success_rate"].max()
    keeps = [f"{TITLES[name]} keeps up to {percent(most, 0)}" for name, most in left.items()]
    each = own.groupby("attack")["seed"].nunique()
    seeds = count(int(each.max()), "seed") if each.min() == each.max() else f"{each.min()} to {each.max()} seeds"
    told = [
        f"**{gone} of {count(len(own), 'run')}** end with at most {percent(GONE, 0)} attack success when trained"
        f" without the suspects, this kit's own method ({count(names, 'attack')}, {seeds} each,"
        f" {listed(sorted(set(own['place'])))}, {measured}){'; ' * bool(keeps)}{listed(keeps)}.",
        price(own),
    ]
    if number := int(is_earlier(own).sum()):
        are = "is" if number == 1 else "are"
        told.append(f"{number} {are} of an earlier rule: it was changed after reported runs had been seen.")
    if set(own["attack"]) <= set(CHOSEN_WITH):
        told.append("Settings were chosen with these attacks, on other seeds.")
    return f"{' '.join(part for part in told if part)} {link('Clean models', NAME)}."


def runs_of(c: Collection) -> pd.DataFrame:
    """The runs at quick scale on CPUs that are compared, one for each attack, method and seed.

    Those of `exclude` are of the scale that has most of them, and what that lacks of the other scales; all others are
    first those that the index shows.
    """
    scales = [s for s in c.scales if s.preset == "quick" and s.dataset == "cifar10" and s.place.startswith("CPU")]
    if not scales:
        return c.runs.iloc[:0]
    own = [scale.of("exclude") for scale in sorted(scales, key=lambda s: -len(s.of("exclude")))]
    others = [scale.runs[scale.runs["method"] != "exclude"] for scale in scales]
    # No preset has the control's settings, so that it is no run of a scale.
    drawn = (c.runs["preset"] == "quick") & c.runs["place"].isin([scale.place for scale in scales])
    drawn &= (c.runs["attack_settings"] == "") & (c.runs["method_settings"] == "control=random")
    frame = pd.concat([*own, *others, c.runs[drawn]])
    return frame.drop_duplicates(["attack", "seed", "method", "method_settings"])


def beside_abl(c: Collection) -> str:
    """How many backdoors it removes on every seed, to follow what ABL does; empty where no attack has seeds enough."""
    own = _measured(c)
    if own.empty or not len(always := _always(own)):
        return ""
    return f"; training without the suspects removes {always.sum()} of {len(always)} on every seed"


def _measured(c: Collection) -> pd.DataFrame:
    """The runs of this method, each beside the others."""
    frame = runs_of(c)
    return beside(frame).dropna(subset="attack_success_rate") if len(frame) else frame


def figure(c: Collection, name: str, attacks: list[str] | None = None) -> Figure | None:
    """Attack success, clean accuracy and target class of the methods, an attack a line.

    Args:
        attacks: None is returned where one of these has no run without suspects.
    """
    frame = runs_of(c)
    own = beside(frame) if len(frame) else frame
    if own.empty or (attacks and not set(attacks) <= set(own["attack"])):
        return None
    alt = "Attack success, clean accuracy and target class: undefended, with ABL, and without the suspects"
    how = "A marker is a seed; dashed: models trained on clean data, the mean of those measured."
    return Figure(name, charts.later(drawn, frame), alt, f"**{_caption(own)}** {how}")


def _always(own: pd.DataFrame) -> pd.Series:
    """By attack with seeds enough, whether the backdoor is gone on every one."""
    enough = own.groupby("attack")["seed"].transform("nunique") >= FEWEST
    own = own[enough]
    return (own["attack_success_rate"] <= GONE).groupby(own["attack"]).all()


def _caption(own: pd.DataFrame) -> str:
    always = _always(own)
    if always.empty:
        return f"No attack was measured on {FEWEST} seeds yet."
    return (
        f"Trained without the suspects, a model has at most {percent(GONE, 0)} attack success with"
        f" {always.sum()} of {count(len(always), 'attack')} on every seed ({FEWEST} or more)."
    )


def _table(own: pd.DataFrame) -> Table:
    rows = []
    order = own.groupby("attack", sort=False)["attack_success_rate"].mean().sort_values(ascending=False, kind="stable")
    for name in order.index:
        part = own[own["attack"] == name]
        cells = []
        for metric in MEASURED:
            for suffix in ("_none", "_abl", ""):
                values = part[f"{metric}{suffix}"]
                failed = metric == "attack_success_rate" and suffix != "_none" and values.mean() > GONE
                cells.append(over_seeds(values, bad=failed))
        rows.append((link(TITLES[name], f"attack-{name}.html"), *cells, str(len(part))))
    return Table(_COLUMNS, rows, _GROUPS, f"Worst attack first. Mean over seeds. {INTERVAL}")


def _at_end(own: pd.DataFrame) -> str:
    """How near to the limit of the second look the other classes come, in the runs that know it."""
    highest = own.get(f"{SEPARATION_OF_OTHERS}_at_end", pd.Series(dtype=float)).astype(float)
    if highest.isna().all():
        return ""
    run, limit = own.loc[highest.idxmax()], suspects.Settings().least_separation_at_end
    but = ", with too many images in between to be suspected" if highest.max() >= limit else ""
    return (
        f" In the model trained to the end, where {limit:g} are asked for, those of other classes lie at most"
        f" {highest.max():.1f} apart{but} ({TITLES[run['attack']]}, seed {run['seed']};"
        f" {count(int(highest.count()), 'run')})."
    )


def _margin(own: pd.DataFrame) -> list[Block]:
    """How clear the verdicts were: the lowest separation of a suspected class, and the highest of another."""
    known = own.dropna(subset=[SEPARATION, SEPARATION_OF_OTHERS]) if SEPARATION in own else own.iloc[:0]
    late = pd.Series(known.get("method_look", 1.0), known.index, float) > 1  # another limit holds then
    known, beside = known[~late], f" {count(int(late.sum()), 'run')} that the second look decided: not shown."
    if known.empty:
        return []
    limit, told = suspects.Settings().least_separation, []
    found = known[known["method_suspected_classes"] > 0]
    for rows, name, end, what in (
        (found, SEPARATION, "idxmin", "The groups of a suspected class lie at least"),
        (known, SEPARATION_OF_OTHERS, "idxmax", "those of any other class at most"),
    ):
        if len(rows):
            run = rows.loc[getattr(rows[name].astype(float), end)()]
            told.append(f"{what} {run[name]:.1f} deviations apart ({TITLES[run['attack']]}, seed {run['seed']})")
    caption = f"**{', '.join(told)}.**{_at_end(own)} A marker is a run. A class also needs a valley between its groups."
    caption += beside * bool(late.any())
    alt = "Separation of the groups of the suspected class and of the next class, by attack"
    drawn = charts.later(separations, known, limit)
    return [Heading("How clear the verdicts were"), Figure("separations", drawn, alt, caption)]


def _false_alarms(c: Collection) -> list[Block]:
    """What it excludes of data that nobody poisoned, by data set."""
    wanted = (c.runs["preset"] == "quick") & (c.runs["method"] == "exclude") & (c.runs["poison_rate"] == 0)
    runs, told = c.runs[wanted & (c.runs["method_settings"] == "")], []
    for dataset, own in runs.groupby("dataset", sort=False):
        alarms, most = (own["method_suspected_classes"] > 0).sum(), own["method_excluded_images"].max()
        seeds, share = count(own["seed"].nunique(), "seed"), percent(most / own["training_images"].max())
        told.append(
            f"On {dataset_title(dataset)} it suspects a class in {alarms} of {count(len(own), 'run')} and excludes at"
            f" most {share} of the images ({seeds}, {listed(sorted(set(own['place'])))})."
            f" {of_earlier_rule(own)}".rstrip()
        )
    if not told:
        command = "ablkit sweep notebooks/sweeps/no_poison.yaml"
        return [Heading("On data without poison"), *missing.not_run(c, "this method on data without poison", [command])]
    return [Heading("On data without poison"), Text(" ".join(told))]


def _controls(own: pd.DataFrame) -> list[Block]:
    """What leaving other images out does, the distance from the ceiling by attack, and all differences over seeds."""
    rows = []
    for name, part in own.groupby("attack", sort=False):
        cells = [over_seeds(part[f"attack_success_rate{suffix}"]) for suffix in ("", "_retrain", "_random", "_oracle")]
        for metric in NEAR:
            for method in ("", "abl"):
                lost = part[f"{metric}_oracle"] - part[f"{metric}_{method}" if method else metric]
                cells.append(over_seeds(lost))
        cells += [over_seeds(part.get(f"exclusion_{what}", [])) for what in ("precision", "recall")]
        rows.append((TITLES[name], *cells))
    columns = ("attack", "suspects", "isolated", "by chance", "clean data", *("suspects", "ABL") * 2)
    columns += ("precision, %", "recall, %")
    groups = (("", 1), ("attack success, %: excluded are", 4), ("clean accuracy lost", 2), ("target class lost", 2))
    groups += (("suspects", 2),)
    note = (
        f"{_CONTROLS} Clean data: how often a model trained on clean data takes the same images for the target. Lost:"
        " points below a model trained on clean data of the same seed, mean over the seeds that have both."
        " Precision: share of the suspects that are poisoned. Recall: share of the poisoned images among them."
    )
    by_seed = [_difference(own, name) for name in _OTHERS]
    columns_by_seed = ("held against", "attacks", "seeds", "attack success", "clean accuracy", "target class")
    differ = (
        "Points that training without the suspects has more than each; a seed is the mean over the attacks that have"
        f" both; the attack success of training on clean data is known where the column above has it. {INTERVAL}"
    )
    return [
        Heading("Controls, paired by seed"),
        Table(columns, rows, groups, note),
        Table(columns_by_seed, by_seed, note=differ),
    ]


def _difference(own: pd.DataFrame, name: str) -> tuple[str | Cell, ...]:
    both = own.dropna(subset=[f"clean_accuracy_{name}"])
    attacks, seeds = (str(both[column].nunique()) for column in ("attack", "seed"))
    return (_OTHERS[name], attacks, seeds, *(over_seeds(paired(own, metric, name)) for metric in MEASURED))


def _left_out(c: Collection, own: pd.DataFrame) -> list[Block]:
    commands = [f"ablkit run exclusion -p attack_names {name}" for name in TITLES if name not in set(own["attack"])]
    blocks: list[Block] = [] if not commands else missing.not_run(c, "the other attacks", commands)
    places = listed(sorted(set(own["place"])))
    aside = f"Suspects excluded: {places}. Where a column has no run of that place, it shows the runs of the main scale"
    aside += (
        ", which have the same images, poison and seeds and round otherwise. Hardware of the runs without suspects:"
    )
    return [*blocks, Text(f"{aside} {hardware_of(own)}. Its notebook: {code('exclusion.ipynb')}.", "soft")]
