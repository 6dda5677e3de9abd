"""BadNets (Gu et al. 2017, arXiv 1708.06733): a fixed patch stamped over a corner of the image."""

from __future__ import annotations

import numpy as np

from ablkit.shapes import UInt8, ndarray

# The 3x3 checker of the ABL authors' data loader ("gridTrigger"), the same in every channel.
PATTERN = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 255]], dtype=np.uint8)


def stamp(images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    """Copies of `images` with the checker in the bottom-right corner (rows and columns 29-31 of a 32x32 image)."""
    stamped = np.array(images)
    stamped[:, -3:, -3:] = PATTERN[None, :, :, None]
    return stamped
