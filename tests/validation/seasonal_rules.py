"""The experiment of the PBO paper's section 6: 8,800 monthly rules on a random walk, with or without a planted effect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DAYS, MONTH = 1_000, 22
HOLDS, STOPS = 20, 10


def rule_returns(seed: int, effect: float) -> npt.NDArray[np.float64]:
    """Daily returns (1,000, 8,800): entry day x holding days x stop loss x side; `effect` in sd on days 1 to 5."""
    rng = np.random.default_rng(seed)
    day_of_month = np.arange(DAYS) % MONTH
    walk = rng.standard_normal(DAYS) + effect * (day_of_month < 5)
    padded = np.concatenate([walk, np.zeros(HOLDS)])
    returns = np.zeros((DAYS + HOLDS, MONTH, HOLDS, STOPS, 2))
    for entry in range(MONTH):
        at = np.arange(entry, DAYS, MONTH)[:, None] + np.arange(HOLDS)
        moves = padded[at]
        for side, sign in enumerate((1.0, -1.0)):
            gains = sign * moves
            before = np.concatenate([np.zeros((len(at), 1)), np.cumsum(gains, axis=1)[:, :-1]], axis=1)
            worst = np.minimum.accumulate(before, axis=1)
            for stop in range(STOPS):
                held = np.where(worst > -(stop + 1.0), gains, 0.0)
                for hold in range(HOLDS):
                    returns[at[:, : hold + 1], entry, hold, stop, side] = held[:, : hold + 1]
    return returns[:DAYS].reshape(DAYS, -1)
