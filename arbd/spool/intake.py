"""From a file in `incoming/` to a session, or to `rejected/` with the reason.

Keeps I4: a job is taken up by one rename to a name that says by whom and for the how manieth time, and its session is
made under its final name, of which the last step is atomic. So after a crash it is either still in `incoming/` (or its
hidden `.taken/`, from where the next attempt finishes it) or a whole session. A job whose attempts do not come to an
end is refused after some. Keeps I7: only regular files of bounded size are read, and they are parsed with limits.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import field
from pathlib import Path

from msgspec.structs import replace

from arbd.errors import ArbdError, JobError, VersionError
from arbd.spool.arrivals import Arrivals, Turns, is_hopeless
from arbd.spool.files import Files
from arbd.spool.held import Held, Taker, same_job
from arbd.spool.job_array import ArrayMaking, JobArray, is_made_of, not_overwritten
from arbd.spool.job_file import Submitters, name_fault, no_limits, plain_name, read_job, resolved, submitted
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.spool.leftovers import Leftovers
from arbd.spool.outcomes import Accepted, AcceptedArray, Outcome, Rejected, Stands
from arbd.spool.provenance import Submission
from arbd.spool.refusals import HostRefusals
from arbd.spool.rejected import reject
from arbd.spool.sessions import ResolvedJob, SessionExistsError, create_session, exists, new_session_id
from arbd.spool.standing.folder import FIRED_LINE, StandingSpec, open_standing, submission_of
from arbd.spool.system import Clock, FileStatus
from arbd.terminal_text import escape_line
from arbd.values import dataclass

# Attempts that end with their process are the job's doing; with their worker, they may be chance.
MAX_CRASHES, MAX_ATTEMPTS = 3, 10
# Jobs of one turn: others, and whoever waits for the outcome, have theirs in between.
JOBS_A_TURN = 8
TURN_S = 0.5
# A worker that lives, and yet has not come to an end with a job for so long, is as good as gone.
TAKEN_PATIENCE_S = 1800.0

Resolve = Callable[[bytes, str], ResolvedJob | StandingSpec | JobArray]
# Whoever took a job up in an earlier version.
_NOBODY = Taker("-", 0)


@dataclass(slots=True)
class _Pending:
    """A file of ours that is looked at again: as it was, since when, and what is wrong with it ('': nothing for good)."""

    look: FileStatus | None
    since_s: float
    error: str = ""


@dataclass(slots=True)
class Intake:
    """Takes jobs up. `resolve` turns the bytes of a job into its spec, or raises an ArbdError that says why not.

    A file is taken up when it has not changed for `settle_s` and its last line has an end, or at once when its name
    says that it arrived whole by rename. One that does not resolve is given `patience_s` without change, in case its
    copy stalled. One that is wrong on this host alone is left to the workers that are `alive`, until each of them has
    refused it. `dead` says why another worker is gone that had taken a job up; `admit` says why a user may not have a job;
    `interrupted` is what is known of the end of this worker's last process that did this, for the one whose job it was.
    """

    files: Files
    layout: SpoolLayout
    clock: Clock
    resolve: Resolve
    settle_s: float = 1.0
    patience_s: float = 5.0
    submitters: Submitters = field(default_factory=Submitters)
    taker: Taker | None = None
    dead: Callable[[str, int], str | None] = lambda worker_id, incarnation: None
    alive: Callable[[], Iterable[str]] = lambda: ()
    began: Callable[[str], None] = lambda name: None
    interrupted: str = ""
    host: str = ""
    admit: Callable[[Submission, ResolvedJob, int], str] = no_limits
    more: bool = False
    left: bool = True
    trouble: str = ""
    _me: Taker = field(init=False)
    _arrivals: Arrivals = field(init=False)
    _leftovers: Leftovers = field(init=False)
    _refusals: HostRefusals = field(init=False)
    _pending: dict[str, _Pending] = field(default_factory=dict)
    _others: dict[str, float] = field(default_factory=dict)
    _begun: dict[str, set[str]] = field(default_factory=dict)
    _turns: Turns = field(default_factory=lambda: Turns(same_job))

    def __post_init__(self) -> None:
        token = self.files.system.token(4)
        self._me = self.taker if self.taker is not None else Taker(f"nobody-{token}", int(token, 16))
        self._arrivals = Arrivals(self.files, self.layout, self.clock)
        self._leftovers = Leftovers(self.files, self.layout, self.clock)
        self._refusals = HostRefusals(self.files, self.layout, self.clock, self._me.worker_id, self.alive)

    def scan(self) -> list[Outcome]:
        """One turn: finish what others left, take up what is ready. OSError when the spool cannot be read.

        Afterwards `more` says that there is more to do at once, `left` that there are jobs which are no sessions yet,
        and `trouble` what was wrong with some file.
        """
        ready = self._arrivals.ready(self.settle_s)
        steps = (self._adopt, self._go_on, self._take, self._take_again)
        names = (
            self.files.names(self.layout.accepting),
            self._own_and_orphaned(self._taken()),
            ready,
            [name for name in self._refusals.due() if name not in ready],
        )
        order = self._turns.order(names)
        until_s = self.clock.monotonic_s() + TURN_S
        outcomes: list[Outcome] = []
        self.trouble, done = "", 0
        for kind, name in order:
            if len(outcomes) >= JOBS_A_TURN or self.clock.monotonic_s() > until_s:
                break
            done += 1
            self._turns.served(kind, name)
            try:
                outcome = steps[kind](name)
            except OSError as error:
                # One file's trouble is not the others'.
                self.trouble = f"{escape_line(name)}: {error}"
                continue
            if outcome is not None:
                outcomes.append(outcome)
        self.more = done < len(order)
        self.left = bool(self.more or self.trouble or self._pending or self._others or self._arrivals.unready > 0)
        if not self.more:
            self._leftovers.remove()
        return outcomes

    @property
    def worker_id(self) -> str:
        """Whose turns these are."""
        return self._me.worker_id

    def reconsider(self) -> None:
        """What this host refuses may have changed."""
        self._refusals.forget()
        self._arrivals.look_again()

    def waiting(self) -> bool:
        """True while there are jobs that are not sessions yet, and can become some."""
        held = [*self._taken(), *self.files.names(self.layout.accepting)]
        return bool(held or self._arrivals.waiting())

    def take_notes(self) -> list[tuple[str, str]]:
        """Names of files that wait, and why, as far as that was not told yet."""
        notes, self._arrivals.notes = self._arrivals.notes, []
        return notes

    def _taken(self) -> list[str]:
        try:
            return self.files.names(self.layout.taken)
        except FileNotFoundError:
            # Removed by somebody, under a worker that made it. Where the spool is away, this fails.
            self.files.make_folder(self.layout.taken)
            return []

    # -- whose job is it

    def _own_and_orphaned(self, names: list[str]) -> list[str]:
        """Files in `.taken/` that are this worker's to go on with."""
        self._pending = {name: pending for name, pending in self._pending.items() if name in names}
        self._begun = {name: begun for name, begun in self._begun.items() if name in names}
        self._others = {name: since for name, since in self._others.items() if name in names}
        return [name for name in names if self._is_ours(name)]

    def _is_ours(self, held_name: str) -> bool:
        held, now = Held.parse(held_name), self.clock.monotonic_s()
        pending = self._pending.get(held_name)
        if pending is not None:
            return now - pending.since_s >= (self.patience_s if pending.error else self.settle_s)
        if held is None:
            # Another version's, which knows what to do with it.
            return False
        if held.taker.worker_id == self._me.worker_id:
            return True
        since = self._others.setdefault(held_name, now)
        if now - since > TAKEN_PATIENCE_S:
            return True
        try:
            return self.dead(held.taker.worker_id, held.taker.incarnation) is not None
        except VersionError:
            # Its heartbeat cannot be read here.
            return False

    def _take(self, name: str) -> Outcome | None:
        """Take up a file, unless it is one that came back after this host had refused it."""
        if self._refusals.is_refused(name):
            self._arrivals.set_aside(name)
            return None
        return self._take_again(name)

    def _take_again(self, name: str) -> Outcome | None:
        fault = name_fault(name)
        held = Held(1, self._me, new_session_id(self.files, self.clock), plain_name(name) if fault else name)
        self._begin(held)
        try:
            self.files.rename(self.layout.incoming / name, held.path(self.layout))
        except FileNotFoundError:
            # Another worker was first.
            return None
        except OSError as error:
            return self._cannot_move(name, error)
        return self._reject(held, fault) if fault else self._attempt(held)

    def _cannot_move(self, name: str, error: OSError) -> Rejected | None:
        # In a folder with the sticky bit, or with an attribute that makes it immutable, a file is its owner's.
        if error.errno != errno.EPERM:
            raise error
        if not self._arrivals.set_aside(name):
            return None
        return Rejected(escape_line(name), f"cannot be moved out of incoming/ ({error.strerror}); it is left there")

    def _adopt(self, earlier_name: str) -> Outcome | None:
        """What an earlier version had taken up, as `ID,NAME`: it may have made the session already."""
        session_id, _, name = earlier_name.partition(",")
        source = self.layout.accepting / earlier_name
        if not NAME_PATTERN.fullmatch(session_id):
            held = Held(1, _NOBODY, new_session_id(self.files, self.clock), plain_name(name))
            return self._pass_on(source, held, f"session id {session_id!r} is not usable")
        held = Held(1, _NOBODY, session_id, name if not name_fault(name) else plain_name(name))
        return self._pass_on(source, held, name_fault(name))

    def _go_on(self, held_name: str) -> Outcome | None:
        """What was begun before: by us, if it waits for something; else the next attempt at it."""
        held = Held.parse(held_name)
        assert held is not None, held_name
        pending = self._pending.get(held_name)
        if pending is not None:
            return self._look_again(held, pending)
        source = self.layout.taken / held_name
        following = held.again(self._me)
        if following.crashes < MAX_CRASHES and held.attempt < MAX_ATTEMPTS:
            return self._pass_on(source, held, "")
        known = f"; the last one {self.interrupted}" if held.taker == self._me and self.interrupted else ""
        fault = (
            f"{held.attempt} attempts at checking it did not come to an end{known}: it may need more memory or time than "
            "the intake has (`intake_memory_mb`, `intake_timeout_s` in the settings)"
        )
        return self._pass_on(source, held, fault)

    def _pass_on(self, source: Path, before: Held, fault: str) -> Outcome | None:
        """Take a file over from whoever had it, and begin the next attempt, or refuse it."""
        held = before.again(self._me)
        self._begin(held)
        try:
            self.files.rename(source, held.path(self.layout))
        except FileNotFoundError:
            return None
        return self._reject(held, fault) if fault else self._attempt(held)

    # -- one attempt

    def _look_again(self, held: Held, pending: _Pending) -> Outcome | None:
        look = self.files.look(held.path(self.layout))
        if look is None or pending.look in (None, look):
            return self._attempt(held, last=bool(pending.error))
        self._pending[held.held_name] = _Pending(look, self.clock.monotonic_s())
        return None

    def _attempt(self, held: Held, *, last: bool = False) -> Outcome | None:
        """Make a session of a file. `last`: what is wrong with it now stays wrong."""
        self.began(held.name)
        pending, data = self._begin(held), b""
        try:
            path = held.path(self.layout)
            data, pending.look = read_job(self.files, path, held.name, self.submitters, self._fired)
            if held.attempt > 1 and is_made_of(self.files, self.layout, held.session_id, data):
                return self._remove(held, data, None)
            found = resolved(self.resolve, data, held.name)
            if self.files.look(path) != pending.look:
                # It grows: another look at it, once it stands still.
                return None
            submission = self._submission(held, pending, data)
            if isinstance(found, JobArray | StandingSpec):
                make = self._spread if isinstance(found, JobArray) else self._stand
                return make(held, found, data, submission)  # type: ignore[arg-type]
            spec, session_id = found, found.session_id or held.session_id
            if refusal := self.admit(submission, spec, 0):
                raise JobError.of(held.name, refusal)
            if exists(self.files, self.layout.session(session_id)):
                return self._there_already(held, session_id, data)
            self._begun.setdefault(held.held_name, set()).add(session_id)
            create_session(self.files, self.layout, session_id, data, spec, submission=submission)
        except FileNotFoundError:
            # Passed on to another worker, or a network client does not show it yet.
            return None
        except SessionExistsError:
            return self._there_already(held, session_id, data)
        except ArbdError as error:
            return self._failed(held, error, pending, data, last=last)
        return self._remove(held, data, Accepted(held.name, session_id, spec.n))

    def _stand(self, held: Held, spec: StandingSpec, data: bytes, submission: Submission) -> Outcome | None:
        """Make a standing job, unless an interrupted attempt has made it."""
        if refusal := self.admit(submission, spec.job, 0):
            raise JobError.of(held.name, refusal)
        open_standing(self.files, self.layout, spec, data, submission, again=held.attempt > 1)
        self._remove(held, data, None)
        return Stands(held.name, spec.name, spec.schedule.text())

    def _spread(self, held: Held, array: JobArray, data: bytes, submission: Submission) -> Outcome | None:
        """Make all sessions of a file that an interrupted attempt has not made; none where one of them cannot be."""
        begun = self._begun.setdefault(held.held_name, set())
        making = ArrayMaking.of(self.files, self.layout, array, submission, begun, again=held.attempt > 1)
        if refusal := making.refusal(self.admit):
            raise JobError.of(held.name, refusal)
        if fault := making.make(lambda: self.began(held.name)):
            return self._reject(held, fault)
        return self._remove(held, data, AcceptedArray(held.name, array.name, array.session_ids))

    def _fired(self, data: bytes) -> Submission | None:
        """Whose job it is that a standing job made, whichever worker dropped it; None for any other."""
        return submission_of(self.files, self.layout, data) if data.startswith(FIRED_LINE) else None

    def _submission(self, held: Held, pending: _Pending, data: bytes) -> Submission:
        """Who dropped the file, where as far as it says so, and when it was taken up."""
        if (fired := self._fired(data)) is not None:
            return replace(fired, host=self.host, wall_ns=self.clock.wall_ns())
        uid = pending.look.uid if pending.look is not None else 0
        return submitted(held.name, data, uid, self.host, self.clock.wall_ns())

    def _failed(self, held: Held, error: ArbdError, pending: _Pending, data: bytes, *, last: bool) -> Rejected | None:
        if isinstance(error, VersionError):
            return self._leave(held, error)
        if isinstance(error, JobError) and error.is_of_this_host:
            return self._refuse_here(held, str(error), data)
        if last or is_hopeless(self.files.look(held.path(self.layout)), held.name):
            return self._reject(held, str(error))
        pending.error = str(error)
        return None

    def _leave(self, held: Held, error: VersionError) -> Rejected | None:
        """Nothing is wrong with it: a worker of the version that can read what it builds on takes it up."""
        if not self._put_back(held):
            return None
        return Rejected(escape_line(held.name), f"is left in incoming/ for a worker that can take it up: {error}")

    def _put_back(self, held: Held) -> bool:
        """Leave it in `incoming/`, and alone there; True when that is new, False too while another has its name."""
        if held.name in self.files.names(self.layout.incoming):
            return False
        self.files.rename(held.path(self.layout), self.layout.incoming / held.name)
        return self._arrivals.set_aside(held.name)

    def _refuse_here(self, held: Held, reason: str, data: bytes) -> Rejected | None:
        """Leave it to workers on other hosts, if there are any that have not refused it too."""
        verdict = self._refusals.refuse(held.name, data, reason)
        if verdict:
            return self._reject(held, verdict)
        if self._put_back(held):
            self._arrivals.notes.append((held.name, f"this host refuses it, and leaves it to others: {reason}"))
        return None

    def _begin(self, held: Held) -> _Pending:
        # What comes to no end here is gone on with, and is no further attempt as long as this process lives.
        pending = self._pending[held.held_name] = _Pending(None, self.clock.monotonic_s())
        return pending

    def _there_already(self, held: Held, session_id: str, data: bytes) -> Outcome | None:
        """The session is there: made of this file by an attempt that was interrupted; or of another."""
        # What a standing job made may be dropped twice, when a worker dies in between.
        begun = session_id in self._begun.get(held.held_name, ())
        again = begun or held.attempt > 1 or self._fired(data) is not None
        if again and is_made_of(self.files, self.layout, session_id, data):
            return self._remove(held, data, None)
        return self._reject(held, not_overwritten(session_id))

    def _remove(self, held: Held, data: bytes, outcome: Accepted | AcceptedArray | None) -> Outcome | None:
        """The session is made: its file is done with, unless that has grown since."""
        path = held.path(self.layout)
        look = self.files.look(path)
        if outcome is not None and look is not None and look.size != len(data):
            made = outcome.session_id if isinstance(outcome, Accepted) else outcome.session_ids[0]
            return self._reject(
                held,
                f"it has grown since session {made} was made of its first {len(data):,} bytes: cancel that "
                "session if this is another job, and drop this file again, by a rename or with `arbctl submit`",
            )
        self.files.remove(path)
        self._refusals.settle(held.name)
        return outcome

    def _reject(self, held: Held, reason: str) -> Rejected | None:
        shown = reject(self.files, self.layout, held.path(self.layout), held.name, reason)
        if shown is None:
            return None
        self._refusals.settle(held.name)
        return Rejected(escape_line(held.name), shown)
