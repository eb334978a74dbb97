"""Claiming through a real folder: many processes, torn appends, failing disks."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from arbd.errors import CorruptionError, NotFoundError
from arbd.spool import ledger
from arbd.spool.files import Files, OpenedFile
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import AgainRecord, LedgerRecord, StopRecord
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.spans import Claim, Finish, Span
from arbd.spool.system import System
from tests.spool.sessions import make_session

N = 2_000


def make(folder: Path, n: int = N) -> SessionPaths:
    folder.mkdir()
    paths = SessionPaths(folder)
    Files().publish(paths.ledger, encode_frame(ledger.pack(ledger.opened(n))))
    return paths


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    return make(tmp_path / "session")


def by(chunk: int, total: int) -> object:
    return lambda state: (chunk, total)


def _work(folder: Path, number: int) -> list[int]:
    queue, worker = SessionQueue(Files(), SessionPaths(folder)), Worker(f"w{number}", number, 1)
    mine: list[int] = []
    finishes: list[Finish] = []
    while True:
        claims = queue.claim(worker, finishes, lambda state: (7, 14), 1)
        if not claims and not finishes:
            return mine
        mine += [i for c in claims for i in range(c.span.first, c.span.first + c.span.count)]
        finishes = [Finish(c.claim_id, (c.span.count, 0, 0, 0)) for c in claims]


def test_processes_that_claim_at_once_share_every_iteration_once(paths: SessionPaths) -> None:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        shares = list(pool.map(_work, [paths.folder] * 4, range(4)))
    assert sorted(i for share in shares for i in share) == list(range(1, N + 1))
    state = SessionQueue(Files(), paths).refresh()
    assert (state.counted, state.exhausted) == (N, True)
    assert sum(sum(counts) for counts in state.worker_counts.values()) == N


def test_a_torn_append_of_a_dead_writer_is_skipped(paths: SessionPaths) -> None:
    queue = SessionQueue(Files(), paths)
    (first,) = queue.claim(Worker("a", 1, 1), [], lambda state: (5, 5), 1)
    with paths.ledger.open("ab") as file:
        file.write(encode_frame(ledger.pack(ledger.revoked(1, "x")))[:-3])
    other = SessionQueue(Files(), paths)
    (second,) = other.claim(Worker("b", 2, 1), [], lambda state: (5, 5), 1)
    assert (first.span.first, second.span.first) == (1, 6)
    assert set(queue.refresh().claims) == {(1, first.claim_id), (2, second.claim_id)}
    assert len(other.damage) == len(queue.damage) == 1


def test_damage_in_the_middle_is_skipped_and_told(paths: SessionPaths) -> None:
    queue = SessionQueue(Files(), paths)
    before = paths.ledger.stat().st_size
    (claim,) = queue.claim(Worker("a", 1, 1), [], lambda state: (5, 5), 1)
    queue.claim(Worker("a", 1, 1), [Finish(claim.claim_id, (5, 0, 0, 0))], lambda state: (5, 5), 1)
    data = bytearray(paths.ledger.read_bytes())
    fresh_start = before + 8 + int.from_bytes(data[before : before + 4], "big")
    data[before + 12] ^= 0xFF
    paths.ledger.write_bytes(bytes(data))
    fresh = SessionQueue(Files(), paths)
    # The lost claim's iterations are found missing when the session is compacted, and run again.
    assert fresh.refresh().cursor == 11
    assert fresh.take_damage() == [f"{paths.ledger}, bytes {before} to {fresh_start}"]
    assert fresh.take_damage() == []


class FailingFiles(Files):
    """A disk whose next append fails: before anything is written, in the middle, or after all is written."""

    def __init__(self) -> None:
        super().__init__()
        self.when = ""

    @contextlib.contextmanager
    def extended(self, path: Path) -> Iterator[OpenedFile]:
        with super().extended(path) as opened:
            yield FailingFile(opened._system, opened._fd, self)


class FailingFile(OpenedFile):
    """What `FailingFiles` opens."""

    def __init__(self, system: System, fd: int, files: FailingFiles) -> None:
        super().__init__(system, fd)
        self.files = files

    def append(self, data: bytes) -> None:
        when, self.files.when = self.files.when, ""
        if when == "middle":
            super().append(data[: len(data) // 2])
        elif when == "after":
            super().append(data)
        if when:
            raise OSError(28, "No space left on device")
        super().append(data)


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_an_append_that_fails_can_be_made_again_and_loses_nothing(paths: SessionPaths, when: str) -> None:
    files = FailingFiles()
    queue, worker = SessionQueue(files, paths), Worker("a", 1, 1)
    (claim,) = queue.claim(worker, [], lambda state: (5, 5), 1)
    finishes = [Finish(claim.claim_id, (5, 0, 0, 0))]
    files.when = when
    with pytest.raises(OSError, match="No space"):
        queue.claim(worker, finishes, lambda state: (5, 5), 1)
    claims = queue.claim(worker, finishes, lambda state: (5, 5), 1)
    firsts = sorted(c.span.first for c in claims)
    assert firsts == ([6, 11] if when == "after" else [6])
    state = SessionQueue(Files(), paths).refresh()
    assert (state.counted, state.claimed) == (5, 5 * len(claims))


def test_nothing_is_claimed_of_a_paused_or_cancelled_session(paths: SessionPaths) -> None:
    queue = SessionQueue(Files(), paths)
    for state in (ledger.PAUSED, ledger.CANCELLED):
        queue.change(lambda _, state=state: [ledger.switched(state)])  # type: ignore[misc]
        assert queue.claim(Worker("a", 1, 1), [], lambda state: (5, 5), 1) == []


def test_a_missing_session_and_a_foreign_record_are_told(tmp_path: Path, paths: SessionPaths) -> None:
    with pytest.raises(NotFoundError, match="no session nowhere"):
        SessionQueue(Files(), SessionPaths(tmp_path / "nowhere")).refresh()
    Files().append(paths.ledger, encode_frame(b"\xc1"))
    with pytest.raises(CorruptionError, match="not a ledger record"):
        SessionQueue(Files(), paths).refresh()


def test_claiming_costs_the_same_at_the_end_as_at_the_start(tmp_path: Path) -> None:
    paths = make(tmp_path / "long", 10**12)

    class Counting(Files):
        read_bytes = 0

        def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
            data = super().read(path, offset, limit)
            Counting.read_bytes += len(data)
            return data

    queue, worker = SessionQueue(Counting(), paths), Worker("a", 1, 1)
    costs: list[int] = []
    finishes: list[Finish] = []
    for _ in range(300):
        before = Counting.read_bytes
        claims: list[Claim] = queue.claim(worker, finishes, lambda state: (10**6, 10**6), 1)
        finishes = [Finish(c.claim_id, (c.span.count, 0, 0, 0)) for c in claims]
        costs.append(Counting.read_bytes - before)
    assert max(costs[1:]) <= 2 * min(costs[1:])
    assert len(queue.state.claims) == 1


@pytest.fixture(autouse=True)
def files_are_closed() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_state_is_the_same_however_it_is_read(paths: SessionPaths) -> None:
    queue = SessionQueue(Files(), paths)
    seen = SessionQueue(Files(), paths)
    for _ in range(5):
        claims = queue.claim(Worker("a", 1, 1), [], lambda state: (5, 10), 1)
        seen.refresh()
        queue.claim(Worker("a", 1, 1), [Finish(claims[0].claim_id, (5, 0, 0, 0))], lambda state: (1, 0), 1)
    fresh: LedgerState = SessionQueue(Files(), paths).refresh()
    assert fresh == seen.refresh() == queue.state


class StaleFiles(Files):
    """A filesystem that shows an old copy of the file until this process has written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: bytes | None = None

    def freeze(self, path: Path) -> None:
        self.seen = path.read_bytes()

    def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
        return super().read(path, offset, limit) if self.seen is None else self.seen[offset:]

    @contextlib.contextmanager
    def extended(self, path: Path) -> Iterator[OpenedFile]:
        with super().extended(path) as opened:
            yield opened if self.seen is None else StaleFile(opened._system, opened._fd, self)


