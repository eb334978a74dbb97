"""From segments to results: each iteration once, by a rule; nothing lost; damage runs again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import CorruptionError
from arbd.results import merge as merge_module
from arbd.results.batch_index import Presence
from arbd.results.columns import concatenate, decode_rows
from arbd.results.compaction import compact
from arbd.results.merge import Merge
from arbd.results.segments import SegmentReader, segment_name, worker_of
from arbd.results.session_rows import read_rows
from arbd.results.store_reader import read_results
from arbd.spool.files import Files
from arbd.spool.frames import scan_frames
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import CRASHED, FAILED
from arbd.spool.queue import SessionQueue
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()


@given(first=st.integers(1, 2**40), count=st.integers(0, 40), status=st.integers(0, 3), blocks=st.booleans())
@settings(max_examples=40)
def test_rows_survive_their_encoding(first: int, count: int, status: int, blocks: bool) -> None:
    batch = rows_of(first, count, status=status, blocks=blocks)
    again = decode_rows(batch.encode())
    for name in ("iteration", "status", "ended_ns", "duration_s", "attempt", "epoch"):
        assert np.array_equal(getattr(batch, name), getattr(again, name))
    assert {n: c.tolist() for n, c in batch.params.items()} == {n: c.tolist() for n, c in again.params.items()}
    assert (dict(batch.errors), dict(batch.reports)) == (dict(again.errors), {first: [(1, 0.5)]})
    assert (again.blocks is not None) == blocks
    assert decode_rows(batch.encode(), blocks=False).blocks is None


@pytest.mark.parametrize("payload", [b"\x81\xa1v\x01", b"\xc1", b"\x93\x01\x02\x03"])
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_rows(payload)


def test_segment_names_tell_the_worker_even_with_dashes() -> None:
    assert worker_of(segment_name("host-a.lan", 255, "3r1.2")) == "host-a.lan"


def test_one_row_stands_for_an_iteration_by_epoch_then_completion_then_place(layout: SpoolLayout) -> None:
    paths = make_session(layout, 4)
    write_rows(paths, "b", rows_of(1, 4, status=CRASHED))
    write_rows(paths, "a", rows_of(1, 2, value=10), rows_of(3, 1, status=FAILED))
    write_rows(paths, "c", rows_of(1, 1, value=20), rows_of(2, 1, status=FAILED, epoch=1))
    merged = Merge(FILES, paths)
    (group,) = merged.groups()
    assert group.rows.iteration.tolist() == [1, 2, 3, 4]
    assert group.rows.metrics["value"][0] == 11.0  # a before c
    assert group.rows.epoch.tolist() == [0, 1, 0, 0]  # the newest order wins even over a completed row
    assert group.rows.errors == {2: "broken", 3: "broken", 4: "broken"}
    assert [merged.workers[w] for w in group.worker] == ["a", "c", "a", "b"]
    assert (merged.counts, merged.duplicates) == ((1, 2, 0, 1), 5)


def test_groups_are_sorted_and_bounded(layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "GROUP_ROWS", 10)
    paths = make_session(layout, 45)
    write_rows(paths, "a", *[rows_of(first, 5, blocks=True) for first in (41, 11, 1, 31)])
    write_rows(paths, "b", *[rows_of(first, 5) for first in (6, 36, 21, 16, 26)])
    groups = list(Merge(FILES, paths).groups())
    assert [len(g.rows) for g in groups] == [10, 10, 10, 10, 5]
    assert np.concatenate([g.rows.iteration for g in groups]).tolist() == list(range(1, 46))


@pytest.mark.parametrize(("blocks", "sizes"), [(True, [8, 8, 4]), (False, [20])])
def test_rows_are_read_in_slices_where_what_they_hold_is_too_much_at_once(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch, *, blocks: bool, sizes: list[int]
) -> None:
    ones = np.ones((20, 64, 2))
    rows = replace(rows_of(1, 20), blocks=ones)
    monkeypatch.setattr(merge_module, "SLICE_ROWS", 8)
    # Blocks are kept with single precision, and a row holds little beside them.
    monkeypatch.setattr(merge_module, "GROUP_BYTES", ones.nbytes // 2)
    paths = make_session(layout, 20)
    write_rows(paths, "a", rows)
    assert [len(group.rows) for group in Merge(FILES, paths).groups(blocks=blocks)] == sizes


def test_missing_iterations_are_found() -> None:
    def missing(iterations: list[int], n: int) -> list[tuple[int, int]]:
        found = Presence()
        for iteration in iterations:
            found.add(np.array([iteration], dtype=np.int64))
        return [(span.first, span.count) for span in found.missing(n, 0)]

    assert missing([2, 7, 3, 3], 9) == [(1, 1), (4, 3), (8, 2)]
    assert missing([1, 2, 3], 3) == missing([3, 2, 1, 4], 3) == []
    assert missing([], 3) == [(1, 3)]


def test_compaction_writes_every_iteration_and_closes_the_session(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30)
    write_rows(paths, "b", rows_of(11, 20, blocks=True))
    write_rows(paths, "a", rows_of(1, 10, blocks=True), rows_of(11, 5))
    queue = exhaust(paths, 30)
    assert compact(FILES, paths).again == 0
    assert queue.refresh().label() == "done"
    assert queue.state.duplicates == 5
    (group,) = read_results(FILES, paths, blocks=True)
    assert group.rows.iteration.tolist() == list(range(1, 31))
    assert group.rows.blocks is not None
    assert group.rows.blocks[0, 0, 0] == 1.0
    (lean,) = read_results(FILES, paths)
    assert lean.rows.blocks is None
    lines = paths.results_csv.read_text().splitlines()
    assert lines[0].startswith(
        "session_id,worker_id,iteration,status,timestamp,duration_s,attempt,error,param_x,param_kind,metric_value"
    )
    assert lines[1] == "s,a,1,completed,2023-11-14T22:13:20Z,0.5,1,,0.001,down,1.0,maximize"
    assert len(lines) == 31


def test_a_damaged_segment_makes_its_iterations_run_again(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30)
    write_rows(paths, "a", rows_of(1, 10), rows_of(11, 10), rows_of(21, 10))
    (segment,) = paths.segments.iterdir()
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(bytes(data))
    queue = exhaust(paths, 30)
    report = compact(FILES, paths)
    assert report.again == 10
    assert str(segment) in report.damage[0]
    state = queue.refresh()
    assert (state.counted, state.unclaimed, state.over) == (20, 10, False)
    reader = SegmentReader(FILES, paths)
    assert len(list(reader.poll())) == 2
    assert reader.damage[0].path == segment
    assert not paths.results.exists()


def test_a_session_that_is_not_exhausted_is_not_compacted(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30)
    write_rows(paths, "a", rows_of(1, 30))
    assert compact(FILES, paths).again == 0
    assert not paths.results.exists()


def test_readers_follow_segments_as_they_grow(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30)
    reader = SegmentReader(FILES, paths)
    assert list(reader.poll()) == []
    write_rows(paths, "a", rows_of(1, 3))
    assert [len(b.rows) for b in reader.poll()] == [3]
    write_rows(paths, "b", rows_of(4, 2))
    assert [len(b.rows) for b in reader.poll()] == [2]
    assert list(reader.poll()) == []


def test_a_damaged_results_file_is_told_with_its_place(layout: SpoolLayout) -> None:
    paths = make_session(layout, 3)
    write_rows(paths, "a", rows_of(1, 3))
    exhaust(paths, 3)
    compact(FILES, paths)
    whole = paths.results.read_bytes()
    at = scan_frames(whole).frames[1].offset
    paths.results.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(CorruptionError, match=rf"results.msgpack, byte {at}: damaged; `arbctl repair"):
        list(read_results(FILES, paths))
    paths.results.unlink()
    assert sum(len(g.rows) for g in read_rows(FILES, paths, done=True)) == 3


def test_rows_without_a_metric_are_nan_beside_those_that_have_it() -> None:
    joined = concatenate([rows_of(1, 2), rows_of(3, 1, status=FAILED)])
    assert np.isnan(joined.metrics["value"]).tolist() == [False, False, True]
    assert concatenate([]).iteration.tolist() == []


def test_retried_rows_replace_the_old_in_the_results(layout: SpoolLayout) -> None:
    from arbd.spool import ledger
    from arbd.spool.spans import spans_of

    paths = make_session(layout, 3)
    write_rows(paths, "a", rows_of(1, 2), rows_of(3, 1, status=FAILED))
    queue: SessionQueue = exhaust(paths, 3, (2, 1, 0, 0))
    compact(FILES, paths)
    queue.change(lambda state: [ledger.again(spans_of([3], 1), (0, 1, 0, 0), "retry")])
    write_rows(paths, "b", rows_of(3, 1, epoch=1))
    from arbd.spool.queue import Worker
    from arbd.spool.spans import Finish

    (claim,) = queue.claim(Worker("b", 2, 1), [], lambda state: (9, 9), 1)
    queue.claim(Worker("b", 2, 1), [Finish(claim.claim_id, (1, 0, 0, 0))], lambda state: (1, 0), 1)
    compact(FILES, paths)
    assert queue.refresh().counts == [3, 0, 0, 0]
    (group,) = read_results(FILES, paths)
    assert group.rows.status.tolist() == [0, 0, 0]


def test_the_csv_lock_of_a_worker_that_hangs_is_not_waited_for(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arbd.results import compaction

    monkeypatch.setattr(compaction, "CSV_PATIENCE_S", 0.05)
    paths = make_session(layout, 3)
    write_rows(paths, "a", rows_of(1, 3))
    exhaust(paths, 3)
    with FILES.lock(paths.csv_lock, 1):
        compact(FILES, paths)
    assert Path(paths.results_csv).exists()


def test_one_column_of_a_finished_session_is_read_without_the_others(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arbd.results.store_reader import StoredResults

    monkeypatch.setattr(merge_module, "GROUP_ROWS", 10)
    paths = make_session(layout, 45)
    write_rows(paths, "a", rows_of(1, 25, blocks=True))
    write_rows(paths, "b", rows_of(26, 10), rows_of(36, 10, status=FAILED))
    exhaust(paths, 45, (35, 10, 0, 0))
    compact(FILES, paths)
    # Damage in another column is not seen by who does not read it.
    stored = StoredResults(FILES, paths)
    place = stored._groups[2].at["p:x"].pieces[0][0] + 20
    data = bytearray(paths.results.read_bytes())
    data[place] ^= 1
    paths.results.write_bytes(bytes(data))
    stored = StoredResults(FILES, paths)
    assert stored.metric("value")[:35].tolist() == [float(i) for i in range(1, 36)]
    assert np.isnan(stored.metric("value")[35:]).all()
    assert (stored.n, stored.counts, stored.worker_counts) == (45, (35, 10, 0, 0), {"a": 25, "b": 20})
    assert [(place, g.rows.iteration.tolist()) for place, g in stored.at([44, 3])] == [(1, [4]), (0, [45])]
    assert stored.errors() == dict.fromkeys(range(36, 46), "broken")
    with pytest.raises(CorruptionError, match="damaged; `arbctl repair"):
        stored.param("x")


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_results_file_with_any_byte_changed_is_told_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int, cut: bool
) -> None:
    layout = SpoolLayout(tmp_path_factory.mktemp("spool"))
    layout.prepare()
    paths = make_session(layout, 6)
    write_rows(paths, "a", rows_of(1, 4), rows_of(5, 2, status=FAILED))
    exhaust(paths, 6, (4, 2, 0, 0))
    compact(FILES, paths)
    data = bytearray(paths.results.read_bytes())
    at %= len(data)
    data[at] ^= flip
    paths.results.write_bytes(bytes(data[:at] if cut else data))
    with pytest.raises(CorruptionError):
        list(read_results(FILES, paths))


def test_ranking_is_that_of_sorting_everything(layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from arbd.analysis.table import load_table
    from arbd.search import ordering

    monkeypatch.setattr(ordering, "SAMPLE_ROWS", 20)
    paths = make_session(layout, 300)
    values = np.round(np.random.default_rng(4).random(300), 1)
    values[[7, 8, 200]] = np.nan
    write_rows(paths, "a", replace(rows_of(1, 300), metrics={"value": values}))
    table = load_table(layout.root, "s")
    for up in (True, False):
        order = np.argsort(values if up else -values, kind="stable").tolist()
        for count in (0, 1, 5, 60, 299, 300, 400):
            assert table.rank("value", count, up) == order[:count]


def test_what_is_chosen_is_told_by_iteration_and_status(layout: SpoolLayout) -> None:
    paths = make_session(layout, 9)
    write_rows(paths, "a", rows_of(1, 5), rows_of(6, 3, status=FAILED))
    chosen = Merge(Files(), paths).choose(lambda rows: (rows.status == FAILED) | (rows.iteration == 2))
    assert (len(chosen), chosen.counts) == (4, (1, 3, 0, 0))
    assert chosen.iterations.has(np.arange(1, 10)).tolist() == [i in (2, 6, 7, 8) for i in range(1, 10)]


def test_a_duplicate_is_of_the_code_that_its_original_was_made_with_known_or_not(layout: SpoolLayout) -> None:
    paths = make_session(layout, 4)
    duplicates = replace(rows_of(3, 2), metrics={}, origin=np.array([1, 2])).made_with("c" * 16)
    write_rows(paths, "a", rows_of(1, 2), duplicates)
    (rows,) = Merge(FILES, paths).winning_rows()
    assert rows.code.tolist() == [b""] * 4
    write_rows(paths, "b", rows_of(2, 1, epoch=1).made_with("b" * 16))
    (rows,) = Merge(FILES, paths).winning_rows()
    assert rows.code.tolist() == [b"", b"b" * 16, b"", b"b" * 16]
    assert rows.made_with(["b" * 16]).tolist() == [False, True, False, True]


def test_rows_that_are_asked_for_without_blocks_have_none_duplicates_neither(layout: SpoolLayout) -> None:
    paths = make_session(layout, 4)
    duplicates = replace(rows_of(3, 2, blocks=True), metrics={}, blocks=None, origin=np.array([1, 2]))
    write_rows(paths, "a", rows_of(1, 2, blocks=True), duplicates)
    (group,) = Merge(FILES, paths).groups(blocks=False)
    assert group.rows.blocks is None
    assert group.places is not None and group.places[1][2:].tolist() == group.places[1][:2].tolist()
    (group,) = Merge(FILES, paths).groups()
    assert group.rows.blocks is not None
    assert group.rows.blocks[2:].tolist() == group.rows.blocks[:2].tolist()
