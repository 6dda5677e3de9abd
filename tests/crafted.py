"""Hostile data sets and run folders of others, crafted in place of any training, for the tests of the pages."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat.v4 as notebook_format
import numpy as np
import pandas as pd

from ablkit import attacks, paths
from ablkit.attacks import attack
from ablkit.data import Images
from ablkit.files import write_json
from ablkit.report import figures, tables
from ablkit.runs.job import Job

NAMES = (
    '<img src=x onerror="document.title=1">',
    "<script>document.title=2</script>",
    "$x^2$",
    "$\\foo",
    "N" * 300,
    "\u202eقطة\u202c",
    "\"quoted\" & 'single' &lt;b&gt;",
    "{{ a }} {% b %}",
    "<img src=http://127.0.0.1:9/name.png>",
    "a \u2067b c ${",
)
_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DOT = f"data:image/png;base64,{_DOT}"
HOSTILE = {
    "script": "<script>document.title=3</script>",
    "handler": "<b onclick='document.title=4' onmouseover=alert(1)>bold</b><img src=x onerror=document.title=5>",
    "picture": "<img src='http://127.0.0.1:9/cell.png'><picture><source srcset='http://127.0.0.1:9/s.png'></picture>",
    "link": "<a href='javascript:document.title=6'>go</a><a href='java\nscript:alert(1)'>go</a>",
    "document": "<a href='data:text/html,<script>alert(1)</script>'>go</a>",
    "frame": "<iframe src='http://127.0.0.1:9/frame'></iframe><object data='http://127.0.0.1:9/o'></object>",
    "form": "<form action='http://127.0.0.1:9/form'><input autofocus onfocus=alert(1)><button>send</button></form>",
    "style": "<style>@import url(http://127.0.0.1:9/a.css);</style><p style='background:url(http://127.0.0.1:9/b)'>p</p>",
    "head": "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/r'><base href='http://127.0.0.1:9/'>",
    "sheet": "<link rel=stylesheet href='http://127.0.0.1:9/l.css'>",
    "vector": "<svg onload=alert(1)><script>alert(1)</script><image href='http://127.0.0.1:9/v'/></svg>",
    "nested": "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "end": "</div></div></main></body><script>alert(1)</script>",
}


def hostile_set(count: int = 40, names: tuple[str, ...] = NAMES) -> tuple[Images, attack.Poisoned]:
    """Images whose classes have names that attack the page, clean and poisoned."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    train = Images(pixels, np.arange(count) % len(names), names, "evil")
    return train, attacks.poison(train, rate=0.5)


def kit_cells() -> list:
    """What run.ipynb shows of that set: the figure of the images, and the two tables."""
    train, poisoned = hostile_set()
    figure = figures.poisoned_images(train, poisoned)
    shown = [tables.making({"badnets": poisoned}).to_html(), tables.poisoning(poisoned).to_html()]
    plt.close(figure)
    cell = notebook_format.new_code_cell("display(...)")
    cell.outputs = [notebook_format.new_output("display_data", {"text/html": each}) for each in shown]
    alt = {"image/png": {"alt": '" onload="document.title=7'}}
    cell.outputs.append(notebook_format.new_output("display_data", {"image/png": DOT.partition(",")[2]}, metadata=alt))
    return [cell]


def foreign_cells() -> list:
    """A notebook of somebody else: every kind of cell and output that can hold markup."""
    everything = "".join(HOSTILE.values())
    code = notebook_format.new_code_cell("# " + everything)
    kinds = ("text/html", "text/markdown", "text/latex", "image/svg+xml", "application/javascript", "text/plain")
    code.outputs = [notebook_format.new_output("display_data", {kind: everything}) for kind in kinds]
    code.outputs += [
        notebook_format.new_output("stream", text=f"{everything}\x1b[31mred\x1b[0m /home/al/runs/run/abc"),
        notebook_format.new_output("error", ename="E", evalue=everything, traceback=[f"{everything} /home/al/x/y.py"]),
        notebook_format.new_output(
            "display_data", {"text/html": everything}, metadata={"text/html": {"isolated": True}}
        ),
        notebook_format.new_output(
            "display_data",
            {"image/png": "x' onerror='alert(1)"},
            metadata={"image/png": {"width": "1 onload=alert(1)"}},
        ),
        notebook_format.new_output("display_data", {"text/html": f"<img src='{DOT}' alt='a dot'><b>kept</b>"}),
    ]
    return [notebook_format.new_markdown_cell(everything), notebook_format.new_raw_cell(everything), code]


def craft(job: Job, cells: list) -> Path:
    """The folder of a run that is done, without running it."""
    folder = job.folder
    (folder / "figures").mkdir(parents=True)
    nbformat_text = json.dumps(notebook_format.new_notebook(cells=cells))
    (folder / "notebook.ipynb").write_text(nbformat_text, encoding="utf-8")
    stages = ["isolate", "<b>$x^2$</b>" * 40]
    history = pd.DataFrame({"stage": stages, "clean_accuracy": [0.1, 0.9], "attack_success_rate": [0.9, 0.1]})
    history.to_csv(folder / "figures" / "training-curves.csv", index=False)
    figure = figures.training_curves(history)
    figure.savefig(folder / "figures" / "training-curves.svg")
    plt.close(figure)
    shares = {"clean_accuracy": 0.9, "clean_accuracy_non_target": 0.9, "attack_success_rate": 0.1}
    write_json(folder / "metrics.json", {**shares, "training_images": 40, "poisoned_images": 4, "seconds": 60.0})
    facts = dict.fromkeys(("processor", "gpu", "python", "torch"), "<script>document.title=8</script>")
    write_json(folder / "env.json", {**facts, "cores": 2, "home": str(paths.project() / "x.py")})
    return folder
