"""What runs cost: minutes and memory as they recorded them, speed beside a conventional pipeline, and other scales."""

from __future__ import annotations

import json

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.defenses import METHODS
from ablkit.metrics import summary
from ablkit.report import charts, costs, data, stages
from ablkit.report.collect import Collection, Scale
from ablkit.report.figures import TITLES
from ablkit.report.page import Block, Cell, Code, Figure, Heading, Page, Table, Text, code, link, listed, literal
from ablkit.report.text import number
from ablkit.runs.environment import hardware_line
from ablkit.runs.records import Damaged

_TABLE = 50
"""Runs of Table 1 a seed: ten attacks by five methods."""
_NAMED = 4
"""Attacks of a method up to which they are named one by one."""


def page(c: Collection) -> Page:
    """Minutes, memory, disk and speed."""
    blocks: list[Block] = []
    for scale in c.scales:
        blocks += [Heading(scale.title), _methods(scale), *_attacks(scale)]
    blocks += [*_stages(c), *_spent(c), *_scales(c), *_bench(c), *_gpu(c)]
    return Page("cost.html", "Speed and cost", _finding(c), blocks, "Cost")


def _finding(c: Collection) -> str:
    if c.main is None or costs.minutes(c.main.of("abl")).dropna().empty:
        return "No ABL run has recorded its time yet."
    own = costs.minutes(c.main.of("abl")).dropna()
    known = costs.minutes(c.runs).dropna()
    spread = f" ({own.min():.0f} to {own.max():.0f})" if len(own) > 1 else ""
    text = (
        f"An ABL run takes {own.median():.0f} minutes{spread}, making its attack included, at the scale"
        f" {c.main.title}; the {len(known)} of {len(c.runs)} committed runs that recorded it would take"
        f" {known.sum() / 60:.1f} hours, if they shared no stage."
    )
    hours = costs.cpu_hours(c)
    if hours is not None:
        text += f" At the paper's scale one run would train for {hours:.1f} hours on one core like theirs, the"
        text += f" {_TABLE} runs of Table 1 for {_TABLE * hours:.0f} hours a seed."
    return f"{text} {costs.gpu_minutes(c)}".strip()


def _methods(scale: Scale) -> Table:
    rows, timed = [], []
    for method in METHODS:
        own = scale.of(method)
        known = costs.training_minutes(own).dropna()
        if known.empty:
            continue
        timed.append(method)
        rate = own.get("images_per_second", pd.Series(dtype=float)).dropna()
        memory = own.get("env_peak_memory_bytes", pd.Series(dtype=float)).dropna()
        rows.append(
            (
                METHODS[method],
                Cell(_on(own.loc[known.index, "attack"]), kind="text"),
                Cell(f"{known.median():.1f}", f"{known.min():.1f} to {known.max():.1f}"),
                number(rate.median() if len(rate) else None, "{:,.0f}"),
                number(memory.max() / 2**20 if len(memory) else None, "{:,.0f}"),
                str(len(known)),
            )
        )
    note = (
        "Minutes: median, lowest and highest run, of training alone, without making the poison, without measuring, and"
        " without what looks for suspects."
        " Images/s: median. In brackets: runs on an attack."
    )
    if len({frozenset(scale.of(name)["attack"]) for name in timed}) > 1:
        note += " Not all methods were run on the same attacks."
    columns = ("method", "attacks", "minutes of training", "images/s in training", "memory, MiB, highest run", "n")
    return Table(columns, rows, note=note)


def _on(attacks: pd.Series) -> str:
    """The attacks of some runs: how many, or their names and the runs of each where they are few."""
    runs = attacks.value_counts()
    present = [name for name in ATTACKS if name in runs.index]
    if len(present) > _NAMED:
        return f"all {len(present)}" if len(present) == len(ATTACKS) else str(len(present))
    return ", ".join(f"{TITLES[name]} ({runs[name]})" for name in present)


