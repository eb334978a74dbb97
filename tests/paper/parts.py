"""Functions compiled as parts of each other, and what they give: `python -m tests.paper.parts [STATEMENT]`.

The statement is run before, and may change Numba. Printed is why the public way was taken (empty when it was not), and
the bits of the answer.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np


def answer() -> dict[str, str]:
    """Of a root with small parts and larger ones, each called more than once."""
    from arbd.paper.compiled import jit, jit_part, jit_small, why_public_way

    @jit_small
    def halved(value: Any) -> Any:
        return value / 3.0 + value * 1e-17

    @jit_part
    def summed(values: Any, start: Any) -> Any:
        total = start
        for value in values:
            total += halved(value) * halved(total + 1.0) - math.sqrt(abs(value))
        return total

    @jit_part
    def twice(values: Any) -> Any:
        return summed(values, 0.1) - summed(values[1:], halved(0.7))

    @jit
    def whole(values: Any) -> float:
        return float(twice(values) + halved(summed(values, 3.0)))

    found = whole(np.random.default_rng(1).normal(size=1000) * 1e-2)
    return {"why": why_public_way(), "bits": float(found).hex()}


if __name__ == "__main__":
    for statement in sys.argv[1:]:
        exec(statement)
    sys.stdout.write(json.dumps(answer()))
