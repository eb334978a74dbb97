"""Return blocks stay in the segments: compacted results read them from there, and do without when segments are to go."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.arrays import Array
from arbd.errors import DamageWarning, UsageError
from arbd.results.block_places import decode_runs, encode_runs
from arbd.results.column_bytes import widened_blocks
from arbd.results.columns import RowBatch, RowRules
from arbd.results.compaction import compact
from arbd.results.merge import Merge
from arbd.results.retention import require_compacted, take_blocks_in
from arbd.results.store_format import encode_results
from arbd.results.store_reader import StoredResults
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import FAILED
from arbd.spool.queue import SessionQueue
from tests.results.test_external_merge import Drawn, N, drawn_segments, put, small
from tests.spool.sessions import exhaust, make_session, rows_of, spec_of, write_rows
from tests.spool.test_intake import KilledError, Mortal

FILES = Files()
RULES = RowRules.of(spec_of(N))


def blocks_of(groups: list[tuple[int, Array | None]]) -> Array:
    """One array, NaN for rows without."""
    n_blocks = max((part.shape[1] for _, part in groups if part is not None), default=0)
    parts = [widened_blocks(part, n, n_blocks) for n, part in groups]
    return np.concatenate([np.empty((0, n_blocks, 2)), *parts])


def stored_blocks_of(paths: SessionPaths) -> Array:
    return blocks_of([(len(g.rows), g.rows.blocks) for g in StoredResults(FILES, paths, RULES).groups(blocks=True)])


def are_same(found: Array, wanted: Array) -> bool:
    """Where no row has blocks, it does not matter how many each of them has not."""
    nothing = not (np.isfinite(found).any() or np.isfinite(wanted).any())
    n_blocks = max(found.shape[1], wanted.shape[1])
    one, other = widened_blocks(found, len(found), n_blocks), widened_blocks(wanted, len(wanted), n_blocks)
    return nothing or np.array_equal(one, other, equal_nan=True)


def as_slots_write(batch: RowBatch) -> RowBatch:
    """With more or fewer blocks than others that have some, and none of what was not run."""
    if batch.blocks is None:
        return batch
    blocks = np.resize(batch.blocks, (len(batch), 1 + int(batch.iteration.sum()) % 3, 2))
    blocks[batch.origins > 0] = np.nan
    return replace(batch, blocks=blocks)


@given(drawn_segments(), st.integers(1, 12), st.integers(1, 5), st.sampled_from((0, 10**9)), st.sampled_from((1, 99)))
@settings(max_examples=30, deadline=None)
def test_results_read_the_blocks_of_the_rows_that_won(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: Drawn,
    group_rows: int,
    slice_rows: int,
    group_bytes: int,
    stretches: int,
) -> None:
    layout = SpoolLayout(tmp_path_factory.mktemp("spool"))
    layout.prepare()
    segments = [[as_slots_write(batch) for batch in batches] for batches in drawn.segments]
    paths = put(layout, replace(drawn, segments=segments))
    with pytest.MonkeyPatch.context() as patch:
        small(patch, group_rows, slice_rows, group_bytes, stretches)
        merge = Merge(FILES, paths, RULES)
        FILES.publish_stream(paths.results, encode_results("s", N, merge))
        wanted = blocks_of([(len(group.rows), group.rows.blocks) for group in merge.groups()])
        assert are_same(stored_blocks_of(paths), wanted)
        stored = StoredResults(FILES, paths, RULES)
        take_blocks_in(FILES, paths, stored)
    assert StoredResults(FILES, paths, RULES).segments == ()
    for segment in paths.segments.iterdir():
        segment.unlink()
    found = stored_blocks_of(paths)
    assert are_same(found, wanted)


def test_a_duplicate_beside_its_original_has_the_originals_blocks(layout: SpoolLayout) -> None:
    paths = make_session(layout, 3)
    rows = rows_of(1, 3, blocks=True)
    write_rows(paths, "a", replace(rows, origin=np.array([0, 1, 0])))
    exhaust(paths, 3)
    compact(FILES, paths)
    found = stored_blocks_of(paths)
    assert rows.blocks is not None
    assert np.array_equal(found, rows.blocks[[0, 0, 2]])


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 5), st.integers(1, 4)), max_size=8))
def test_runs_say_where_each_row_stands(runs: list[tuple[int, int, int]]) -> None:
    segment, offset = (np.repeat([run[at] for run in runs] or [0], [run[2] for run in runs] or [0]) for at in (0, 1))
    content = encode_runs(segment.astype(np.int64), offset.astype(np.int64))
    if content is None:
        assert not (segment >= 0).any()
    else:
        found = decode_runs(content, len(segment), 4)
        assert np.repeat(found[:, 0], found[:, 2]).tolist() == segment.tolist()
        assert np.repeat(found[:, 1], found[:, 2]).tolist() == offset.tolist()


@pytest.mark.parametrize(
    "runs",
    [[], [[2, 0, 5]], [[-2, 0, 5]], [[0, -1, 5]], [[0, 0, 4]], [[0, 0, 0], [0, 0, 5]], [[0, 0, 6], [0, 0, -1]]],
    ids=str,
)
def test_places_that_there_are_not_are_refused(runs: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="places of blocks"):
        decode_runs(np.array(runs, dtype="<i8").tobytes(), 5, 2)


def compacted(layout: SpoolLayout) -> SessionPaths:
    paths = make_session(layout, N)
    write_rows(paths, "a", rows_of(1, 10, blocks=True), rows_of(11, 10, blocks=True))
    write_rows(paths, "b", rows_of(21, 15, blocks=True), rows_of(36, 5, status=FAILED))
    exhaust(paths, N, (35, 5, 0, 0))
    compact(FILES, paths)
    return paths


def test_a_damaged_batch_costs_the_blocks_of_its_rows_and_says_so(layout: SpoolLayout) -> None:
    paths = compacted(layout)
    whole = stored_blocks_of(paths)
    (segment,) = paths.segments.glob("a-*")
    data = bytearray(segment.read_bytes())
    data[40] ^= 0xFF
    segment.write_bytes(bytes(data))
    with pytest.warns(DamageWarning, match="return blocks of 10 iterations cannot be read"):
        found = stored_blocks_of(paths)
    assert np.isnan(found[:10]).all()
    assert np.array_equal(found[10:], whole[10:], equal_nan=True)


def test_segments_that_are_gone_cost_blocks_and_no_row(layout: SpoolLayout) -> None:
    paths = compacted(layout)
    for segment in paths.segments.iterdir():
        segment.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = list(StoredResults(FILES, paths, RULES).groups())
    assert sum(len(group.rows) for group in rows) == N
    with pytest.warns(DamageWarning, match="return blocks of 35 iterations"):
        assert np.isnan(stored_blocks_of(paths)).all()


def test_a_row_that_comes_late_into_a_segment_changes_no_blocks(layout: SpoolLayout) -> None:
    paths = compacted(layout)
    whole = stored_blocks_of(paths)
    late = replace(rows_of(1, 10, epoch=3), blocks=np.full((10, 2, 2), 99.0))
    write_rows(paths, "a", late, slot="7.1")
    assert np.array_equal(stored_blocks_of(paths), whole, equal_nan=True)


def test_results_do_not_copy_blocks(layout: SpoolLayout) -> None:
    paths = make_session(layout, N)
    write_rows(paths, "a", replace(rows_of(1, N), blocks=np.random.default_rng(1).random((N, 500, 2))))
    exhaust(paths, N)
    compact(FILES, paths)
    (segment,) = paths.segments.iterdir()
    assert N * 500 * 8 < segment.stat().st_size < N * 500 * 8 + 6_000
    assert paths.results.stat().st_size < 8_000


def test_killed_at_any_call_while_blocks_are_taken_in_none_is_lost(layout: SpoolLayout) -> None:
    whole = compacted(layout)
    wanted, state = stored_blocks_of(whole), SessionQueue(FILES, whole).refresh()
    calls, made = 0, False
    while not made:
        paths = layout.session(f"s-{calls}")
        shutil.copytree(whole.folder, paths.folder)
        stored = StoredResults(FILES, paths, RULES)
        with contextlib.suppress(KilledError):
            take_blocks_in(Files(Mortal(calls)), paths, stored)
            made = True
        assert np.array_equal(stored_blocks_of(paths), wanted, equal_nan=True)
        # And what comes after it goes on from there.
        take_blocks_in(FILES, paths, require_compacted(FILES, paths, state))
        shutil.rmtree(paths.segments)
        assert np.array_equal(stored_blocks_of(paths), wanted, equal_nan=True)
        calls += 1
    assert calls > 5


def test_segments_that_hold_blocks_nobody_can_read_are_kept(layout: SpoolLayout) -> None:
    paths = compacted(layout)
    (segment,) = paths.segments.glob("b-*")
    segment.write_bytes(segment.read_bytes()[:100])
    stored = require_compacted(FILES, paths, SessionQueue(FILES, paths).refresh())
    with pytest.raises(UsageError, match="cannot be read"):
        take_blocks_in(FILES, paths, stored)
    assert StoredResults(FILES, paths, RULES).segments