class StaleFile(OpenedFile):
    """What `StaleFiles` opens."""

    def __init__(self, system: System, fd: int, files: StaleFiles) -> None:
        super().__init__(system, fd)
        self.files = files

    def read(self, offset: int, limit: int) -> bytes:
        assert self.files.seen is not None
        return self.files.seen[offset : offset + limit]

    def append(self, data: bytes) -> None:
        super().append(data)
        self.files.seen = None


def test_a_writer_that_reads_an_old_copy_loses_its_claim_and_nothing_else(paths: SessionPaths) -> None:
    stale_files = StaleFiles()
    stale, fresh = SessionQueue(stale_files, paths), SessionQueue(Files(), paths)
    (mine,) = stale.claim(Worker("stale", 1, 1), [], lambda state: (5, 5), 1)
    stale_files.freeze(paths.ledger)
    (theirs,) = fresh.claim(Worker("fresh", 2, 1), [], lambda state: (5, 5), 1)
    got = stale.claim(Worker("stale", 1, 1), [Finish(mine.claim_id, (5, 0, 0, 0))], lambda state: (5, 5), 1)
    assert got == []
    assert stale.state == fresh.refresh()
    assert (stale.state.counted, [c.span for c in stale.state.claims.values()]) == (5, [theirs.span])
    (again,) = stale.claim(Worker("stale", 1, 1), [], lambda state: (5, 5), 1)
    assert (theirs.span.first, again.span.first) == (6, 11)


