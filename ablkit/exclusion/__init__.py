"""Training without the images that show to be poisoned, this kit's own method: look-alikes, groups, suspects, training.

Read `training.py` first, then `rule.py`, which says when a class is suspected, `suspects.py`, which judges each class,
and `splits.py`, which finds its two groups.
`lookalikes.py` and `clusters.py` serve these.
"""

from ablkit.exclusion.training import Excluded, exclude

__all__ = ["Excluded", "exclude"]
