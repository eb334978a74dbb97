"""The inventory strategy. What it does is in `reference/strategies.py` and `kernel/inventory.py`."""

from __future__ import annotations

from arbd.paper.strategy import Strategy

STRATEGY = Strategy(
    summary="spot balances on both venues, buy on the cheap one and sell on the rich one at once", code=1, holds=False
)