def _stages(c: Collection) -> list[Block]:
    """What each stage of each method took, of the scale of which most runs have recorded it."""
    frames = {scale.title: _recorded(c, scale) for scale in c.scales}
    title, frame = max(frames.items(), key=lambda item: len(item[1]), default=("", pd.DataFrame()))
    if frame.empty:
        return []
    shown = stages.table(frame)
    kinds = ["text" if name == "stage" else "" for name in shown]
    rows = [
        tuple(Cell(literal(str(value)), kind=kind) for value, kind in zip(row, kinds, strict=True))
        for row in shown.itertuples(index=False)
    ]
    each = frame.drop_duplicates(["method", "attack", "seed"]).groupby("method", sort=False)["attack"]
    attacks = "; ".join(f"{METHODS[name]}: {_on(own)}" for name, own in each)
    note = (
        f"{title}; means over the runs. Attacks, in brackets the runs: {attacks}. Seconds are those that the runs"
        " recorded, whatever ran beside them. A stage that a defence starts from counts for it."
        f"{_without_stages(next(scale for scale in c.scales if scale.title == title), frame)}"
        f" The same on one machine: {code('ablkit run cost')}."
    )
    ratios = [Text(stages.said(frame))] if stages.ratios(frame) else []
    return [Heading("Stage by stage", "stages"), *ratios, Table(tuple(shown.columns), rows, note=note)]


def _without_stages(scale: Scale, frame: pd.DataFrame) -> str:
    """Which methods have no stages though their runs recorded their seconds, and why; empty without any."""
    timed = scale.runs[costs.training_minutes(scale.runs).notna() & ~scale.runs["method"].isin(frame["method"])]
    names = [METHODS[name] for name in METHODS if name in set(timed["method"])]
    if not names:
        return ""
    # The first pages kept the epochs of a run without their seconds, and the numbers were taken over from them.
    return (
        f" There are no rows of {listed(names)}: of these {len(timed)} runs the seconds of the whole are known, but the"
        " histories of their epochs were committed without any."
    )


def _recorded(c: Collection, scale: Scale) -> pd.DataFrame:
    """The stages of its runs that have recorded their seconds; see `comparisons.costs`."""
    parts = [pd.DataFrame()]
    for _, run in scale.runs.iterrows():
        of = {"attack": run["attack"], "method": run["method"], "seed": run["seed"]}
        own = summary.stages(c.history(run).to_dict("records"), **of)
        memory = float(run.get("env_peak_memory_bytes", float("nan"))) / 2**20
        parts.append(own.assign(mib=memory)[own["seconds"].astype(float) > 0])
    return pd.concat(parts, ignore_index=True)


def _attacks(scale: Scale) -> list[Block]:
    """What making the attack took, where it took anything."""
    seconds = scale.runs.get("poisoning_seconds", pd.Series(dtype=float)).astype(float)
    rows = []
    for name, own in scale.runs.assign(made=seconds).groupby("attack", sort=False):
        made = own["made"].dropna()
        made = made[made > 1]
        if len(made):
            rows.append(
                (TITLES[name], Cell(f"{made.median():.0f}", f"{made.min():.0f} to {made.max():.0f}"), str(len(made)))
            )
    return (
        [Table(("attack", "crafting time, s", "n"), rows, note="Attacks that are not listed take no time.")]
        if rows
        else []
    )


def _spent(c: Collection) -> list[Block]:
    """The minutes of all runs, of repeats and of runs whose numbers were replaced."""
    replaced = data.table(c.folder / "discarded.csv")
    every = data.load(c.folder)
    again = every[~every["key"].isin(c.runs["key"])] if len(c.runs) else every
    kinds = {
        "committed runs": c.runs,
        "the same runs made again": again if len(c.runs) else None,
        "replaced by later code or settings": replaced if len(replaced) else None,
    }
    rows = []
    for name, runs in kinds.items():
        if runs is not None:
            minutes = costs.minutes(runs)
            rows.append((name, str(len(runs)), f"{minutes.sum():,.0f}", str(int(minutes.isna().sum()))))
    note = (
        "Minutes of training and of making the poison; on a GPU of the process. A stage that runs share counts for each"
        " of them. Runs that were stopped or failed are not counted. Pages and histories need no run."
    )
    used = sum(path.stat().st_size for path in c.folder.rglob("*") if path.is_file() and path.name != data.TABLE)
    disk = c.runs.get("env_folder_bytes", pd.Series(dtype=float)).dropna()
    told = (
        f" A run's own folder took {disk.median() / 2**20:.1f} MiB (n = {len(disk)})."
        if len(disk)
        else " How much a run's own folder took was not recorded."
    )
    return [
        Heading("What all runs took", "spent"),
        Table(("runs", "number", "minutes", "time not recorded"), rows, note=note),
        *([Text(_replaced(replaced, every))] if len(replaced) else []),
        Text(f"Disk: the committed numbers of all runs and their pictures are {used / 2**20:.1f} MiB.{told}", "soft"),
    ]


