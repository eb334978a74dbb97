"""The CSV table that is kept current while a session runs."""

from __future__ import annotations

import csv
import errno
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from arbd.daemon.host.logs import Log
from arbd.daemon.side import live_csv
from arbd.daemon.side.live_csv import CsvKeeper, LiveTable
from arbd.job.spec import ResultOptions
from arbd.job.stored import read_spec
from arbd.results.columns import RowBatch, RowRules
from arbd.results.csv_writer import encode_cells, group_cells, header
from arbd.results.segments import SegmentBatch, SegmentReader, worker_of
from arbd.results.store_format import ResultGroup
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.system import RealSystem
from tests.spool.sessions import make_session, rows_of, write_rows

FILES = Files()


def table_of(paths: SessionPaths) -> LiveTable:
    return LiveTable(FILES, paths, read_spec(FILES, paths))


def in_one_go(paths: SessionPaths, names: list[str]) -> bytes:
    """The table of a session of which every iteration has one row, made in memory."""
    spec = read_spec(FILES, paths)
    lines: list[list[object]] = [list(header(spec, names))]
    for found in SegmentReader(FILES, paths, rules=RowRules.of(spec)).poll():
        group = ResultGroup(found.rows, np.zeros(len(found.rows), np.int32), (worker_of(found.segment),))
        lines += group_cells(spec, paths.session_id, group, names)
    return encode_cells(lines)


def with_metric(rows: RowBatch, name: str) -> RowBatch:
    return replace(rows, metrics={**rows.metrics, name: rows.iteration / 7})


def iterations(paths: SessionPaths) -> list[int]:
    return sorted(int(row["iteration"]) for row in csv.DictReader(paths.results_csv.read_text().splitlines()))


@pytest.mark.parametrize("step_bytes", [1, 1 << 20])
def test_a_table_that_is_written_piece_by_piece_has_the_bytes_of_one_made_at_once(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch, step_bytes: int
) -> None:
    monkeypatch.setattr(live_csv, "STEP_ROWS", 7)
    monkeypatch.setattr(live_csv, "STEP_BYTES", step_bytes)
    paths = make_session(layout, 200)
    table = table_of(paths)
    table.update()
    assert paths.results_csv.read_bytes() == in_one_go(paths, [])
    write_rows(paths, "a", rows_of(1, 30), rows_of(31, 5, status=1), slot="0.1")
    table.update()
    assert paths.results_csv.read_bytes() == in_one_go(paths, ["value"])
    write_rows(paths, "a", rows_of(36, 20), slot="0.2")
    table.update()
    assert paths.results_csv.read_bytes() == in_one_go(paths, ["value"])
    write_rows(paths, "a", rows_of(56, 3), with_metric(rows_of(59, 40), "later"), rows_of(99, 9), slot="0.3")
    table.update()
    assert paths.results_csv.read_bytes() == in_one_go(paths, ["value", "later"])
    # Takeover by another host.
    before = paths.results_csv.read_bytes()
    table_of(paths).update()
    assert paths.results_csv.read_bytes() == before


class ArrivingMeanwhile(SegmentReader):
    """Rows with a metric of their own come between the reading of the names and that of the rows."""

    polls = 0

    def poll(self) -> Iterator[SegmentBatch]:
        type(self).polls += 1
        if self.polls == 2:
            write_rows(self._paths, "b", with_metric(rows_of(11, 10), "late"))
        return super().poll()


def test_a_metric_that_appears_while_the_table_is_written_has_its_column(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_session(layout, 20)
    write_rows(paths, "a", rows_of(1, 10))
    monkeypatch.setattr(live_csv, "SegmentReader", ArrivingMeanwhile)
    table_of(paths).update()
    assert ArrivingMeanwhile.polls == 4
    assert paths.results_csv.read_bytes() == in_one_go(paths, ["value", "late"])
    assert [path.name for path in paths.folder.iterdir() if path.name.startswith(".")] == []


def test_a_long_table_is_not_in_memory(layout: SpoolLayout) -> None:
    count = 20_000
    paths = make_session(layout, count)
    write_rows(paths, "a", *(replace(rows_of(first, 1_000), reports={}) for first in range(1, count, 1_000)))
    table = table_of(paths)
    tracemalloc.start()
    try:
        table.update()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert iterations(paths) == list(range(1, count + 1))
    assert peak < 8 * 1024 * 1024


class FullDisk(RealSystem):
    full = False

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(fd, data)


def test_rows_that_a_full_disk_did_not_take_stand_in_the_table_later(layout: SpoolLayout) -> None:
    paths = make_session(layout, 30)
    system = FullDisk()
    table = LiveTable(Files(system), paths, read_spec(FILES, paths))
    write_rows(paths, "a", rows_of(1, 10))
    for first in (11, 21):
        system.full = True
        with pytest.raises(OSError, match="No space"):
            table.update()
        system.full = False
        table.update()
        write_rows(paths, "a", rows_of(first, 10), slot=f"0.{first}")
    table.update()
    assert iterations(paths) == list(range(1, 31))


@pytest.mark.parametrize("with_table", [True, False])
def test_a_session_under_the_id_of_one_that_is_gone_has_its_table(layout: SpoolLayout, *, with_table: bool) -> None:
    keeper = CsvKeeper(FILES, layout, None, Log())
    first = make_session(layout, 5, results=ResultOptions(csv=with_table))
    write_rows(first, "a", rows_of(1, 5))
    keeper.look(["s"])
    assert first.results_csv.exists() == with_table
    FILES.remove_tree(first.folder)
    keeper.look([])
    second = make_session(layout, 9)
    write_rows(second, "b", rows_of(1, 9))
    keeper.look(["s"])
    assert iterations(second) == list(range(1, 10))
