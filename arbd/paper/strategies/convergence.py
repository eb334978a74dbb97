"""The convergence strategy. What it does is in `reference/strategies.py` and `kernel/convergence.py`."""

from __future__ import annotations

from arbd.paper.strategy import Strategy

STRATEGY = Strategy(summary="long the cheap venue and short the rich one until the spread reverts", code=0, holds=True)
