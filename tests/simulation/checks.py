"""What must hold, whatever happened: checked while the simulation runs, and at its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgpack
import numpy as np

from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import decode_rows
from arbd.results.segments import SUFFIX
from arbd.results.store_reader import read_results
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner
from arbd.search.phase_planner import PhasePlanner
from arbd.search.plan import RUN, NonAdaptivePlan, PlannedRows, join
from arbd.search.trial_history import TrialResults
from arbd.search.versions import sampler_versions
from arbd.spool.files import TEMPORARY_SUFFIX, Files
from arbd.spool.frames import scan_frames
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED, CRASHED, FAILED, TIMEOUT, LedgerState
from arbd.spool.ledger_records import (
    LEDGER,
    ClaimRecord,
    DoneRecord,
    ExtendRecord,
    FinishRecord,
    LedgerRecord,
    RevokeRecord,
)
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids
from arbd.spool.spans import Span
from arbd.spool.system import FileStatus
from tests.simulation.daemon import SimDaemon
from tests.simulation.disk import Disk, Handle, Inode
from tests.simulation.side import TIMING
from tests.simulation.slot import Objective
from tests.simulation.world import World

# Judged dead while beating: a heartbeat that others could see this recently is a sign of life.
ALIVE_S = 1.5 * TIMING.beat_s
# From judging a worker dead until the record is written: it may have come back meanwhile.
JUDGEMENT_S = 15.0


def undisturbed(spec: JobSpec, objective: Objective, sizes: Sequence[int] = ()) -> PlannedRows:
    """What a session comes to on which one worker works, one iteration after the other, up to where it ends.

    With `sizes` it had that many iterations, one after the other: it was extended each time that it was done.
    """
    if not spec.generation_size:
        return NonAdaptivePlan(spec).rows(1, spec.n)
    made: list[Generation] = []
    for n in sizes or (spec.n,):
        made = _searched(replace(spec, n=n), objective, made)
    return join([generation.rows for generation in made])


def _searched(spec: JobSpec, objective: Objective, before: Sequence[Generation]) -> list[Generation]:
    """The generations of a search; `before` are those that it had when it was shorter."""
    kind = GenerationPlanner if spec.validation is None else PhasePlanner
    planner, layout = kind(spec, sampler_versions(spec.method)), spec.layout
    made: list[Generation] = []
    odd = objective.failing | objective.crashing | objective.hanging
    told = 0
    for number in range(1, spec.generations + 1):
        while told < len(made) and layout.last_of(told + 1) <= layout.known_before(number):
            rows, iterations = made[told].rows, np.arange(made[told].first, layout.last_of(told + 1) + 1)
            xs = rows.columns["x"].tolist()
            values = [objective.value(i, x) for i, x in zip(iterations.tolist(), xs, strict=True)]
            completed = np.array([i not in odd for i in iterations.tolist()])
            planner.learn(
                TrialResults(
                    iterations, completed, rows.origin, rows.columns, {"value": np.where(completed, values, np.nan)}
                )
            )
            told += 1
        pending = [made[at - 1] for at in planner.pending(number)]
        had = before[number - 1] if number <= len(before) else None
        if had is not None and len(had.rows) == layout.last_of(number) - had.first + 1:
            made.append(had)
            continue
        generation = planner.generation(number, pending)
        if had is not None:
            generation = _goes_on(planner, had, generation, pending)
        if generation.stop:
            break
        made.append(generation)
    return made


def _goes_on(
    planner: GenerationPlanner | PhasePlanner, had: Generation, whole: Generation, pending: Sequence[Generation]
) -> Generation:
    """The last generation of a shorter search in a longer one: what it had, and what the method adds to that."""
    assert isinstance(planner, GenerationPlanner)
    have = len(had.rows)
    if all(np.array_equal(column[:have], had.rows.columns[name]) for name, column in whole.rows.columns.items()):
        return whole
    waiting = join([*(each.rows for each in pending), had.rows])
    up_to = planner.schedule.known_before(had.number)
    rest = planner.points(had.first + have, len(whole.rows) - have, up_to, waiting)
    return replace(had, rows=join([had.rows, rest]))


class ViolationError(BaseException):
    """An invariant does not hold. No code under test may catch it."""


class Inspector:
    """Reads the server's disk from outside of the simulated time: `System`, as far as readers need it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: list[Inode] = []

    def open(self, path: Path, flags: int, mode: int = 0) -> int:
        assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), "looks only"
        self._open.append(self._disk.find(path))
        return len(self._open) - 1

    def close(self, fd: int) -> None:
        if fd == len(self._open) - 1:
            self._open.pop()

    def read(self, fd: int, offset: int, limit: int) -> bytes:
        return self._open[fd].data[offset : offset + limit]

    def names(self, folder: Path) -> list[str]:
        return list(self._disk.find(folder).entries or ())

    def look(self, path: Path) -> FileStatus:
        inode = self._disk.find(path)
        return FileStatus(0, len(inode.data), 0, inode.number)

    def status(self, fd: int) -> FileStatus:
        inode = self._open[fd]
        return FileStatus(0, len(inode.data), 0, inode.number)


