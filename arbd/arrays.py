"""NumPy, imported when it is first used, and the types of arrays.

For what a process that starts needs although it computes nothing: a daemon knows search spaces and rows of sessions, and
leaves the arithmetic to the processes beside it. Elsewhere NumPy is imported as ever.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ("Array", "Floats", "Ints", "Mask", "load", "np", "npt")

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
            module = importlib.import_module(self._name)
            vars(self).update(vars(module))
            return getattr(module, attribute)

    np, npt = _Module("numpy"), _Module("numpy.typing")
    Array = Floats = Ints = Mask = Any


def load() -> None:
    """Import NumPy now, where to wait for it later is worse."""
    assert np.ndarray is not None
