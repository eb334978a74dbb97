"""The compiled engine in the interpreter, so that a changed line of it costs a test and no compilation (`-p` for pytest).

Machine code reads records and columns at addresses; here the same places are seen through NumPy. To be loaded before
anything of `arbd.paper` is.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

os.environ["NUMBA_DISABLE_JIT"] = "1"

import numpy as np

LANES = 8  # as in `arbd.paper.market.prepare_kernel`, which is not loaded yet


@functools.cache
def _column(dtype: np.dtype[Any], address: int) -> Any:
    """One element at an address; raw memory, as for compiled code: whoever calls keeps it alive."""
    memory: Any = (ctypes.c_char * dtype.itemsize).from_address(address)
    return np.frombuffer(memory, dtype)


def record_at(dtype: np.dtype[Any]) -> Callable[[int, int], Any]:
    """See `arbd.paper.kernel.memory`."""
    record = np.dtype((np.record, dtype))

    def at(address: int, index: int) -> Any:
        return _column(record, int(address) + int(index) * record.itemsize)[0]

    return at


def _reader(kind: type) -> Callable[[int, int], Any]:
    dtype = np.dtype(kind)

    def at(address: int, index: int) -> Any:
        value = _column(dtype, int(address) + int(index) * dtype.itemsize)[0]
        return value if kind in (np.float64, np.uint64) else np.int64(value)

    return at


def _writer(kind: type) -> Callable[[int, int, Any], None]:
    dtype = np.dtype(kind)

    def put(address: int, index: int, value: Any) -> None:
        _column(dtype, int(address) + int(index) * dtype.itemsize)[0] = value

    return put


def knows(name: str) -> Callable[[Any], bool]:
    """See `arbd.paper.kernel.memory`."""
    return lambda record: name in record.dtype.names


def _mask(kind: type, passes: Callable[[Any, Any], Any]) -> Callable[[int, int, Any], Any]:
    dtype = np.dtype((kind, LANES))

    def mask(address: int, index: int, level: Any) -> Any:
        values = _column(dtype, int(address) + int(index) * dtype.base.itemsize)[0]
        return np.int64(sum(1 << lane for lane in np.flatnonzero(passes(values, level)).tolist()))

    return mask


def fetch(_address: int) -> None:
    """See `arbd.paper.kernel.memory`: caches are nobody's concern here."""


def bits_in(word: int) -> Any:
    """See `arbd.paper.kernel.memory`."""
    return np.int64((int(word) & (2**64 - 1)).bit_count())


def trailing_zeros(word: int) -> int:
    """See `arbd.paper.kernel.memory`."""
    return (int(word) & -int(word)).bit_length() - 1 if word else 64


def _memory() -> ModuleType:
    module = ModuleType("arbd.paper.kernel.memory")
    vars(module).update(
        record_at=record_at, trailing_zeros=trailing_zeros, byte_at=_reader(np.uint8),
        float_at=_reader(np.float64), put_float=_writer(np.float64), int_at=_reader(np.int64), put_int=_writer(np.int64),
        knows=knows, bits_in=bits_in, fetch=fetch, LANES=LANES, before=_mask(np.int64, operator.lt),
        at_least=_mask(np.float64, operator.ge), at_most=_mask(np.float64, operator.le),
        small_at=_reader(np.int32), put_small=_writer(np.int32), word_at=_reader(np.uint64), put_word=_writer(np.uint64),
    )  # fmt: skip
    return module


# Compiled code divides by zero without a word.
np.seterr(all="ignore")
sys.modules["arbd.paper.kernel.memory"] = _memory()
