"""What `retention:` asks for, carried out: archives written and read again, space freed, sessions removed.

Exactly safe under a kill at any instruction: nothing is removed before an archive of that very session was read back from
the disk under its final name; whoever goes on finds from the spool and the log where it was. One host at a time makes a
round (`round_lock`). A session that somebody asks more of meanwhile is left alone: see `arbd.results.retention.unchanged`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol

from arbd.analysis.archive import is_archived, write_archive
from arbd.errors import ArbdError, DamageWarning, DataError, UsageError
from arbd.results import retention
from arbd.results.trials import keep_before_purge
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.liveness import is_held, read_beats
from arbd.spool.locked_log import LockedLog
from arbd.spool.retention_log import ARCHIVED, PURGED, PURGING, SEGMENTS, Deed, Deeds, retention_log
from arbd.spool.retention_rules import Due, Keeping, Plan, RetentionRule, plan
from arbd.spool.session_index import Ended, ended_sessions
from arbd.spool.system import Clock, HeldLock
from arbd.values import dataclass

# By so much no calendar may be wrong where sessions go by their age.
CALENDARS_APART_S = 3600.0
ARCHIVE_SUFFIX = ".arbd-part"
ARCHIVE_LOCK = ".arbd-archive.lock"
MOST_NAMES = 10_000


class Archiver(Protocol):
    """Where archives go."""

    def archive(self, files: Files, paths: SessionPaths, state: LedgerState) -> str:
        """Where an archive of the session is: whole, durable, read back. One that is there already is used again."""
        ...

    def holds(self, files: Files, paths: SessionPaths, state: LedgerState, place: str) -> bool:
        """True when what is at that place, read from the disk, is an archive of the session as it is now."""
        ...


@dataclass(slots=True)
class FolderArchiver:
    """Archives as files of a folder that is there: SESSION.tar.gz, SESSION.2.tar.gz where another has that name."""

    folder: Path

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold off other spools' rounds, and remove what killed ones left half-written. UsageError when there is no folder."""
        if not self.folder.is_dir():
            raise UsageError(f"retention.archive_dir {self.folder}: there is no such folder; make it, or mount it")
        with Files().lock(self.folder / ARCHIVE_LOCK, 1.0):
            for left in self.folder.glob(f".*{ARCHIVE_SUFFIX}"):
                left.unlink(missing_ok=True)
            yield

    def archive(self, files: Files, paths: SessionPaths, state: LedgerState) -> str:
        """See `Archiver`."""
        for number in range(1, MOST_NAMES):
            target = self.folder / f"{paths.session_id}{f'.{number}' if number > 1 else ''}.tar.gz"
            if not target.exists():
                write_archive(files, paths, state, target, suffix=ARCHIVE_SUFFIX)
                return str(target)
            if is_archived(files, paths, state, target):
                return str(target)
        raise UsageError(
            f"{self.folder} has {MOST_NAMES:,} archives of sessions named {paths.session_id}: move them away"
        )

    def holds(self, files: Files, paths: SessionPaths, state: LedgerState, place: str) -> bool:
        """See `Archiver`."""
        return is_archived(files, paths, state, Path(place))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one session: `what` was done, in words of the log, or the `error`."""

    session_id: str
    what: str
    error: str = ""
    freed_bytes: int = 0
    archive: str = ""


def round_lock(files: Files, layout: SpoolLayout) -> HeldLock | None:
    """The lock of whoever makes a round, for as long as it lives; None while another does."""
    files.make_folder(layout.retention)
    return files.try_lock(layout.retention / "round.lock")


@dataclass(slots=True)
class Retainer:
    """One round of one host, which holds the round's lock. Not thread-safe. `may_go_on` is asked before each session."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    rules: tuple[RetentionRule, ...]
    archiver: Archiver | None
    host: str
    may_go_on: Callable[[], bool] = lambda: True
    deeds: Deeds = field(default_factory=Deeds)
    _log: LockedLog[Deed] = field(init=False)
    _ended: Mapping[str, Ended] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._log = retention_log(self.files, self.layout)

    def run(self) -> Iterator[Outcome]:
        """Everything that is due, a session at a time. UsageError when calendars are too far apart to go by."""
        self.require_calendar()
        self.deeds.fold(self._log.read_new())
        yield from self._end_begun()
        for due in self.plan().now:
            if not self.may_go_on():
                return
            try:
                with warnings.catch_warnings():
                    # What is damaged is looked at by a person first.
                    warnings.simplefilter("error", DamageWarning)
                    yield self._carry_out(due)
            except (ArbdError, OSError, TimeoutError, DamageWarning) as error:
                yield Outcome(due.session_id, due.action.value, str(error) or type(error).__name__)

    def plan(self) -> Plan:
        """What is due, as of the log that was read."""
        names = self.files.names(self.layout.sessions)
        self._ended = ended_sessions(self.files, self.layout, (name for name in names if not name.startswith(".")))
        return plan(self.rules, self._ended, self.deeds, self.clock.wall_ns())

    def _is_due(self, fresh: Ended, due: Due) -> bool:
        """True when what its ledger says leads to the same: the index may be behind that."""
        if fresh.ended_ns == due.ended.ended_ns:
            return True
        found = plan(self.rules, {**self._ended, due.session_id: fresh}, self.deeds, self.clock.wall_ns())
        return any((one.session_id, one.action) == (due.session_id, due.action) for one in found.now)

    def require_calendar(self) -> None:
        """UsageError when this host's calendar is far from the file server's, or from a live worker's.

        Keeps a host whose calendar is wrong from removing what is young. Nothing is decided by it but to wait.
        """
        self.files.make_folder(self.layout.retention)
        probe = self.layout.retention / "calendar"
        self.files.publish(probe, b"the time of the file server\n")
        found = self.files.look(probe)
        told = {"the file server": found.mtime_ns} if found is not None else {}
        for beat in read_beats(self.files, self.layout):
            wall_ns = beat.about.get("wall_ns")
            if isinstance(wall_ns, int) and is_held(self.files, self.layout, beat.worker_id):
                told[f"worker {beat.worker_id}"] = wall_ns
        now_ns = self.clock.wall_ns()
        for who, wall_ns in told.items():
            if abs(now_ns - wall_ns) > CALENDARS_APART_S * 1e9:
                raise UsageError(
                    f"the calendar of this host and that of {who} are {abs(now_ns - wall_ns) / 3.6e12:.1f} h apart: "
                    "nothing is kept or removed by age; start chrony or systemd-timesyncd"
                )

    def _end_begun(self) -> Iterator[Outcome]:
        """What a kill interrupted: a session that is gone was purged; one that is there was not, and rules decide anew."""
        there = set(self.files.names(self.layout.sessions))
        for session_id, begun in list(self.deeds.begun.items()):
            if session_id not in there:
                self._note(session_id, PURGED, begun.ended_ns, begun.archive, begun.freed_bytes, begun.reason)
                yield Outcome(session_id, PURGED, freed_bytes=begun.freed_bytes, archive=begun.archive)

    def _carry_out(self, due: Due) -> Outcome:
        session_id, paths = due.session_id, self.layout.session(due.session_id)
        state = retention.require_over(self.files, self.layout, session_id)
        if not self._is_due(Ended.of(session_id, state), due):
            raise UsageError(f"session {session_id} has ended anew, and is not due any more")
        ledger = retention.ledger_digest(self.files, paths)
        why = f"rule {due.rule}: {self.rules[due.rule - 1].text()}"
        with retention.alone(self.files, paths):
            if due.action is Keeping.SEGMENTS:
                return self._free_segments(due, state, ledger, why)
            place = ""
            if due.action.needs_archive:
                place = self._archived(due, paths, state, why)
            if not due.action.ends_it:
                return Outcome(session_id, ARCHIVED, archive=place)
            return self._purge(due, paths, ledger, place, why)

    def _free_segments(self, due: Due, state: LedgerState, ledger: bytes, why: str) -> Outcome:
        paths = self.layout.session(due.session_id)
        freed = 0
        # Of a session that was cancelled they are all that there is.
        if state.done and self.files.names(paths.segments):
            kept = retention.require_compacted(self.files, paths, state)
            freed = retention.remove_segments(self.files, self.layout, due.session_id, kept, ledger)
        self._note(due.session_id, SEGMENTS, due.ended.ended_ns, "", freed, why)
        return Outcome(due.session_id, SEGMENTS, freed_bytes=freed)

    def _archived(self, due: Due, paths: SessionPaths, state: LedgerState, why: str) -> str:
        assert self.archiver is not None, "settings without a folder for archives have no such rule"
        place = self.archiver.archive(self.files, paths, state)
        if ARCHIVED not in self.deeds.done.get((due.session_id, due.ended.ended_ns), ()):
            self._note(due.session_id, ARCHIVED, due.ended.ended_ns, place, 0, why)
        if due.action.ends_it and not self.archiver.holds(self.files, paths, state, place):
            raise DataError(place, f"does not read back as session {due.session_id}, which is kept; check that disk")
        return place

    def _purge(self, due: Due, paths: SessionPaths, ledger: bytes, place: str, why: str) -> Outcome:
        session_id = due.session_id
        freed = sum(found.size for found in retention.everything_of(self.files, paths))
        # Luck does not become less by forgetting how often it was tried.
        keep_before_purge(self.files, self.layout, session_id)
        self._note(session_id, PURGING, due.ended.ended_ns, place, freed, why)
        retention.remove_session(self.files, self.layout, session_id, ledger)
        self._note(session_id, PURGED, due.ended.ended_ns, place, freed, why)
        return Outcome(session_id, PURGED, freed_bytes=freed, archive=place)

    def _note(self, session_id: str, what: str, ended_ns: int, place: str, freed: int, why: str) -> None:
        deed = Deed(
            session_id=session_id, what=what, ended_ns=ended_ns, host=self.host, wall_ns=self.clock.wall_ns(),
            archive=place, freed_bytes=freed, reason=why,
        )  # fmt: skip
        self._log.append([deed])
        self.deeds.fold([deed])
