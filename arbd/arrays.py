"""NumPy, imported when it is first used, and the types of arrays.

For what a process that starts needs although it computes nothing: a daemon knows search spaces and rows of sessions, and
leaves the arithmetic to the processes beside it. Elsewhere NumPy is imported as ever; a process that ends soon, or whose
copies others are, does it by `load` first.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

__all__ = ("Array", "Floats", "Ints", "Mask", "load", "np", "npt")

# A power of two of turns for which idle threads of OpenBLAS spin: the least that it takes, where 26 is its default.
_SPINNING, _LEAST = "OPENBLAS_THREAD_TIMEOUT", "4"

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]
else:

    class _Module:
        """A module that is imported when something of it is asked for, and from then on all that is in it."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            with _sleeping_threads():
                module = importlib.import_module(self._name)
            vars(self).update(vars(module))
            return getattr(module, attribute)

    np, npt = _Module("numpy"), _Module("numpy.typing")
    Array = Floats = Ints = Mask = Any


def load() -> None:
    """Import NumPy now: where to wait for it later is worse, or before something else imports it as ever."""
    assert np.ndarray is not None


@contextlib.contextmanager
def _sleeping_threads() -> Iterator[None]:
    """While NumPy is imported: the threads of its linear algebra sleep until they are wanted.

    Else each spins for a tenth of a second first, on every processor but one, which costs more than all else of the import.
    They are as many as ever, so results are the same to the bit. The environment is left as it was.
    """
    if _SPINNING in os.environ:
        yield
        return
    os.environ[_SPINNING] = _LEAST
    try:
        yield
    finally:
        del os.environ[_SPINNING]
