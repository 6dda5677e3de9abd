"""Training without the suspects, beside ABL, undefended training and training on clean data."""

from __future__ import annotations

import pandas as pd

from ablkit.exclusion import rule
from ablkit.report import charts, data, findings
from ablkit.report.collect import Collection, dataset_title, measured
from ablkit.report.exclusion import SEPARATION, SEPARATION_OF_OTHERS, drawn, separations
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.beside import MEASURED, NEAR, beside
from ablkit.report.findings.exclusion import price, resemblance
from ablkit.report.findings.rule import of_earlier_rule, of_its_making
from ablkit.report.findings.words import FEWEST, count, upper
from ablkit.report.page import Block, Figure, Heading, Page, Table, Text, code, link, listed, literal
from ablkit.report.pages import controls, glance, missing, protocol
from ablkit.report.text import percent
from ablkit.report.verdicts import INTERVAL, RED, counted, over_seeds

NAME = "exclusion.html"
_COLUMNS = ("attack", *("undefended", "ABL", "excluded") * 3, "n")
_GROUPS = (
    ("", 1),
    ("attack success, %", 3),
    ("clean accuracy, %", 3),
    ("target class, %", 3),
    ("", 1),
)


def page(c: Collection) -> Page:
    """The project's own method: does it end as training on clean data does?"""
    title = "A clean model from poisoned data: training without the suspects"
    frame = runs_of(c)
    own = beside(frame) if len(frame) else frame
    if own.empty:
        commands = ["ablkit run exclusion", "ablkit run exclusion -p attack_names badnets"]
        lacking = missing.not_run(c, "training without suspects on any attack at quick scale", commands)
        none = f"None of {len(TITLES)} attacks was run with this method at quick scale yet."
        return Page(NAME, title, none, [*protocol.how(c.runs.iloc[:0]), *lacking], "Clean models")
    full = pd.concat([scale.of("exclude") for scale in c.full] or [c.runs.iloc[:0]])
    blocks = [
        glance.table(own),
        figure(c, "exclusion"),
        _table(own),
        *protocol.how(own),
        *_margin(own),
        *_false_alarms(c),
    ]
    stopped = data.table(c.folder / "gpu-unfinished.csv")
    blocks += [*controls.blocks(own), *protocol.blocks(own, full, stopped), *_left_out(c, own)]
    finding = findings.of_exclusion(frame, of_its_making(own))
    return Page(NAME, title, finding, list(filter(None, blocks)), "Clean models")


def in_short(c: Collection) -> str:
    """What the first page says of it in two paragraphs; empty where no run is there."""
    own = measured_runs(c)
    if own.empty:
        return ""
    gone, names = int((own["attack_success_rate"] <= GONE).sum()), own["attack"].nunique()
    dates = sorted(literal(str(started)[:10]) for started in own["env_started"])
    measured = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    left = own[own["attack_success_rate"] > GONE].groupby("attack", sort=False)["attack_success_rate"].max()
    keeps = [f"{TITLES[name]} keeps up to {percent(most, 0)}" for name, most in left.items()]
    told = [
        f"**{gone} of {count(len(own), 'run')}** end with at most {percent(GONE, 0)} attack success when trained"
        " without the suspects, this kit's own method. Suspects are images that form a group apart within their class,"
        " in what the layers of a network see.",
        f"{listed(keeps)}." * bool(keeps),
        f"({upper(count(names, 'attack'))}, {_seeds(own)} each,{_models(own)}"
        f" {listed(sorted(set(own['place'])))}, {measured}.)",
    ]
    accuracy = [price(own, short=True), resemblance(own, short=True), f"{link('Clean models', NAME)}."]
    parts = (told, [of_its_making(own, short=True)], accuracy)
    return "\n\n".join(" ".join(filter(None, part)) for part in parts)


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
    drawn &= (
        (c.runs["dataset"] == "cifar10")
        & (c.runs["attack_settings"] == "")
        & (c.runs["method_settings"] == "control=random")
    )
    frame = pd.concat([*own, *others, c.runs[drawn]])
    return frame.drop_duplicates(["attack", "seed", "method", "method_settings"])


def beside_abl(c: Collection) -> str:
    """How many backdoors are gone on every seed, to follow what ABL does; empty where no attack has seeds enough."""
    own = measured_runs(c)
    if own.empty or not len(always := _always(own)):
        return ""
    return f"; trained without the suspects {always.sum()} of {len(always)} are gone on every seed"


