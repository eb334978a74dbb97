"""One row of an iteration wins, by a rule of the rows alone: whole or as they come, in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbd.results.columns import concatenate
from arbd.results.merge import Merge
from arbd.results.precedence import Winners, winning
from arbd.results.segments import SegmentBatch, SegmentReader
from arbd.results.winning_rows import read_winning, with_originals
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, CRASHED, FAILED
from tests.spool.sessions import make_session, rows_of, write_rows

N = 6
FILES = Files()


@dataclass(frozen=True)
class Drawn:
    batches: list[SegmentBatch]
    order: list[int]


@st.composite
def batches(draw: st.DrawFn) -> Drawn:
    """Batches with segments and places of their own, in the order of these, and another order in which they come."""
    found = []
    for segment in draw(st.lists(st.sampled_from("abc"), max_size=8)):
        first = draw(st.integers(1, N))
        count = draw(st.integers(1, N - first + 1))
        rows = rows_of(first, count, epoch=draw(st.integers(0, 2)))
        status = draw(st.lists(st.sampled_from([COMPLETED, FAILED, CRASHED]), min_size=count, max_size=count))
        found.append((segment, replace(rows, status=np.array(status, dtype=np.uint8))))
    found.sort(key=lambda pair: pair[0])
    made = [SegmentBatch(f"{segment}.seg", number, rows, number + 1) for number, (segment, rows) in enumerate(found)]
    return Drawn(made, draw(st.permutations(range(len(made)))))


def expected(drawn: Drawn) -> dict[int, tuple[str, int]]:
    best: dict[int, tuple[int, bool, str, int]] = {}
    for batch in drawn.batches:
        for row, iteration in enumerate(batch.rows.iteration.tolist()):
            rank = (
                -int(batch.rows.epoch[row]), batch.rows.status[row] != COMPLETED, batch.segment, batch.offset,
            )  # fmt: skip
            best[iteration] = min(best.get(iteration, rank), rank)
    return {iteration: rank[2:] for iteration, rank in best.items()}


@given(batches())
@settings(max_examples=300, deadline=None)
def test_the_newest_epoch_wins_then_a_completed_row_then_the_first_place(drawn: Drawn) -> None:
    wanted = expected(drawn)
    rows = [(batch, row) for batch in drawn.batches for row in range(len(batch.rows))]
    columns = [
        np.array([getattr(batch.rows, name)[row] for batch, row in rows], dtype=np.int64)
        for name in ("iteration", "epoch", "status")
    ]
    chosen = [rows[position] for position in winning(*columns).tolist()]
    assert {int(b.rows.iteration[row]): (b.segment, b.offset) for b, row in chosen} == wanted
    assert [int(b.rows.iteration[row]) for b, row in chosen] == sorted(wanted)


@given(batches(), st.integers(1, N))
@settings(max_examples=300, deadline=None)
def test_in_whatever_order_rows_come_the_same_ones_win(drawn: Drawn, step: int) -> None:
    winners = Winners(N)
    for number in drawn.order:
        batch = drawn.batches[number]
        for start in range(0, len(batch.rows), step):
            part = slice(start, min(start + step, len(batch.rows)))
            had = winners.has(batch.rows.iteration[part])
            judged = winners.judge(batch, part)
            assert judged.contested.tolist() == had.tolist()
            assert judged.superseded.tolist() == (judged.won & had).tolist()
            winners.take(batch, judged, part)
    wanted = expected(drawn)
    assert winners.count == len(wanted)
    iterations = np.arange(0, N + 3)
    assert np.flatnonzero(winners.has(iterations)).tolist() == sorted(wanted)
    found = {
        int(iterations[position]): (segment, offset)
        for segment, offset, positions in winners.places(iterations)
        for position in positions.tolist()
    }
    assert found == wanted
    assert [winners.segment_of(i) for i in sorted(wanted)] == [wanted[i][0] for i in sorted(wanted)]


def test_seeing_the_same_rows_twice_changes_nothing() -> None:
    winners = Winners(N)
    batch = SegmentBatch("a.seg", 0, rows_of(1, 3), 1)
    assert winners.add(batch).won.all()
    assert not winners.add(batch).won.any()


def test_a_row_of_no_iteration_of_the_session_never_wins() -> None:
    winners = Winners(2)
    judged = winners.add(SegmentBatch("a.seg", 0, replace(rows_of(1, 3), iteration=np.array([-1, 2, 3])), 1))
    assert (judged.won.tolist(), winners.count) == ([False, True, False], 1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=batches(), seen=st.integers(0, 8), originals=st.lists(st.integers(0, N), min_size=N, max_size=N))
def test_whoever_follows_from_a_merge_has_the_rows_of_a_merge(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, seen: int, originals: list[int]
) -> None:
    layout = SpoolLayout(tmp_path_factory.mktemp("spool"))
    layout.prepare()
    paths = make_session(layout, N)
    # A duplicate's original comes before it.
    origin = np.array([o if o < i else 0 for i, o in enumerate(originals, 1)])
    origin[np.isin(origin, np.flatnonzero(origin) + 1)] = 0
    parts = [(b, replace(b.rows, origin=origin[b.rows.iteration - 1])) for b in drawn.batches]
    for batch, rows in parts[:seen]:
        write_rows(paths, batch.segment[0], rows, slot=f"{batch.offset}.1")
    merge = Merge(FILES, paths)
    winners = merge.winners(N)
    for batch, rows in parts[seen:]:
        write_rows(paths, batch.segment[0], rows, slot=f"{batch.offset}.1")
    for found in merge.reader.poll():
        winners.add(found)
    whole = Merge(FILES, paths)
    groups = list(whole.groups())
    there = np.concatenate([[0], *[group.rows.iteration for group in groups]])[1:].astype(np.int64)
    assert sorted({*there.tolist(), *whole.waiting.tolist()}) == np.flatnonzero(winners.has(np.arange(N + 1))).tolist()
    if not len(there):
        return
    rows, worker, workers = read_winning(FILES, paths, None, winners, there)
    rows = with_originals(FILES, paths, None, winners, rows)
    merged = concatenate([group.rows for group in groups])
    assert rows.iteration.tolist() == merged.iteration.tolist()
    assert rows.status.tolist() == merged.status.tolist()
    assert rows.metrics.get("value", np.empty(0)).tolist() == merged.metrics.get("value", np.empty(0)).tolist() or (
        np.array_equal(rows.metrics["value"], merged.metrics["value"], equal_nan=True)
    )
    assert [workers[w] for w in worker] == [whole.workers[w] for group in groups for w in group.worker]


def test_a_duplicate_whose_original_has_no_row_yet_is_left_out_and_waits(layout: SpoolLayout) -> None:
    paths = make_session(layout, 9)
    duplicates = replace(rows_of(5, 3), metrics={}, origin=np.array([2, 9, 4]))
    write_rows(paths, "a", duplicates, slot="0.1")
    merge = Merge(FILES, paths)
    assert (list(merge.groups()), merge.waiting.tolist()) == ([], [5, 6, 7])
    assert merge.counts == (3, 0, 0, 0)
    write_rows(paths, "b", rows_of(2, 1, status=FAILED), rows_of(3, 1), slot="0.1")
    merge = Merge(FILES, paths)
    (group,) = merge.groups()
    assert group.rows.iteration.tolist() == [2, 3, 5]
    assert group.rows.status.tolist() == [FAILED, COMPLETED, FAILED]
    assert (merge.waiting.tolist(), group.rows.errors) == ([6, 7], {2: "broken", 5: "broken"})
    # The row of the next iteration is not taken for that of a missing original.
    (rows,) = merge.winning_rows()
    assert rows.status.tolist() == [FAILED, COMPLETED, FAILED, COMPLETED, COMPLETED]
    assert len(list(SegmentReader(FILES, paths).poll())) == 3