def _replaced(replaced: pd.DataFrame, every: pd.DataFrame) -> str:
    """How many of the replaced runs have a training of their own, and which of them were never committed."""
    own = costs.with_own_training(replaced, every)
    uncommitted = int((replaced["commit"] == costs.NEVER_COMMITTED).sum())
    apart = (
        f" {uncommitted} of the replaced runs were never committed, and their minutes are those of the process; other"
        " runs that were never committed are not counted."
        if uncommitted
        else " Runs that were never committed are not counted."
    )
    return (
        f"Of the {len(replaced)} replaced runs {len(replaced) - len(own)} have their whole training in common with a"
        f" committed run or with another replaced one: only the judging was done again. The other {len(own)} trained"
        f" for at most {own['seconds'].sum() / 60:,.0f} minutes.{apart} All are in"
        f" {link('discarded.csv', 'data/discarded.csv')}."
    )


def _scales(c: Collection) -> list[Block]:
    """Hours of an ABL run by preset, at the speeds that were measured."""
    rows = []
    scales = [scale for scale in c.scales if not scale.is_peers and scale.dataset == c.main.dataset]
    for preset in ("quick", "paper"):
        images = costs.images_of(preset)
        cells = []
        for scale in scales:
            rate = costs.images_per_second(scale)
            cells.append(Cell(number(images / rate / 60 if rate else None, "{:,.1f}")))
        rows.append((code(preset), f"{images:,}", *cells))
    columns = ("preset", "images of an ABL run", *(f"minutes, {scale.place}" for scale in scales))
    note = "Images by the median images/s of the runs of each place; measuring after each epoch is not in it."
    return [Heading("Other scales", "scales"), Table(columns, rows, note=note)]


def _bench(c: Collection) -> list[Block]:
    path = c.folder / "bench.json"
    if not path.exists():
        return []
    try:
        bench = json.loads(path.read_text(encoding="utf-8"))
        phases = {n: bench[n] for n in ("phase1", "finetune", "isolation_pass", "recipe")}
        rows = [
            (
                n.replace("_", " "),
                f"{p['images_per_second']:,.0f}",
                f"{p['conventional']:,.0f}",
                Cell(f"{p['ratio']:.2f}", f"{p['lowest']:.2f} to {p['highest']:.2f}"),
            )
            for n, p in phases.items()
        ]
        facts, limits, growth = bench["environment"], bench["limits"], bench["growth"]
        where = f"{hardware_line(facts)}, {facts['threads']} threads, {facts['started'][:10]}, {facts['commit']}"
        best = phases["recipe"]
        text = (
            f"The whole quick recipe trains {best['ratio']:.1f} times as fast as a conventional pipeline of the same"
            f" model: PIL transforms one image at a time, a DataLoader, fp32, a loss pass of batch 1. A step uses"
            f" {100 * limits['share_of_product_ceiling']:.0f} % of what one large product of matrices reaches."
        )
        note = f"Two pipelines in turns in one process, medians of {bench['rounds']} rounds. {where}."
        caption = "**Images per second of phase 1 as things grow**, all else as in the recipe. Medians of 3 rounds."
        drawn = charts.later(charts.growth, growth)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(path, f"holds no benchmark ({type(error).__name__}: {error})") from None
    return [
        Heading("Speed beside a conventional pipeline", "speed"),
        Text(text),
        Table(("phase", "images/s", "conventional", "ratio"), rows, note=note),
        Figure("growth", drawn, "Images per second by images, batch, width and runs side by side", caption),
        Code("python -m benchmarks training --to reports/data"),
    ]


def _gpu(c: Collection) -> list[Block]:
    speed = data.table(c.folder / "gpu-speed.csv")
    if speed.empty:
        return []
    rows = [
        (row["what"], f"{row['images_per_second']:,.0f}", Cell(code(row["measured_by"]), kind="text"))
        for _, row in speed.iterrows()
    ]
    where = "; ".join(
        f"{hardware}, {date}" for hardware, date in sorted(set(zip(speed["hardware"], speed["date"], strict=True)))
    )
    note = (
        f"{where}. Of steps the best of three rounds of 100, of processes at once their sum, of a whole run its mean."
        " Each was measured once."
    )
    return [
        Heading("Speed on a GPU", "gpu"),
        Table(("what", "images/s", "measured by"), rows, note=note),
        Text(f"Numbers: {link('gpu-speed.csv', 'data/gpu-speed.csv')}.", "soft"),
    ]
