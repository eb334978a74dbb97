"""An objective that reports on the way: a spread that reverts, traded day by day.

After each day it reports the pnl so far. A job with a `prune:` block ends sets that are far behind others on the same
day; `report` raises then, and nothing has to be done about it here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

DAYS, TICKS_A_DAY, COST_BPS = 30, 400, 2.0


def objective(params: Mapping[str, Any], trial: Any) -> dict[str, float]:
    """Sell the spread above `entry_bps`, buy it below, close where it is back within `exit_bps`; pnl in basis points."""
    ticks, spread, position, pnl, trades = random.Random(7), 0.0, 0, 0.0, 0
    for day in range(1, DAYS + 1):
        for _ in range(TICKS_A_DAY):
            change = -0.02 * spread + ticks.gauss(0.0, 1.5)
            spread, pnl = spread + change, pnl + position * change
            wanted = position
            if abs(spread) > params["entry_bps"]:
                wanted = -1 if spread > 0 else 1
            elif abs(spread) < params["exit_bps"]:
                wanted = 0
            if wanted != position:
                pnl -= COST_BPS * abs(wanted - position)
                position, trades = wanted, trades + 1
        trial.report(day, pnl)
    return {"pnl_bps": pnl, "trades": float(trades)}
