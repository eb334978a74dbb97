"""The queues and the calendar of the sweep, against lists that are sorted and searched."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.paper.compiled import jit
from arbd.paper.kernel.calendar import BLOCK, open_block, strike_off, wait_for_row
from arbd.paper.kernel.queues import BINS, KINDS, WORDS, first, put, take
from arbd.paper.kernel.state import DESK, RUN, desk_at, run_at
from arbd.paper.market.prepare_kernel import WINDOW_BITS

RUNS = 20


@jit
def do_put(desk: int, kind: int, i: int, level: float) -> None:
    x = desk_at(desk, np.int64(0))
    put(x, np.int64(kind), run_at(x.runs, i), level)


@jit
def do_take(desk: int, kind: int, i: int) -> None:
    x = desk_at(desk, np.int64(0))
    take(x, np.int64(kind), run_at(x.runs, i))


@jit
def do_first(desk: int, kind: int) -> int:
    return first(desk_at(desk, np.int64(0)), np.int64(kind))


@jit
def do_wait(desk: int, i: int, row: int) -> None:
    x = desk_at(desk, np.int64(0))
    wait_for_row(x, run_at(x.runs, i), row)


@jit
def do_strike(desk: int, i: int) -> None:
    x = desk_at(desk, np.int64(0))
    strike_off(x, run_at(x.runs, i))


@jit
def do_open(desk: int, block: int) -> None:
    open_block(desk_at(desk, np.int64(0)), block)


class Tables:
    """A desk with queues over levels from -1 to 1 and a calendar of four windows."""

    def __init__(self) -> None:
        self.runs = np.zeros(RUNS, dtype=RUN)
        self.runs["number"], self.runs["wake"] = np.arange(RUNS), -1
        windows = 4
        self.tables = {
            "runs": self.runs,
            "heads": np.full((KINDS, BINS), -1, dtype=np.int32),
            "links": np.empty((KINDS, RUNS, 3), dtype=np.int32),
            "levels": np.empty((KINDS, RUNS)),
            "scale": np.array([[-1.0, (BINS - 1) / 2.0]] * KINDS),
            "bits": np.zeros((KINDS, WORDS + 1), dtype=np.uint64),
            "watch": np.full(KINDS, np.inf),
            "block_heads": np.full((windows << WINDOW_BITS) // BLOCK, -1, dtype=np.int32),
            "window_counts": np.zeros(windows, dtype=np.int32),
            "slots": np.full(BLOCK, -1, dtype=np.int64),
        }
        self.desk = np.zeros(1, dtype=DESK)
        for name, table in self.tables.items():
            self.desk[name] = table.ctypes.data
        self.desk["n_runs"], self.desk["block_now"] = RUNS, -1
        self.address = self.desk.ctypes.data

    def waiting_in(self, head: int) -> set[int]:
        found = set()
        while head >= 0:
            assert head not in found
            found.add(head)
            head = int(self.runs["next"][head])
        return found


# Levels of every kind: alike, close together, beyond both ends of the scale.
levels = st.one_of(st.sampled_from([-5.0, -1.0, 0.1, 0.1 + 1e-12, 1.0, 7.0]), st.floats(-1.2, 1.2))


@given(st.lists(st.tuples(st.integers(0, KINDS - 1), st.integers(0, RUNS - 1), levels), max_size=120))
@settings(max_examples=150, deadline=None)
def test_the_first_of_a_queue_is_always_the_lowest_level(steps: list[tuple[int, int, float]]) -> None:
    tables = Tables()
    known: list[dict[int, float]] = [{} for _ in range(KINDS)]
    for kind, run, level in steps:
        if run in known[kind]:
            do_take(tables.address, kind, run)
            del known[kind][run]
        else:
            do_put(tables.address, kind, run, level)
            known[kind][run] = level
        waiting = known[kind]
        lowest = min(waiting.values(), default=np.inf)
        assert tables.tables["watch"][kind] == lowest
        found = do_first(tables.address, kind)
        assert (found == -1) if not waiting else waiting[found] == lowest
        assert [bool(int(tables.runs["queues"][run]) >> k & 1) for k in range(KINDS)] == [run in k for k in known]


@given(st.lists(st.tuples(st.integers(0, RUNS - 1), st.integers(0, (4 << WINDOW_BITS) - 1)), max_size=80), st.data())
@settings(max_examples=150, deadline=None)
def test_the_calendar_knows_who_waits_for_which_row(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    tables = Tables()
    known: dict[int, int] = {}
    now = data.draw(st.integers(0, 200))
    opens_at = data.draw(st.integers(0, len(steps)))
    for number, (run, row) in enumerate(steps):
        if number == opens_at:
            do_open(tables.address, now)
        # Half of the rows are in the block that the sweep is in.
        wanted = row if row % 2 else now * BLOCK + row % BLOCK
        if run in known:
            do_strike(tables.address, run)
            del known[run]
        elif number < opens_at or wanted // BLOCK >= now:
            do_wait(tables.address, run, wanted)
            known[run] = wanted
    if opens_at == len(steps):
        do_open(tables.address, now)
    for block, head in enumerate(tables.tables["block_heads"].tolist()):
        expected = {run for run, row in known.items() if row // BLOCK == block and block != now}
        assert tables.waiting_in(head) == expected
    for slot, head in enumerate(tables.tables["slots"].tolist()):
        expected = {run for run, row in known.items() if row == now * BLOCK + slot}
        assert tables.waiting_in(head) == expected
        assert bool(int(tables.desk["due"][0]) >> slot & 1) == bool(expected)
    for window, count in enumerate(tables.tables["window_counts"].tolist()):
        assert count == sum(row >> WINDOW_BITS == window for row in known.values())
