"""An objective of one's own: Rosenbrock's valley, with its minimum of 0 at x = y = 1.

`objective` is all that is needed. `evaluate_batch`, where a module has it, is called with whole columns of
parameters instead, which is many times quicker for objectives that NumPy can evaluate at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def objective(params: Mapping[str, Any]) -> dict[str, float]:
    """Evaluate one set of parameters."""
    x, y = params["x"], params["y"]
    return {"value": (1 - x) ** 2 + 100 * (y - x * x) ** 2}


def evaluate_batch(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate many sets at once; each column is an array of numbers."""
    x, y = columns["x"], columns["y"]
    return {"value": (1 - x) ** 2 + 100 * (y - x * x) ** 2}
