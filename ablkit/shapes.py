"""Shape annotations: jaxtyping where it is installed, plain array types where it is not.

A GPU node that has only torch and numpy can then still import attacks, models and training.
"""

from __future__ import annotations

from numpy import ndarray
from torch import Tensor

try:
    from jaxtyping import Bool, Float, Int, Int64, UInt8
except ImportError:  # the annotations then say the array type and nothing about its shape

    class _ArrayOnly:
        def __class_getitem__(cls, item):
            return item[0]

    Bool = Float = Int = Int64 = UInt8 = _ArrayOnly

__all__ = ["Bool", "Float", "Int", "Int64", "Tensor", "UInt8", "ndarray"]
