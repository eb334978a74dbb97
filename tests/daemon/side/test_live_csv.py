"""The CSV table that is kept current while a session runs."""

from __future__ import annotations

import csv
import errno
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from arbd.daemon.host.logs import Log
from arbd.daemon.side import live_csv
from arbd.daemon.side.csv_keeper import CsvKeeper
from arbd.daemon.side.live_csv import LiveTable
from arbd.job.spec import ResultOptions
from arbd.job.stored import read_spec
from arbd.results.columns import RowBatch, RowRules
from arbd.results.csv_writer import csv_lines
from arbd.results.store_format import read_segments
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import CRASHED, FAILED
from arbd.spool.system import RealSystem
from tests.spool.sessions import make_session, rows_of, write_rows

FILES = Files()


def table_of(paths: SessionPaths) -> LiveTable:
    return LiveTable(FILES, paths, read_spec(FILES, paths))


def lines_of(data: bytes) -> list[dict[str, str]]:
    """The lines of a table by iteration; a metric that a row has not may be empty or undefined."""
    found = sorted(csv.DictReader(data.decode().splitlines()), key=lambda line: int(line["iteration"]))
    for line in found:
        missing = [name for name in line if name.startswith("metric_") and not line[name]]
        line.update(dict.fromkeys(missing if line["status"] == "completed" else (), "nan"))
    return found


def live(paths: SessionPaths) -> list[dict[str, str]]:
    return lines_of(paths.results_csv.read_bytes())


def exported(paths: SessionPaths) -> list[dict[str, str]]:
    """The table that everybody else has."""
    spec = read_spec(FILES, paths)
    groups = read_segments(FILES, paths, rules=RowRules.of(spec))
    return lines_of(b"".join(csv_lines(spec, paths.session_id, groups)))


def with_metric(rows: RowBatch, name: str) -> RowBatch:
    return replace(rows, metrics={**rows.metrics, name: rows.iteration / 7})


def iterations(paths: SessionPaths) -> list[int]:
    return sorted(int(row["iteration"]) for row in csv.DictReader(paths.results_csv.read_text().splitlines()))


@pytest.mark.parametrize("step_bytes", [1, 1 << 20])
def test_a_table_that_is_written_piece_by_piece_is_the_one_made_at_once(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch, step_bytes: int
) -> None:
    monkeypatch.setattr(live_csv, "STEP_ROWS", 7)
    monkeypatch.setattr(live_csv, "STEP_BYTES", step_bytes)
    paths = make_session(layout, 200)
    table = table_of(paths)
    table.update()
    assert paths.results_csv.read_text().count("\n") == 1
    for batches in (
        [rows_of(1, 30), rows_of(31, 5, status=1)],
        [rows_of(36, 20)],
        [rows_of(56, 3), with_metric(rows_of(59, 40), "later"), rows_of(99, 9)],
        [with_metric(rows_of(108, 9), "later")],
    ):
        write_rows(paths, "a", *batches, slot=f"0.{batches[0].iteration[0]}")
        table.update()
        assert live(paths) == exported(paths)
    # Takeover by another host.
    before = live(paths)
    table_of(paths).update()
    assert live(paths) == before
    assert [path.name for path in paths.folder.iterdir() if path.name.startswith(".")] == []


class Clock:
    """A time that passes when it is told to, and a little each time that it is looked at."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def test_rows_of_a_retry_take_the_place_of_those_that_failed(layout: SpoolLayout) -> None:
    paths, clock = make_session(layout, 9), Clock()
    write_rows(paths, "a", rows_of(1, 5, status=FAILED), rows_of(9, 1))
    table = LiveTable(FILES, paths, read_spec(FILES, paths), clock=clock)
    table.update()
    written = paths.results_csv.read_bytes()
    write_rows(paths, "b", rows_of(2, 4, epoch=1))
    table.update()
    # Writing the whole table rests in proportion to what it costs; meanwhile no iteration stands in it twice.
    assert paths.results_csv.read_bytes() == written
    write_rows(paths, "b", rows_of(6, 1), slot="0.2")
    table.update()
    assert [line["status"] for line in live(paths)] == ["failed"] * 5 + ["completed"] * 2
    clock.now_s += live_csv.REST
    table.update()
    assert [line["status"] for line in live(paths)] == ["failed", *["completed"] * 6]
    assert live(paths) == exported(paths)


def test_a_row_of_a_worker_that_was_thought_dead_takes_no_place(layout: SpoolLayout) -> None:
    paths = make_session(layout, 5)
    write_rows(paths, "b", rows_of(1, 5, epoch=1))
    table = table_of(paths)
    table.update()
    before = paths.results_csv.read_bytes()
    write_rows(paths, "a", rows_of(1, 3), rows_of(4, 2, status=CRASHED, epoch=1))
    table.update()
    assert paths.results_csv.read_bytes() == before
    assert not table._stale


def test_a_duplicate_stands_in_the_table_once_its_original_has_a_result(layout: SpoolLayout) -> None:
    paths, clock = make_session(layout, 9), Clock()
    duplicates = replace(rows_of(5, 3), metrics={}, origin=np.array([1, 2, 3]))
    write_rows(paths, "a", duplicates)
    table = LiveTable(FILES, paths, read_spec(FILES, paths), clock=clock)
    table.update()
    assert live(paths) == exported(paths) == []
    write_rows(paths, "b", rows_of(2, 1), rows_of(3, 1, status=FAILED))
    table.update()
    assert [(line["iteration"], line["status"]) for line in live(paths)] == [
        ("2", "completed"), ("3", "failed"), ("6", "completed"), ("7", "failed"),
    ]  # fmt: skip
    assert live(paths) == exported(paths)
    write_rows(paths, "c", rows_of(3, 1, epoch=1), rows_of(1, 1))
    clock.now_s += 2 * live_csv.REST
    table.update()
    assert [line["metric_value"] for line in live(paths)] == ["1.0", "2.0", "3.0", "1.0", "2.0", "3.0"]
    assert live(paths) == exported(paths)


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
    keeper = CsvKeeper(FILES, layout, None, Log(), list)
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
