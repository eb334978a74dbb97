"""What compiled loops are given: of which kinds, how arrays have to be, and what all of it is to C."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.values import dataclass


class Scalar(Enum):
    """A number that a loop is given, by NumPy's name for it."""

    WHOLE = "int64"
    NUMBER = "float64"


@dataclass(frozen=True, slots=True)
class Table:
    """An array that a loop is given, or `count` of them as a tuple: in a row in memory, and written to where `writes`."""

    dtype: str = "float64"
    dimensions: int = 1
    writes: bool = False
    count: int | None = None


Kind = Scalar | Table


@dataclass(frozen=True, slots=True)
class ObjectCode:
    """An object file, and the name of the function in it."""

    symbol: str
    code: bytes


def as_argument(values: npt.NDArray[Any], kind: type) -> npt.NDArray[Any]:
    """The one form in which compiled loops get arrays that they read: in a row, aligned, native, not to be written to.

    What comes from a mapped file, a list or a broadcast value is the same here. Copies only what is laid out otherwise.
    Arrays that a loop writes to are fresh ones (`np.empty`).
    """
    plain = np.require(values, dtype=kind, requirements=["C", "A"]).view(np.ndarray)
    plain.flags.writeable = False
    return plain


def words(kinds: Sequence[Kind]) -> list[Any]:
    """What a loop's arguments are to C: an array is its owner and parent, which there is none of, and what NumPy says of it."""
    found: list[Any] = []
    for kind in kinds:
        if isinstance(kind, Scalar):
            found.append(ctypes.c_int64 if kind is Scalar.WHOLE else ctypes.c_double)
        else:
            pointers, whole = ctypes.c_void_p, ctypes.c_int64
            found += [pointers, pointers, whole, whole, pointers, *[whole] * (2 * kind.dimensions)] * (kind.count or 1)
    return found


def flat(kinds: Sequence[Kind], arguments: Sequence[Any]) -> Iterator[Any]:
    """Arguments as the numbers of `words`; AssertionError for one of another kind than the loop was compiled for."""
    for kind, argument in zip(kinds, arguments, strict=True):
        if isinstance(kind, Scalar):
            yield argument
            continue
        arrays = (argument,) if kind.count is None else argument
        assert len(arrays) == (kind.count or 1)
        for array in arrays:
            flags = array.flags
            assert array.dtype == kind.dtype and array.ndim == kind.dimensions, (array.dtype, array.ndim, kind)
            assert flags.c_contiguous and flags.aligned and (flags.writeable or not kind.writes), kind
            yield from (None, None, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides)