@dataclass
class _Ledger:
    state: LedgerState = field(default_factory=LedgerState)
    offset: int = 0


@dataclass
class _Rows:
    found: set[tuple[int, int]] = field(default_factory=set)
    offset: int = 0


class Checks:
    """Watches every change on the server's disk."""

    def __init__(self, world: World, disk: Disk, layout: SpoolLayout, daemons: list[SimDaemon]) -> None:
        self.world, self.disk, self.layout, self.daemons = world, disk, layout, daemons
        self.files = Files(Inspector(disk))  # type: ignore[arg-type]
        self._ledgers: dict[int, _Ledger] = {}
        self._rows: dict[int, _Rows] = {}
        self._beats: dict[int, float] = {}
        self.longest_gap_s = 0.0
        self._silent: dict[int, float] = {}
        self._haunted: set[int] = set()
        self._done_at: dict[str, float] = {}
        self.revocations = 0
        self.on_claim: Callable[[str, int], None] | None = None
        disk.watch = self._changed

    @property
    def has_overwritten(self) -> bool:
        """True when somebody who was away for longer than the lease wrote to a ledger."""
        return bool(self._haunted)

    def power_was_cut(self) -> None:
        """What was not durable is gone; records that stayed were checked when they were written."""
        self._ledgers.clear()

    def _changed(self, handle: Handle, before: bytes, after: bytes) -> None:
        name = handle.path.name
        if name == "ledger":
            # Who was away for longer than the lease writes under a lock that is another's by now. No file server
            # prevents that; compaction makes up for what it destroys.
            if handle.outlived_lease or handle.host.lost_locks > 0:
                self._haunted.add(handle.inode.number)
            if not after.startswith(before) and handle.inode.number not in self._haunted:
                raise ViolationError(f"I4: records in {handle.path} were written over")
            self._read_ledger(handle.path.parent.name, handle.inode, after)
        elif name.endswith(SUFFIX) and not after.startswith(before):
            raise ViolationError(f"I2: rows in {handle.path} were written over")
        elif name.endswith(".beat"):
            frames = scan_frames(after).frames
            if frames:
                incarnation = msgpack.unpackb(frames[0].payload)["incarnation"]
                self.longest_gap_s = max(
                    self.longest_gap_s, self.world.now - self._beats.get(incarnation, self.world.now)
                )
                if self.world.now - self._beats.get(incarnation, 0.0) >= ALIVE_S:
                    self._silent[incarnation] = self.world.now
                self._beats[incarnation] = self.world.now

    def _read_ledger(self, session_id: str, inode: Inode, content: bytes) -> None:
        ledger = self._ledgers.get(inode.number)
        fresh = ledger is None
        if ledger is None:
            ledger = self._ledgers[inode.number] = _Ledger()
        scan = scan_frames(content[ledger.offset :])
        for frame in scan.frames:
            record = LEDGER.decode(frame.payload)
            if not fresh:
                self._check_record(session_id, ledger.state, record)
            ledger.state.fold(record)
        ledger.offset += scan.good_end

    def _check_record(self, session_id: str, state: LedgerState, record: LedgerRecord) -> None:
        if isinstance(record, DoneRecord):
            self._done_at.setdefault(session_id, self.world.now)
        elif isinstance(record, ExtendRecord):
            self._done_at.pop(session_id, None)
        elif isinstance(record, FinishRecord):
            for finish in record.finishes:
                claim = state.claims.get((record.incarnation, finish.claim_id))
                if claim is not None:
                    returned = [part.span() for part in finish.returned]
                    self._check_durable(session_id, record.incarnation, claim.span, returned)
        elif isinstance(record, ClaimRecord) and self.on_claim is not None:
            versions = (d.process.version for d in self.daemons if d.incarnation == record.incarnation)
            self.on_claim(session_id, next(versions))
        elif isinstance(record, RevokeRecord):
            self._check_dead(record.incarnation)

    def _check_durable(self, session_id: str, incarnation: int, span: Span, returned: list[Span]) -> None:
        durable = self._durable_rows(session_id, incarnation)
        given_back = {i for part in returned for i in range(part.first, part.first + part.count)}
        for iteration in range(span.first, span.first + span.count):
            if iteration not in given_back and (iteration, span.epoch) not in durable:
                raise ViolationError(f"I2: {session_id} iteration {iteration} is recorded as finished but not durable")

    def _durable_rows(self, session_id: str, incarnation: int) -> set[tuple[int, int]]:
        folder = self.disk.find_durable(self.layout.session(session_id).segments)
        found: set[tuple[int, int]] = set()
        for name, inode in (folder.durable_entries if folder is not None else {}).items():
            if f"-{incarnation:016x}-" in name:
                rows = self._rows.setdefault(inode.number, _Rows())
                scan = scan_frames(inode.durable[rows.offset :])
                rows.offset += scan.good_end
                for frame in scan.frames:
                    batch = decode_rows(frame.payload)
                    rows.found |= set(zip(batch.iteration.tolist(), batch.epoch.tolist(), strict=True))
                found |= rows.found
        return found

    def _check_dead(self, incarnation: int) -> None:
        self.revocations += 1
        for daemon in self.daemons:
            if daemon.incarnation == incarnation and daemon.process.alive and not daemon.exited:
                silent_s = self.world.now - self._beats.get(incarnation, float("-inf"))
                steady_s = self.world.now - self._silent.get(incarnation, float("-inf"))
                if silent_s < ALIVE_S and steady_s > JUDGEMENT_S:
                    raise ViolationError(
                        f"I8: {daemon.process.name} lives, beat {silent_s:.2f} s ago, and its work was taken away"
                    )

    def is_done(self, session_id: str) -> bool:
        """True when a session is compacted."""
        try:
            return SessionQueue(self.files, self.layout.session(session_id)).refresh().done
        except ArbdError:
            return False

    def check_results(self, objectives: Mapping[str, Objective], sizes: Mapping[str, Sequence[int]]) -> None:
        """I1, I5: each iteration once, with the status and the numbers that it has anywhere.

        `sizes` are the numbers of iterations that sessions were given, one after the other, where they were extended.
        """
        there = set(session_ids(self.files, self.layout))
        if there != set(objectives):
            raise ViolationError(f"I4: sessions {sorted(there)} instead of {sorted(objectives)}")
        for session_id, objective in objectives.items():
            self._check_session(session_id, objective, sizes.get(session_id, ()))

    def _check_session(self, session_id: str, objective: Objective, sizes: Sequence[int]) -> None:
        paths = self.layout.session(session_id)
        spec = read_spec(self.files, paths)
        state = SessionQueue(self.files, paths).refresh()
        if not state.done:
            raise ViolationError(f"I1: {session_id} does not come to its end: {state}")
        groups = list(read_results(self.files, paths))
        iteration = np.concatenate([group.rows.iteration for group in groups])
        if sizes and spec.n != sizes[-1]:
            raise ViolationError(f"I4: {session_id} was extended to {sizes}, and has {spec.n} iterations")
        right = undisturbed(spec, objective, sizes)
        self._check_end(session_id, spec, len(right), state)
        right = right.select(slice(0, state.n))
        # A point that stood before shares the fate of the iteration that had it first.
        numbers = np.where(right.origin > 0, right.origin, np.arange(1, state.n + 1))
        if iteration.tolist() != list(range(1, state.n + 1)):
            raise ViolationError(f"I1: {session_id} has iterations {iteration.tolist()} of {state.n}")
        status = np.concatenate([group.rows.status for group in groups])
        special = {FAILED: objective.failing, CRASHED: objective.crashing, TIMEOUT: objective.hanging}
        expected = np.full(state.n, COMPLETED)
        for code, iterations in special.items():
            expected[np.isin(numbers, list(iterations)) & (right.origin >= RUN)] = code
        if not np.array_equal(status, expected):
            raise ViolationError(f"I5: {session_id} has statuses {status.tolist()} instead of {expected.tolist()}")
        for name, column in right.columns.items():
            if not np.array_equal(np.concatenate([group.rows.params[name] for group in groups]), column):
                raise ViolationError(f"I5: {session_id} has other values of {name}")
        value = np.concatenate([g.rows.metrics.get("value", np.full(len(g.rows), np.nan)) for g in groups])
        pairs = zip(numbers.tolist(), right.columns["x"].tolist(), strict=True)
        values = np.array([objective.value(i, x) for i, x in pairs])
        completed = (expected == COMPLETED) & (right.origin >= RUN)
        if not np.array_equal(value[completed], values[completed]):
            raise ViolationError(f"I5: {session_id} has other metrics")
        if state.counts != [int(np.sum(expected == code)) for code in range(4)]:
            raise ViolationError(f"I1: {session_id} counts {state.counts}")

    def _check_end(self, session_id: str, spec: JobSpec, right: int, state: LedgerState) -> None:
        """A rule that looks at results ends a session at the same iteration everywhere; time does where it likes."""
        if state.n != right and not (spec.stop.max_time_s is not None and state.n < right and state.stopped):
            raise ViolationError(f"I5: {session_id} ends after {state.n} iterations instead of {right}")

    def check_heartbeats(self) -> None:
        """Where nothing happened, no worker was silent for long, whatever its jobs cost."""
        if self.longest_gap_s > 3 * TIMING.beat_s:
            raise ViolationError(f"I8: {self.longest_gap_s:.1f} s between two heartbeats, of {TIMING.beat_s:g} s")

    def check_leftovers(self) -> None:
        """I4: nothing is left that a person would have to clean up."""
        left = self.leftovers()
        if left:
            raise ViolationError(f"I4: left over are {left}")

    def leftovers(self) -> list[str]:
        """Temporary files and folders, and jobs that are on their way."""
        left = [name for name in self.files.names(self.layout.sessions) if name.startswith(".")]
        left += [*self.files.names(self.layout.accepting), *self.files.names(self.layout.taken)]
        for session_id in session_ids(self.files, self.layout):
            folder = self.layout.session(session_id).folder
            left += [
                name
                for name in self.files.names(self.layout.session(session_id).generations)
                if name.endswith(TEMPORARY_SUFFIX)
                and self.disk.find(self.layout.session(session_id).generations / name).changed_at
                < self._done_at.get(session_id, 0.0)
            ]
            # Whoever compacts once more, because an old copy of the ledger told it to, may be at it right now.
            left += [
                name
                for name in self.files.names(folder)
                if name.endswith(TEMPORARY_SUFFIX)
                and self.disk.find(folder / name).changed_at < self._done_at.get(session_id, 0.0)
            ]
        return left
