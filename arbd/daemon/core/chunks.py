"""How much to claim at once, and which tasks are preempted: guided self-scheduling, priorities. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from arbd.spool.ledger import LedgerState

GROWTH = 16
# Less work than this is not worth a claim, which takes a few milliseconds.
LEAST_S = 0.02
MAX_CHUNK = 1 << 20
# Chunks longer than this are claimed only when a slot is free for them: ahead of time they would keep others idle.
PREFETCH_LIMIT_S = 5.0
# What a search has suggested is little: claimed ahead, it would wait here while slots elsewhere have nothing.
SUGGESTED_PREFETCH_LIMIT_S = 0.1


def chunk_size(
    state: LedgerState,
    reach: int,
    own_slots: int,
    seconds_each: float | None,
    last_chunk: int,
    target_s: float,
) -> int:
    """Iterations for one slot: about `target_s` of work; near the end no more than its part, but `LEAST_S` of work.

    `reach` is how many unclaimed iterations there are to share now: all, or those of published generations.

    While nothing is measured the answer is 1; after that it grows at most `GROWTH`-fold from `last_chunk`,
    because the first few iterations tell little about the rest.
    """
    if seconds_each is None:
        return 1
    live_slots = max(own_slots, state.live_slots())
    seconds_each = max(seconds_each, 1e-9)
    by_time = int(target_s / seconds_each)
    by_rest = min(reach, max(math.ceil(reach / (2 * live_slots)), int(LEAST_S / seconds_each)))
    return max(1, min(by_time, by_rest, last_chunk * GROWTH, MAX_CHUNK))


def preempt(waiting: Sequence[int], running: Sequence[tuple[int, bool]]) -> list[int]:
    """Which slots should end their task early: by priorities of waiting tasks, and of running ones, none free.

    A running task is (priority, whether it was asked already). Indices into `running`, the least urgent first.
    """
    asked = sum(was_asked for _, was_asked in running)
    open_to = sorted((priority, index) for index, (priority, was_asked) in enumerate(running) if not was_asked)
    chosen: list[int] = []
    for urgent in sorted(waiting, reverse=True)[asked:]:
        if len(chosen) == len(open_to) or open_to[len(chosen)][0] >= urgent:
            break
        chosen.append(open_to[len(chosen)][1])
    return chosen


def claims_ahead(seconds_each: float | None, chunk: int, *, suggested: bool) -> bool:
    """True when chunks of that size may be claimed before a slot is free; `suggested` are those of an adaptive search."""
    limit_s = SUGGESTED_PREFETCH_LIMIT_S if suggested else PREFETCH_LIMIT_S
    return seconds_each is not None and seconds_each * chunk <= limit_s