def test_nobody_decides_by_an_old_copy_that_one_opening_shows(paths: SessionPaths) -> None:
    class OneStaleLook(Files):
        """The next opening shows what was there; those after it the file."""

        old: bytes | None = None

        def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
            shown, self.old = self.old, None
            return super().read(path, offset, limit) if shown is None else shown[offset:]

    files = OneStaleLook()
    queue = SessionQueue(files, paths)
    queue.refresh()
    files.old = paths.ledger.read_bytes()
    SessionQueue(Files(), paths).change(lambda now: [ledger.switched(ledger.PAUSED)])
    seen: list[str] = []

    def decide(now: LedgerState) -> list[LedgerRecord]:
        seen.append(now.state)
        return []

    queue.change(decide)
    assert seen == [ledger.PAUSED]


def test_a_claim_beyond_the_end_of_a_search_that_was_stopped_meanwhile_is_void_and_no_damage(
    layout: SpoolLayout,
) -> None:
    paths = make_session(layout, 30)
    queue = SessionQueue(Files(), paths)
    queue.refresh()
    stale = ledger.claimed([Claim(1, Span(12, 5), "late", 7)], 1, 0)
    for record in (ledger.stopped(11, "max_time_s"), stale):
        Files().append(paths.ledger, encode_frame(ledger.pack(record)))
    state = queue.refresh()
    assert (state.n, state.claims) == (11, {})
    state.assert_consistent()


@pytest.mark.parametrize(
    "record",
    [
        ledger.extended(N, "as many as there are"),
        ledger.extended(1, "fewer"),
        ledger.stopped(N + 1, "behind the end"),
        ledger.opened(N),
        ledger.again([Span(N, 2)], (2, 0, 0, 0), "behind the end"),
    ],
    ids=lambda record: type(record).__name__,
)
@pytest.mark.parametrize("behind", [False, True], ids=["alone", "behind an extension"])
def test_a_record_that_cannot_stand_where_it_would_be_written_is_not_written(
    paths: SessionPaths, record: LedgerRecord, behind: bool
) -> None:
    queue, before = SessionQueue(Files(), paths), paths.ledger.read_bytes()
    queue.refresh()
    records = [ledger.extended(N + 1, "one more"), record] if behind else [record]
    if behind and isinstance(record, StopRecord | AgainRecord):
        # What was behind the end is within it now.
        queue.change(lambda state: records)
        assert SessionQueue(Files(), paths).refresh().opened_n == N + 1
        return
    with pytest.raises(CorruptionError, match="was not written"):
        queue.change(lambda state: records)
    assert paths.ledger.read_bytes() == before
    assert SessionQueue(Files(), paths).refresh().n == N
