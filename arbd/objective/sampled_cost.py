"""What the parameter sets of a search would cost, from a few of them over the beginning of its largest market.

The engine's time follows trades, so a few sets that trade all the time can take most of it, and they lose by their fees.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arbd.job.spec import JobSpec
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.paper.market.quotes import FloatArray
    from arbd.paper.objective import PaperObjective

SETS = 64
MAX_ROWS = 200_000
# Smaller markets are over before it matters.
MIN_ROWS = 20_000
# A set that trades so many times as often as the middle one, and once in so many quotes, trades all the time.
DENSE_TIMES = 10
DENSE_ROWS_A_TRADE = 1_000
NOTED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class SampledCost:
    """Of `sets` sampled sets `dense` trade all the time, and these took `share` of the CPU time."""

    market: str
    rows: int
    sets: int
    dense: int
    share: float

    @property
    def notice(self) -> str:
        """What to say where it matters, else ""."""
        if self.share < NOTED_SHARE or self.dense in (0, self.sets):
            return ""
        return (
            f"{self.dense} of {self.sets} sampled sets trade all the time (on the first {self.rows:,} quotes of "
            f"{self.market}) and would take about {self.share:.0%} of the time: narrow the bounds "
            "that let them, or end them early (execution.give_up)"
        )

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def sampled_cost(spec: JobSpec, cache_dir: Path | None) -> SampledCost | None:
    """Of a job of the paper engine over quotes files; None for other jobs and for small markets."""
    if spec.objective.kind != "paper" or not spec.data:
        return None
    from arbd.objective.markets import load_markets  # noqa: PLC0415 - numba
    from arbd.paper.objective import PaperObjective  # noqa: PLC0415 - heavy

    found = [market for market in load_markets(spec, cache_dir, verify=False) if market.source in spec.data]
    largest = max(found, key=lambda each: len(each.market))
    if len(largest.market) < MIN_ROWS:
        return None
    market = largest.market.beginning(MAX_ROWS)
    objective = PaperObjective([market], spec.fixed)
    points = np.random.default_rng(spec.seed).random((SETS, len(spec.space.dimensions)))
    sets = spec.space.rows(spec.space.from_unit(points))
    trades = _evaluated(objective, sets)[0]
    dense = (trades > DENSE_TIMES * np.median(trades)) & (trades * DENSE_ROWS_A_TRADE > len(market))
    # Together, as slots evaluate them: what a call costs by itself would hide what sets cost.
    parts = [[each for each, is_dense in zip(sets, dense, strict=True) if is_dense == which] for which in (True, False)]
    of_dense, of_others = (min(_evaluated(objective, part)[1] for _ in range(2)) if part else 0.0 for part in parts)
    share = of_dense / (of_dense + of_others) if of_dense + of_others > 0 else 0.0
    return SampledCost(largest.source, len(market), SETS, int(dense.sum()), share)


def _evaluated(objective: PaperObjective, sets: Sequence[Mapping[str, Any]]) -> tuple[FloatArray, float]:
    """Trades of each set, and the CPU time that all took."""
    columns = {name: [each.get(name) for each in sets] for name in dict.fromkeys(n for each in sets for n in each)}
    began_s = time.thread_time()
    trades = objective.evaluate_batch(columns)[0]["trades"]
    return trades, time.thread_time() - began_s
