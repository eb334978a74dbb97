"""The paper engine as a problem that search methods are compared on: made quotes, and recorded ones where they are."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace

BRL, BINANCE = "brl_two_venue_book.parquet", "binance_btc_spot_perp_tick.parquet"
PAPER_SPACE = SearchSpace(
    (
        FloatDimension("min_spread_pct", 0.02, 0.40),
        FloatDimension("exit_spread_pct", -0.20, 0.20),
        FloatDimension("stop_loss_pct", 0.0, 1.0),
        IntDimension("max_hold_s", 60, 20_000, log=True),
        FloatDimension("participation", 0.1, 1.0),
    )
)
QUOTES_SPACE = SearchSpace(
    (
        FloatDimension("min_spread_pct", 0.0, 0.30), FloatDimension("exit_spread_pct", -0.20, 0.50),
        FloatDimension("stop_loss_pct", 0.0, 1.0), IntDimension("max_hold_s", 60, 20_000, log=True),
        FloatDimension("participation", 0.2, 1.0),
    )
)  # fmt: skip
TOUCH_SPACE = SearchSpace(
    (
        FloatDimension("min_spread_pct", 0.030, 0.050), FloatDimension("exit_spread_pct", -0.040, 0.0),
        FloatDimension("max_hold_s", 0.5, 60.0, log=True),
        *(ChoiceDimension(f"latency_{side}_ms", (0, 5, 20, 100)) for side in "ab"),
    )
)  # fmt: skip
_COSTS = {"fee_a_bps": 1.0, "fee_b_bps": 1.0, "grid_s": 600.0}

_RECORDED = {
    BRL: {
        **_COSTS, "latency_a_ms": 2_000.0, "latency_b_ms": 2_000.0, "max_position": 5_000.0, "initial_capital": 20_000.0
    },
    BINANCE: {
        "fee_a_bps": 0.0, "fee_b_bps": 0.0, "max_position": 10_000.0, "initial_capital": 50_000.0, "grid_s": 5.0
    },
}  # fmt: skip


@lru_cache(maxsize=2)
def synthetic_market(seed: int, ticks: int, slippage_bps: float = 0.0) -> Any:
    """Made quotes of two venues."""
    from arbd.paper.market.synth import synth_profile
    from arbd.paper.objective import PaperObjective

    costs = {**_COSTS, "latency_a_ms": 200.0, "latency_b_ms": 100.0, "slippage_bps": slippage_bps}
    return PaperObjective([synth_profile("kimchi", seed, ticks)], costs)


def recorded(name: str) -> Path | None:
    """A file of recorded quotes, where it is at hand."""
    path = Path(os.environ.get("ARBD_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / name
    return path if path.is_file() else None


@lru_cache(maxsize=2)
def recorded_market(name: str) -> Any:
    """The engine over such a file."""
    from arbd.paper.market.cache import load_market
    from arbd.paper.objective import PaperObjective

    path = recorded(name)
    assert path is not None
    return PaperObjective([load_market(path, None)[1]], _RECORDED[name])


def loss_of(market: Callable[[], Any]) -> Callable[[Mapping[str, Any]], float]:
    """Minus the profit; NaN where there is none."""

    def loss(params: Mapping[str, Any]) -> float:
        pnl = float(market().evaluate(params)[0]["pnl"])
        return math.nan if math.isnan(pnl) else -pnl

    return loss
