"""The global random generators of Python and NumPy: each iteration finds them seeded by its own seed (I5).

Seeding takes longer than a fast objective, and most use `trial.seed` or no randomness at all. So where many iterations
are evaluated in a row, it is first seen whether anybody draws from them.
"""

from __future__ import annotations

import random

import numpy as np


def seed_generators(seed: int) -> None:
    """Seed `random` and `numpy.random` for an iteration; `seed` has up to 64 bits, of which NumPy takes 32."""
    random.seed(seed)
    # The legacy interface takes 32 bits at once, and ten times as long for more.
    np.random.seed(seed & 0xFFFFFFFF)


class Probe:
    """Tells whether the global generators were used: from a known state, their next number is known."""

    def __init__(self) -> None:
        self._expected = (0, 0.0)

    def arm(self, seed: int) -> None:
        """Seed them for an iteration; what follows is seen."""
        seed_generators(seed)
        self._expected = self._draw()
        seed_generators(seed)

    def used(self) -> bool:
        """True when anybody drew from them, or seeded them, since `arm`."""
        return self._draw() != self._expected

    @staticmethod
    def _draw() -> tuple[int, float]:
        return random.getrandbits(64), float(np.random.random_sample())
