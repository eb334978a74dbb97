"""How busy the slots of an adaptive search were, as its results tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from arbd.search.samplers import adaptive

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable

# Of fewer iterations, or more of the time, nothing is said.
MIN_RESULTS = 20
BUSY_ENOUGH = 0.7


def busy_share(ended_s: npt.NDArray[np.float64], duration_s: npt.NDArray[np.float64]) -> tuple[float, int]:
    """The share of their time that slots of one worker were at iterations, and how many slots there were at least."""
    started_s = ended_s - duration_s
    span_s = float(ended_s.max() - started_s.min())
    times = np.concatenate([ended_s, started_s])
    steps = np.concatenate([np.full(len(ended_s), -1), np.ones(len(ended_s), dtype=np.int64)])
    # At the same instant one ends before the next starts: the sort is stable.
    slots = max(1, int(np.cumsum(steps[np.argsort(times, kind="stable")]).max()))
    return (float(duration_s.sum()) / (slots * span_s) if span_s > 0 else 1.0), slots


def slots_notice(table: ResultTable) -> list[str]:
    """That slots were idle for much of an adaptive search, and what would change it."""
    spec = table.spec
    if adaptive(spec.method) is None or len(table) < MIN_RESULTS:
        return []
    duration_s, ended_s = table.source.fixed("duration_s"), table.source.fixed("ended_ns") / 1e9
    ran = duration_s > 0
    busy, slots = 0.0, 0
    for worker in np.unique(table.worker[ran]):
        of_worker = ran & (table.worker == worker)
        share, count = busy_share(ended_s[of_worker], duration_s[of_worker])
        busy, slots = busy + share * count, slots + count
    if not slots or busy / slots >= BUSY_ENOUGH:
        return []
    return [
        (
            f"slots were busy {busy / slots:.0%} of the time from the first iteration to the last; an adaptive search waits "
            f"for its suggestions: {spec.generation_size:,} a generation, {spec.generation_lag} generations at a time "
            "(larger generations keep more slots busy, and learn later)"
        )
    ]