def measured_runs(c: Collection) -> pd.DataFrame:
    """The runs of this method, each beside the others."""
    frame = runs_of(c)
    return beside(frame).dropna(subset="attack_success_rate") if len(frame) else frame


def figure(c: Collection, name: str, attacks: list[str] | None = None) -> Figure | None:
    """Attack success, clean accuracy and target class of the methods, an attack a line.

    Args:
        attacks: in this order; None is returned where one of them has no run without suspects.
    """
    frame = runs_of(c)
    own = beside(frame) if len(frame) else frame
    if own.empty or (attacks and not set(attacks) <= set(own["attack"])):
        return None
    alt = "Attack success, clean accuracy and target class: undefended, with ABL, and without the suspects"
    measured = own.dropna(subset="attack_success_rate_oracle")["attack"]
    names = listed(list(dict.fromkeys(TITLES[name] for name in measured)))
    how = "A marker is a seed; dashed: the mean of models trained on clean data"
    how += f", whose attack success was measured with {names}." if names else "."
    return Figure(name, charts.later(drawn, frame, attacks or ()), alt, f"**{_caption(own)}** {how}")


def _seeds(own: pd.DataFrame) -> str:
    """How many seeds an attack has, `3 seeds` or `1 to 3 seeds`."""
    each = own.groupby("attack")["seed"].nunique()
    return count(int(each.max()), "seed") if each.min() == each.max() else f"{each.min()} to {each.max()} seeds"


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
        f" {always.sum()} of {count(len(always), 'attack')} on every seed ({_seeds(own)} an attack)."
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
        number = counted(*(int(part[f"attack_success_rate{suffix}"].count()) for suffix in ("_none", "_abl", "")))
        rows.append((link(TITLES[name], f"attack-{name}.html"), *cells, number))
    return Table(_COLUMNS, rows, _GROUPS, f"Worst attack first. Mean over seeds. {INTERVAL} {RED}{_twice(own)}")


def _models(own: pd.DataFrame) -> str:
    """How many models these runs are, where attacks that poison the same images share one: see `_twice`."""
    models = len(own.drop_duplicates(["seed", *NEAR]))
    return f" {models} different models," if models < len(own) else ""


def _twice(own: pd.DataFrame) -> str:
    """That attacks which poison the same images end with one model, where that is seen."""
    models = len(own.drop_duplicates(["seed", *NEAR]))
    if models == len(own):
        return ""
    same = own[own.duplicated(["seed", *NEAR], keep=False)]
    names = listed(list(dict.fromkeys(TITLES[name] for name in same["attack"])))
    return (
        " Attacks that poison the same images end with the same model where exactly these are excluded:"
        f" {len(same)} runs ({names}) share {len(same) - len(own) + models} models, so that"
        f" {count(len(own), 'run')} made {models}."
    )


def _at_end(own: pd.DataFrame) -> str:
    """How near to the limit of the second look the other classes come, in the runs that know it."""
    highest = own.get(f"{SEPARATION_OF_OTHERS}_at_end", pd.Series(dtype=float)).astype(float)
    if highest.isna().all():
        return ""
    run, limit = own.loc[highest.idxmax()], rule.Settings().least_separation_at_end
    but = ", with too many images in between to be suspected" if highest.max() >= limit else ""
    return (
        f" In the model trained to the end, where {limit:g} are asked for, those of other classes lie at most"
        f" {highest.max():.1f} apart{but} ({TITLES[run['attack']]}, seed {run['seed']};"
        f" {count(int(highest.count()), 'run')})."
    )


