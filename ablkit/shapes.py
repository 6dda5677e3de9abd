"""Shape annotations: jaxtyping where it is installed, plain array types where it is not.

A GPU node that has only torch and numpy can then still import attacks, models and training. And torch is imported by
those alone that ask for `Tensor`, as it takes seconds and data sets are imported without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy import ndarray

if TYPE_CHECKING:
    from torch import Tensor

try:
    from jaxtyping import Bool, Float, Int, Int64, UInt8
except ImportError:  # the annotations then say the array type and nothing about its shape

    class _ArrayOnly:
        def __class_getitem__(cls, item):
            return item[0]

    Bool = Float = Int = Int64 = UInt8 = _ArrayOnly


def __getattr__(name: str) -> type:
    if name != "Tensor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torch import Tensor

    return Tensor


__all__ = ["Bool", "Float", "Int", "Int64", "Tensor", "UInt8", "ndarray"]
