"""Fires standing jobs: any worker, exactly once for each time that is due.

Keeps I4: under the job's lock the new job is written to `next-*.yaml`, the log gets a `fire` record, the job goes into
`incoming/`, the log gets a `fired` record, each durable before the next. Whoever finds the third without the fourth asks
whether the job is there, and drops the same bytes under the same name if not; a second copy meets the session that was
made of the first one and goes (see `Intake`).

On I3: due times are by the calendar of whichever worker looks, since a calendar is what people ask for; which times are
fired already is not. A wrong clock can fire a time early, and no clock can fire one twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field

from arbd.errors import ArbdError, NotFoundError, VersionError
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.dropped import find_dropped
from arbd.spool.files import Files
from arbd.spool.job_file import MAX_JOB_BYTES, resolved
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists
from arbd.spool.standing.calendar import Due, latest_due, next_due
from arbd.spool.standing.folder import NEXT, StandingFolder, digest_of, standing_names
from arbd.spool.standing.records import (
    MAX_TEXT_CHARS,
    FiredRecord,
    FireRecord,
    Setting,
    StandingJob,
    StandingState,
    TroubleRecord,
)
from arbd.spool.system import Clock, HeldLock
from arbd.values import dataclass

INTERVAL_S = 1.0
# After a firing that could not be prepared.
RETRY_S = 60.0
DATA_CHARS = 10
DUE_FORM = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|[0-9a-f]{{{DATA_CHARS}}}(-[0-9]+)?|asked-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Firing:
    """A session that a standing job is to make: for which time, and why. `after_ns`: it stands for all since then."""

    due: Due
    after_ns: int
    session: str
    cause: str
    data: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The job of a firing: its bytes, what it starts from, and the standing setting that it evaluates first."""

    data: bytes
    warm: str = ""
    setting: Setting | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a standing job stands, for logs and monitoring. Times are UTC in ns, 0 for none.

    `wants_looks` when something is to be done, or may be at any time.
    """

    name: str
    state: str
    wants_looks: bool = False
    last_fired_ns: int = 0
    next_due_ns: int = 0
    waits: str = ""
    trouble: str = ""


Write = Callable[[StandingFolder, Firing], Written]
# The digest of a job's data once it stands still; None while that is not known.
LookAtData = Callable[[StandingFolder], str | None]


@dataclass(slots=True)
class StandingJobs:
    """All standing jobs of a spool, as one worker sees to them. Not thread-safe. `fired` are the sessions of this turn."""

    files: Files
    layout: SpoolLayout
    clock: Clock
    worker_id: str
    write: Write
    look_at_data: LookAtData
    fired: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    _folders: dict[str, StandingFolder] = field(default_factory=dict)
    _waits: dict[str, str] = field(default_factory=dict)
    _queues: dict[str, SessionQueue] = field(default_factory=dict)
    _retry_s: dict[str, float] = field(default_factory=dict)
    _taken_up: set[str] = field(default_factory=set)
    _next_s: float = 0.0

    def turn(self) -> bool:
        """Fire what is due; False when it is too early for another look. OSError when the spool cannot be read."""
        now_s = self.clock.monotonic_s()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + INTERVAL_S
        self.fired, self._waits, self.troubles = [], {}, {}
        names = standing_names(self.files, self.layout)
        self._folders = {name: folder for name, folder in self._folders.items() if name in names}
        for name in names:
            folder = self._folders.setdefault(name, StandingFolder(self.files, self.layout, name))
            try:
                self._see_to(folder)
            except (ArbdError, OSError) as error:
                # One job's trouble is not the others'.
                self.troubles[name] = str(error)
        return True

    def overview(self) -> tuple[Standing, ...]:
        """How all of them stand, but those that were removed."""
        return tuple(
            standing_of(folder.state, self.clock.wall_ns(), self._waits.get(name, ""), self.troubles.get(name, ""))
            for name, folder in self._folders.items()
            if folder.state.state is not StandingState.REMOVED
        )

    def _see_to(self, folder: StandingFolder) -> None:
        state = folder.refresh()
        if state.pending:
            self._locked(folder, lambda held: self._drop_again(folder))
        elif state.state is StandingState.ACTIVE and self.clock.monotonic_s() >= self._retry_s.get(folder.name, 0.0):
            firing = self._due(folder)
            if firing is not None and self._is_free(folder):
                self._locked(folder, lambda held: self._fire(folder, held))
            elif refused := self._refused(state):
                self._locked(folder, lambda held: self._note(folder, refused))

    def _locked(self, folder: StandingFolder, do: Callable[[HeldLock], None]) -> None:
        """Unless another worker is at it."""
        held = self.files.try_lock(folder.lock)
        if held is None:
            return
        try:
            folder.refresh()
            do(held)
        finally:
            held.release()

    # -- what is due

    def _due(self, folder: StandingFolder) -> Firing | None:
        state = folder.state
        if state.state is not StandingState.ACTIVE or state.pending:
            return None
        if state.wanted is not None:
            return self._asked(state)
        if state.schedule.on_data:
            return self._new_data(folder)
        now_ns = self.clock.wall_ns()
        due = latest_due(state.schedule, now_ns)
        if due is None or not state.owes(due, now_ns):
            return None
        after_ns = state.covered_ns(due)
        before = latest_due(state.schedule, due.wall_ns - 1)
        missed = before is not None and before.wall_ns > after_ns
        notes = ("earlier times were missed; this one stands for them",) if missed else ()
        cause = f"due {due.label} at {state.schedule.at} {state.schedule.timezone}"
        return Firing(due, after_ns, f"{state.name}-{due.label}", cause, notes=notes)

    def _asked(self, state: StandingJob) -> Firing:
        """Somebody wants one now. It stands for no time of the calendar."""
        assert state.wanted is not None
        numbers = [int(found[2]) for fire in state.fires if (found := DUE_FORM.fullmatch(fire.due)) and found[2]]
        label, now_ns = f"asked-{1 + max(numbers, default=0)}", self.clock.wall_ns()
        last = state.last
        return Firing(
            Due(label, now_ns), now_ns, f"{state.name}-{label}", f"asked for by {state.wanted.user}",
            last.data if last is not None else "",
        )  # fmt: skip

    def _new_data(self, folder: StandingFolder) -> Firing | None:
        state, digest = folder.state, self.look_at_data(folder)
        last = state.last
        if digest is None or (last is not None and last.data == digest):
            return None
        short = digest[:DATA_CHARS]
        before = sum(1 for fire in state.fires if fire.due.startswith(short))
        label = f"{short}-{before + 1}" if before else short
        now_ns = self.clock.wall_ns()
        return Firing(Due(label, now_ns), now_ns, f"{state.name}-{label}", "data changed", digest)

    def _is_free(self, folder: StandingFolder) -> bool:
        """One session at a time: a time that comes before the last session is over waits for its end."""
        last = folder.state.last
        waits = "" if last is None else self._unfinished(last.session)
        if waits:
            self._waits[folder.name] = waits
        return not waits

    def _unfinished(self, session: str) -> str:
        """Why a session that was fired is not over; '' when it is, or is gone."""
        paths = self.layout.session(session)
        if not exists(self.files, paths):
            self._queues.pop(session, None)
            dropped = find_dropped(self.files, self.layout, session)
            if dropped is None or dropped.path.parent == self.layout.rejected:
                return ""
            return f"the job of session {session}, the one before, {dropped.line}"
        queue = self._queues.setdefault(session, SessionQueue(self.files, paths))
        try:
            state = queue.refresh()
        except (NotFoundError, FileNotFoundError):
            return ""
        if state.over:
            self._queues.pop(session, None)
            return ""
        return f"session {session}, the one before, is {state.label()}"

    def _refused(self, state: StandingJob) -> str:
        """What is to be noted of the last session's job, which was refused; '' where it was not, or is noted."""
        last = state.last
        if last is None or state.trouble is not None or last.session in self._taken_up:
            return ""
        dropped = None
        if not exists(self.files, self.layout.session(last.session)):
            dropped = find_dropped(self.files, self.layout, last.session)
            if dropped is not None and dropped.path.parent != self.layout.rejected:
                return ""
        self._taken_up.add(last.session)
        return "" if dropped is None else f"the job of session {last.session} was rejected: {dropped.reason}"

    # -- firing

    def _fire(self, folder: StandingFolder, held: HeldLock) -> None:
        """Under the lock, after another look at the log."""
        firing = self._due(folder)
        if firing is None:
            return
        name = folder.name
        try:
            written = resolved(lambda data, source: self.write(folder, firing), b"", name)
        except VersionError:
            raise
        except ArbdError as error:
            self._retry_s[name] = self.clock.monotonic_s() + RETRY_S
            self._note(folder, str(error))
            return
        digest = digest_of(written.data)
        self.files.publish(folder.next_job(digest), written.data)
        if not held.is_ours():
            # This host was cut off for too long; whoever has the lock now does it.
            return
        folder.append(
            [
                FireRecord(
                    due=firing.due.label, due_ns=firing.due.wall_ns, after_ns=firing.after_ns, session=firing.session,
                    cause=firing.cause, digest=digest, data=firing.data, by=self.worker_id,
                    wall_ns=self.clock.wall_ns(), warm=written.warm, setting=written.setting,
                    notes=(*firing.notes, *written.notes),
                )
            ]
        )  # fmt: skip
        self._drop(folder, firing.session, written.data)

    def _note(self, folder: StandingFolder, why: str) -> None:
        """Keep for all to see what keeps it from firing, unless that stands there."""
        why = why[:MAX_TEXT_CHARS]
        if folder.state.trouble is None or folder.state.trouble.why != why:
            folder.append([TroubleRecord(why=why, by=self.worker_id, wall_ns=self.clock.wall_ns())])

    def _drop_again(self, folder: StandingFolder) -> None:
        """A crash came between the two records of a firing."""
        fire = folder.state.last
        if fire is None or not folder.state.pending:
            return
        if exists(self.files, self.layout.session(fire.session)) or find_dropped(self.files, self.layout, fire.session):
            self._fired(folder, fire.session)
            return
        self._drop(folder, fire.session, self.files.read(folder.next_job(fire.digest), limit=MAX_JOB_BYTES + 1))

    def _drop(self, folder: StandingFolder, session: str, data: bytes) -> None:
        target = self.layout.incoming / f"{session}{SUBMITTED_SUFFIX}"
        # Only who holds the lock writes it.
        self.files.remove_temporaries(self.layout.incoming, target.name)
        self.files.publish(target, data)
        self._fired(folder, session)
        self.fired.append(session)

    def _fired(self, folder: StandingFolder, session: str) -> None:
        folder.append([FiredRecord(session=session, by=self.worker_id, wall_ns=self.clock.wall_ns())])
        for name in self.files.names(folder.path):
            if name.startswith(NEXT):
                self.files.remove(folder.path / name)
        self.files.remove_temporaries(folder.path, NEXT)


def standing_of(state: StandingJob, now_ns: int, waits: str = "", trouble: str = "") -> Standing:
    """How a standing job stands at `now_ns` by this clock. UsageError where this host does not know its time zone."""
    due = None
    if state.state is StandingState.ACTIVE and not state.schedule.on_data:
        latest = latest_due(state.schedule, now_ns)
        due = latest if latest is not None and state.owes(latest, now_ns) else next_due(state.schedule, now_ns)
        while due is not None and due.wall_ns > now_ns and not state.owes(due, now_ns):
            due = next_due(state.schedule, due.wall_ns)
    told = trouble or (state.trouble.why if state.trouble is not None else "")
    last, next_ns = state.fires[-1].wall_ns if state.fires else 0, due.wall_ns if due is not None else 0
    active = state.state is StandingState.ACTIVE
    is_due = state.schedule.on_data or state.wanted is not None or (due is not None and next_ns <= now_ns)
    return Standing(state.name, state.state.value, state.pending or (active and is_due), last, next_ns, waits, told)