def _margin(own: pd.DataFrame) -> list[Block]:
    """How clear the verdicts were: the lowest separation of the class that stands out most, the highest of another."""
    known = own.dropna(subset=[SEPARATION, SEPARATION_OF_OTHERS]) if SEPARATION in own else own.iloc[:0]
    late = pd.Series(known.get("method_look", 1.0), known.index, float) > 1  # another limit holds then
    known, beside = known[~late], f" {count(int(late.sum()), 'run')} that the second look decided: not shown."
    if known.empty:
        return []
    limit, told = rule.Settings().least_separation, []
    found = known[known["method_suspected_classes"] > 0]
    for rows, name, end, what in (
        (
            found,
            SEPARATION,
            "idxmin",
            "Where a class is suspected, the groups of that which stands out most lie at least",
        ),
        (known, SEPARATION_OF_OTHERS, "idxmax", "those of a class without suspects at most"),
    ):
        if len(rows):
            run = rows.loc[getattr(rows[name].astype(float), end)()]
            place = f"({TITLES[run['attack']]}, seed {run['seed']}; {count(len(rows), 'run')})"
            told.append(f"{what} {run[name]:.1f} deviations apart {place}")
    overlap = len(found) and found[SEPARATION].astype(float).min() <= known[SEPARATION_OF_OTHERS].astype(float).max()
    alone = " The two overlap, so that the distance alone does not decide: a" if overlap else " A"
    valley = f"{alone} suspected class also needs a valley between its groups."
    caption = f"**{', '.join(told)}.**{valley}{_at_end(own)} A marker is a run."
    caption += beside * bool(late.any())
    alt = "Separation of the groups of the suspected class and of the next class, by attack"
    drawn = charts.later(separations, known, limit)
    return [Heading("How clear the verdicts were"), Figure("separations", drawn, alt, caption)]


def _nearest(own: pd.DataFrame) -> str:
    """How far the groups of a class lie apart at most in data without poison, in both looks, and what is asked for."""
    asked, told = rule.Settings(), []
    for column, when, least in (
        (SEPARATION, "after phase 1", asked.least_separation),
        (f"{SEPARATION}_at_end", "in the trained model", asked.least_separation_at_end),
    ):
        if column in own and own[column].notna().any():
            told.append(f"{own[column].astype(float).max():.1f} deviations apart {when} (suspected from {least:g})")
    return f" The groups of a class lie at most {', and '.join(told)}." if told else ""


def _false_alarms(c: Collection) -> list[Block]:
    """What it excludes of data that nobody poisoned, by data set."""
    wanted = (c.runs["preset"] == "quick") & (c.runs["method"] == "exclude") & (c.runs["poison_rate"] == 0)
    runs, told = c.runs[wanted & (c.runs["method_settings"] == "")], []
    for dataset, own in runs.groupby("dataset", sort=False):
        alarms, most = (own["method_suspected_classes"] > 0).sum(), own["method_excluded_images"].max()
        seeds, share = count(own["seed"].nunique(), "seed"), percent(most / own["training_images"].max())
        told.append(
            f"On {dataset_title(dataset)} it suspects a class in {alarms} of {count(len(own), 'run')} and excludes"
            f" {f'at most {share} of the images' if most else 'no image'} ({seeds},"
            f" {listed(sorted(set(own['place'])))}).{_nearest(own)}"
            f" {of_earlier_rule(own)}".rstrip()
        )
    if not told:
        command = "ablkit sweep notebooks/sweeps/no_poison.yaml"
        return [Heading("On data without poison"), *missing.not_run(c, "this method on data without poison", [command])]
    told.append(f"Folders of images without poison: {link('unknown trust', 'unknown-trust.html')}.")
    return [Heading("On data without poison"), Text(" ".join(told))]


def _left_out(c: Collection, own: pd.DataFrame) -> list[Block]:
    commands = [f"ablkit run exclusion -p attack_names {name}" for name in TITLES if name not in set(own["attack"])]
    blocks: list[Block] = [] if not commands else missing.not_run(c, "the other attacks", commands)
    places = listed([f"{place} ({count(number, 'run')})" for place, number in own["place"].value_counts().items()])
    aside = f"Suspects excluded: {places}. {measured(own)} The other columns show those runs of the index that are"
    aside += " on the same seeds. Other hardware rounds otherwise; images, poison and seeds are the same."
    seeds = " ".join(str(seed) for seed in sorted(set(own["seed"])))
    again = f"{code('exclusion.ipynb')} makes all of it again, by today's rule"
    made = missing.cost(c, f"ablkit run exclusion -p seeds '{seeds}'")
    return [*blocks, Text(f"{aside} {again}{_lacking(own)}.\n\n{made}", "soft")]


def _lacking(own: pd.DataFrame) -> str:
    """Which attacks lack seeds that others have."""
    seeds = own.groupby("attack", sort=False)["seed"].agg(set)
    every = set(own["seed"])
    names = [
        f"{TITLES[name]} seed {listed([str(seed) for seed in sorted(every - has)])}"
        for name, has in seeds.items()
        if every - has
    ]
    return f"; not run: {listed(names)}" if names else ""
