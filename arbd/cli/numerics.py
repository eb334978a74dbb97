"""NumPy as a command that only reads needs it."""

from __future__ import annotations

import os

_THREADS = "OPENBLAS_NUM_THREADS"


def import_numpy() -> None:
    """Import NumPy without the threads of its linear algebra, whose start costs more than all else here.

    The environment is left as it was: processes that this one starts have their threads.
    """
    if _THREADS in os.environ:
        return
    os.environ[_THREADS] = "1"
    try:
        import numpy  # noqa: F401 - for its effect
    finally:
        del os.environ[_THREADS]
