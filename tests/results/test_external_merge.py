"""Segments are merged in bounded memory, and what comes of it is what a merge in memory makes of them, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.job.spec import ResultOptions
from arbd.results import batch_index, store_format
from arbd.results import merge as merge_module
from arbd.results.batch_index import BatchIndex, Presence, Stretch
from arbd.results.columns import RowBatch, RowRules
from arbd.results.merge import Merge
from arbd.results.segments import SegmentBatch, SegmentReader
from arbd.results.store_format import encode_results
from arbd.spool import frames
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import COMPLETED, CRASHED, FAILED, TIMEOUT
from tests.results.merge_in_memory import MergeInMemory
from tests.spool.sessions import exhaust, make_session, rows_of, spec_of, write_rows

FILES = Files()
N = 40
CODES = (b"", b"code-one", b"code-two")


@dataclass(frozen=True)
class Drawn:
    """Batches by segment, and damage: (segment, place) of bytes that are changed."""

    segments: list[list[RowBatch]]
    damage: list[tuple[int, float]]


@st.composite
def batches(draw: st.DrawFn) -> RowBatch:
    first, reach = draw(st.integers(1, N)), draw(st.integers(1, 15))
    chosen = draw(st.lists(st.booleans(), min_size=reach, max_size=reach))
    iteration = np.arange(first, first + reach)[np.array(chosen) | (draw(st.booleans()))]
    iteration = iteration[iteration <= N + 1]
    n = len(iteration)
    status = np.array(draw(st.lists(st.sampled_from((COMPLETED, FAILED, TIMEOUT, CRASHED)), min_size=n, max_size=n)))
    names = draw(st.permutations(("value", "other", "third")))[: draw(st.integers(0, 3))]
    errors = {int(i): f"broken {i}" for i, one in zip(iteration, status, strict=True) if one}
    n_blocks = draw(st.sampled_from((0, 2, 2, 3)))
    values = np.random.default_rng(draw(st.integers(0, 99)))
    return replace(
        rows_of(1, n),
        iteration=iteration.astype(np.int64),
        status=status.astype(np.uint8),
        epoch=np.full(n, draw(st.integers(0, 2)), dtype=np.int32),
        params={"x": values.random(n), "kind": values.integers(0, 2, n)},
        metrics={name: values.random(n) for name in names},
        blocks=values.random((n, n_blocks, 2)) if n_blocks else None,
        errors=dict(sorted(errors.items(), reverse=draw(st.booleans()))),
        reports={int(i): [(1, 0.5)] for i in iteration[:2]},
        origin=values.integers(-1, N + 3, n) if draw(st.integers(0, 3)) == 0 else None,
        code=np.full(n, draw(st.sampled_from(CODES)), dtype="S16") if draw(st.booleans()) else None,
    )


@st.composite
def drawn_segments(draw: st.DrawFn) -> Drawn:
    segments = draw(st.lists(st.lists(batches(), min_size=1, max_size=6), max_size=5))
    places = st.tuples(st.integers(0, max(0, len(segments) - 1)), st.floats(0, 1, exclude_max=True))
    return Drawn(segments, draw(st.lists(places, max_size=2 if segments else 0)))


def put(layout: SpoolLayout, drawn: Drawn) -> SessionPaths:
    paths = make_session(layout, N)
    for number, segment in enumerate(drawn.segments):
        write_rows(paths, "abc"[number % 3], *segment, slot=f"{number}.1")
    written = sorted(paths.segments.iterdir())
    for number, part in drawn.damage:
        data = bytearray(written[number].read_bytes())
        data[int(part * len(data))] ^= 0xFF
        written[number].write_bytes(bytes(data))
    return paths


def small(patch: pytest.MonkeyPatch, group_rows: int, slice_rows: int, group_bytes: int, stretches: int) -> None:
    """Bounds so small that every one of them is met."""
    patch.setattr(merge_module, "GROUP_ROWS", group_rows)
    patch.setattr(merge_module, "SLICE_ROWS", slice_rows)
    patch.setattr(store_format, "SLICE_ROWS", slice_rows)
    patch.setattr(merge_module, "GROUP_BYTES", group_bytes)
    patch.setattr(batch_index, "MAX_STRETCHES", stretches)
    patch.setattr(batch_index, "MAX_PENDING_RUNS", stretches)
    patch.setattr(frames, "SMALL_WINDOW_BYTES", 600)


@given(
    drawn_segments(), st.integers(1, 12), st.integers(1, 5), st.sampled_from((0, 2_000, 10**9)), st.sampled_from((1, 3, 99))
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_external_merge_is_the_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: Drawn,
    group_rows: int,
    slice_rows: int,
    group_bytes: int,
    stretches: int,
) -> None:
    layout = SpoolLayout(tmp_path_factory.mktemp("spool"))
    layout.prepare()
    paths, rules = put(layout, drawn), RowRules.of(spec_of(N))
    expected = MergeInMemory(FILES, paths, rules, group_rows)
    with pytest.MonkeyPatch.context() as patch:
        small(patch, group_rows, slice_rows, group_bytes, stretches)
        wanted = b"".join(encode_results("s", N, cast("Merge", expected), blocks=True))
        merge = Merge(FILES, paths, rules)
        assert b"".join(encode_results("s", N, merge, blocks=True)) == wanted
        assert (merge.counts, Merge(FILES, paths, rules).counts) == (expected.counts, expected.counts)
        assert (len(merge), merge.duplicates) == (len(expected.iteration), expected.duplicates)
        assert (merge.workers, merge.metric_names) == (expected.workers, expected.metric_names)
        # The same places; those of one segment in the order of the segment.
        assert sorted(merge.damage, key=str) == sorted(expected.damage, key=str)
        assert merge.missing(N, 1) == expected.missing(N, 1)
        assert merge.waiting.tolist() == expected.waiting.tolist()
        rows = list(merge.winning_rows())
        assert [i for some in rows for i in some.iteration.tolist()] == expected.iteration.tolist()
        assert [i for some in rows for i in some.status.tolist()] == expected.status.tolist()
        with_results = ~np.isin(expected.iteration, expected.waiting)
        codes = np.concatenate([np.empty(0, "S16"), *(some.code for some in rows)])
        assert codes[with_results].tolist() == expected.codes[with_results].tolist()
        followed, known = merge.winners(N), expected.winners(N)
    iterations = np.arange(N + 2)
    places = [{int(iterations[p]): (s, o) for s, o, ps in w.places(iterations) for p in ps} for w in (followed, known)]
    assert places[0] == places[1]


@given(st.lists(st.lists(st.integers(1, 60), unique=True), max_size=12), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_presence_is_the_set_of_iterations(added: list[list[int]], size: int, pending: int) -> None:
    presence, expected = Presence(), sorted({i for some in added for i in some})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_index, "MAX_PENDING_RUNS", pending)
        for some in added:
            presence.add(np.array(sorted(some), dtype=np.int64))
        assert presence.count == len(expected)
    assert np.flatnonzero(presence.has(np.arange(70))).tolist() == expected
    assert [i for span in presence.spans(3) for i in range(span.first, span.first + span.count)] == expected
    missing = [i for span in presence.missing(50, 3) for i in range(span.first, span.first + span.count)]
    assert missing == sorted(set(range(1, 51)).difference(expected))
    parts = [expected[start : start + size] for start in range(0, len(expected), size)]
    assert list(presence.portions(size)) == [(part[0], part[-1], len(part)) for part in parts]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50), st.integers(1, 9), st.booleans())), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_a_batch_is_in_a_stretch_of_its_iterations_however_few_there_may_be(
    drawn: list[tuple[int, int, int, bool]], limit: int
) -> None:
    found, offset = [], 0
    for segment, first, count, damage in sorted(drawn, key=lambda one: one[0]):
        offset += 7 if damage else 0
        found.append(SegmentBatch(f"{segment}.seg", offset, rows_of(first, count), offset + 100))
        offset += 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_index, "MAX_STRETCHES", limit)
        index = BatchIndex()
        for batch in found:
            index.add(batch)

    def holds(stretches: list[Stretch], batch: SegmentBatch) -> bool:
        return any(s.segment == batch.segment and s.offset <= batch.offset and batch.end <= s.end for s in stretches)

    for batch in found:
        first, last = int(batch.rows.iteration[0]), int(batch.rows.iteration[-1])
        assert holds(list(index.between(last, last + 3)), batch)
        assert holds(list(index.holding(np.array([first]))), batch)
    # No stretch holds what no batch is: damage is not read a second time.
    ends = {(batch.segment, batch.offset) for batch in found}
    assert all((s.segment, s.offset) in ends for s in index.between(1, 60))


def test_a_segment_larger_than_a_window_is_read_by_small_ones(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "SMALL_WINDOW_BYTES", 1_000)
    paths = make_session(layout, 400)
    write_rows(paths, "a", rows_of(1, 100), *(rows_of(i, 1) for i in range(101, 401)))
    asked: list[int] = []
    files = Files()
    read = files.read
    monkeypatch.setattr(
        files, "read", lambda path, offset=0, limit=None: asked.append(limit) or read(path, offset, limit)
    )
    assert sum(len(found.rows) for found in SegmentReader(files, paths).poll()) == 400
    longest = len(rows_of(1, 100).encode())
    assert sorted({limit for limit in asked if limit < frames.WINDOW_BYTES}) == [1_000, longest + frames.HEADER.size]
    # Only for the end of the file.
    assert asked.count(frames.WINDOW_BYTES) == 1


MEASURED = """\
import resource, sys
from pathlib import Path
from arbd.results import compaction
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
import numpy.random
def data_kb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData:")))
limit = data_kb() * 1024 + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
report = compaction.compact(Files(), SessionPaths(Path(sys.argv[1])))
assert not report.again, report
"""


def test_memory_does_not_grow_with_the_rows(layout: SpoolLayout) -> None:
    n, each = 600_000, 20_000
    paths = make_session(layout, n, results=ResultOptions())
    write_rows(paths, "a", *(replace(rows_of(i, each), reports={}) for i in range(1, n, each)))
    exhaust(paths, n)
    # An index of all rows takes more than 30 bytes each, and what sorts them as much again.
    allowed = 40 * 1024 * 1024
    command = [sys.executable, "-c", MEASURED, str(paths.folder), str(allowed)]
    found: subprocess.CompletedProcess[Any] = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert paths.results.exists()
