"""What method `exclude` would have excluded after each epoch of phase 1, from finished runs that kept their scores.

    python benchmarks/gpu/suspects.py reports/data/suspects.csv KEY [KEY ...]

Its own settings, nothing chosen here. The truth comes from poisoning the same images once more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ablkit import attacks, data
from ablkit.files import write_text
from ablkit.metrics.definitions import isolation_quality
from ablkit.runs import arrays, listing, records
from ablkit.runs.parameters import check
from ablkit.training import suspects


def rows(run: Path) -> list[dict]:
    """One line for each score and epoch of a run: the suspected classes, precision and recall of the exclusion."""
    parameters = check("run", records.parameters(run) | {"device": "cpu"})
    train, _ = data.load(parameters.dataset, seed=parameters.seed, **parameters.drawing())
    poisoned = attacks.poison(train, **parameters.poisoning())
    found = []
    for score, epochs in arrays.trajectories(run, len(poisoned)).items():
        for epoch, losses in enumerate(epochs, start=1):
            judged = suspects.find(losses.astype(np.float32), poisoned.data.labels, len(poisoned.data.classes))
            found.append(
                {
                    "key": run.name,
                    "attack": parameters.attack,
                    "seed": parameters.seed,
                    "target": parameters.target,
                    "score": score,
                    "epoch": epoch,
                    "classes": " ".join(map(str, judged.classes)),
                    "excluded": len(judged.images),
                    **isolation_quality(judged.images, poisoned.is_poisoned),
                }
            )
    return found


if __name__ == "__main__":
    table = pd.DataFrame(row for key in sys.argv[2:] for row in rows(listing.find(key)))
    write_text(Path(sys.argv[1]), table.to_csv(index=False, float_format="%.6g"))
