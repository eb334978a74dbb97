"""The one recursion that NumPy has no loop for."""

from __future__ import annotations

from typing import Any

from arbd.paper.compiled import jit


@jit
def decaying_sum(decay: Any, shocks: Any, out: Any) -> None:
    """x[i] = x[i - 1] * decay[i] + shocks[i], with x[0] = shocks[0]."""
    value = 0.0
    for i in range(shocks.shape[0]):
        value = value * decay[i] + shocks[i]
        out[i] = value
