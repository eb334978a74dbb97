"""From a file in `incoming/` to a session, or to `rejected/` with the reason.

Keeps I4: a job is moved aside by one rename before its session is made, so after a crash it is either still
in `incoming/` (or its hidden `.accepting/`, which the next intake finishes) or a whole session. Keeps I7:
only regular files of bounded size are read, and they are parsed with limits.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arbd.errors import ArbdError, JobError, UnsafePathError, VersionError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import (
    ResolvedJob,
    SessionExistsError,
    create_session,
    exists,
    has_unfinished,
    new_session_id,
    remove_unfinished,
)
from arbd.spool.submitters import Submitters
from arbd.spool.system import Clock, FileStatus
from arbd.terminal_text import visible, visible_line

MAX_JOB_BYTES = 1024 * 1024
# With a session id before it and an ending behind it, a name must still be one that a filesystem takes.
MAX_NAME_BYTES = 120
MAX_REASON_CHARS = 20_000
# Files looked at in one scan: a flood of them must not keep the worker from its work.
MAX_AT_ONCE = 500
SUBMITTED_SUFFIX = ".submitted.yaml"
# Names under which editors, browsers and copy tools keep unfinished files.
UNFINISHED_NAMES = (".*", "*~", "*.tmp", "*.part", "*.partial", "*.swp", "*.crdownload", "#*#")
_SEPARATOR = ","

Resolve = Callable[[bytes, str], ResolvedJob]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job became a session."""

    name: str
    session_id: str
    n: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A job was refused; the file and the reason are in `rejected/`."""

    name: str
    reason: str


@dataclass(slots=True)
class _Seen:
    look: FileStatus
    since_s: float
    broken_since_s: float | None = None


@dataclass(slots=True)
class Intake:
    """Takes jobs up. `resolve` turns the bytes of a job into its spec, or raises an ArbdError that says why not.

    A file is taken up when it has not changed for `settle_s`, or at once when its name says that it arrived
    whole by rename. One that does not parse is given `patience_s` without change, in case its copy stalled.
    """

    files: Files
    layout: SpoolLayout
    clock: Clock
    resolve: Resolve
    settle_s: float = 1.0
    patience_s: float = 5.0
    submitters: Submitters = field(default_factory=Submitters)
    _stuck: dict[str, FileStatus] = field(default_factory=dict)
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _held: dict[str, float] = field(default_factory=dict)

    def scan(self) -> list[Accepted | Rejected]:
        """Look at `incoming/` once; [] at once when another worker is doing so."""
        names = self._candidates()
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        self._stuck = {name: look for name, look in self._stuck.items() if name in names or _SEPARATOR in name}
        ready = [name for name in names if self._is_ready(name)]
        leftovers = self.files.names(self.layout.accepting)
        self._held = {name: since for name, since in self._held.items() if name in leftovers}
        if not (ready or leftovers or has_unfinished(self.files, self.layout)):
            return []
        with self._exclusive() as mine:
            if not mine:
                return []
            remove_unfinished(self.files, self.layout)
            # What another worker, or one that crashed, left half way comes first.
            outcomes = [
                self._safely(self._finish, name, self.layout.accepting)
                for name in self.files.names(self.layout.accepting)
            ]
            outcomes += [self._safely(self._take, name, self.layout.incoming) for name in ready]
        return [outcome for outcome in outcomes if outcome is not None]

    def _safely(
        self, step: Callable[[str], Accepted | Rejected | None], name: str, folder: Path
    ) -> Accepted | Rejected | None:
        """One job's step. A file that may not be moved is told once and left alone; others go on."""
        look = self.files.look(folder / name)
        if look is None or self._stuck.get(name) == look:
            return None
        try:
            return step(name)
        except VersionError as error:
            # Nothing is wrong with it: a worker of the version that can read what it builds on takes it up.
            self._stuck[name] = look
            return Rejected(visible_line(name), f"is left in {folder.name}/ for a worker that can take it up: {error}")
        except OSError as error:
            # In a folder with the sticky bit, or with an attribute that makes it immutable, a file is its owner's.
            if error.errno != errno.EPERM:
                raise
            self._stuck[name] = look
            return Rejected(
                visible_line(name), f"cannot be moved out of {folder.name}/ ({error.strerror}); it is left there"
            )

    def waiting(self) -> bool:
        """True while there are jobs in `incoming/` that are not taken up yet."""
        waiting = {*self._candidates(), *self.files.names(self.layout.accepting)}
        return bool(waiting - self._stuck.keys())

    @contextmanager
    def _exclusive(self) -> Iterator[bool]:
        lock = self.files.try_lock(self.layout.intake_lock)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def _candidates(self) -> list[str]:
        names = self.files.names(self.layout.incoming)
        found = [n for n in names if not any(fnmatch.fnmatch(n, pattern) for pattern in UNFINISHED_NAMES)]
        return sorted(found, key=lambda name: name in self._stuck)[:MAX_AT_ONCE]

    def _is_ready(self, name: str) -> bool:
        look = self.files.look(self.layout.incoming / name)
        if look is None:
            return False
        if name.endswith(SUBMITTED_SUFFIX):
            return True
        now = self.clock.monotonic_s()
        seen = self._seen.get(name)
        if seen is None or seen.look != look:
            self._seen[name] = _Seen(look, now)
            return False
        return now - seen.since_s >= self.settle_s

    def _take(self, name: str) -> Accepted | Rejected | None:
        source = self.layout.incoming / name
        if self._waits(name):
            return None
        try:
            spec = self._resolved(self._read(source, name), name)
        except FileNotFoundError:
            return None
        except VersionError:
            raise
        except ArbdError as error:
            return self._reject_or_wait(source, name, error)
        session_id = spec.session_id or new_session_id(self.files, self.clock)
        if exists(self.files, self.layout.session(session_id)):
            return self._reject(source, name, f"session {session_id} exists already and is not overwritten")
        # A comma parts id and name, because no session id holds one.
        self.files.rename(source, self.layout.accepting / f"{session_id}{_SEPARATOR}{name}")
        self._seen.pop(name, None)
        return self._finish(f"{session_id}{_SEPARATOR}{name}")

    def _finish(self, held_name: str) -> Accepted | Rejected | None:
        held = self.layout.accepting / held_name
        session_id, _, name = held_name.partition(_SEPARATOR)
        try:
            data = self._read(held, name)
            if exists(self.files, self.layout.session(session_id)):
                return self._finish_made(held, name, session_id, data)
            spec = self._resolved(data, name)
            create_session(self.files, self.layout, session_id, data, spec)
        except FileNotFoundError:
            return None
        except SessionExistsError:
            return self._finish_made(held, name, session_id, data)
        except VersionError:
            raise
        except ArbdError as error:
            # It was whole when it came here; a network client may show an old copy of it for a moment.
            seen = self._held.setdefault(held_name, self.clock.monotonic_s())
            if self.clock.monotonic_s() - seen < self.patience_s:
                return None
            return self._reject(held, name, str(error))
        self.files.remove(held)
        return Accepted(name, session_id, spec.n)

    def _finish_made(self, held: Path, name: str, session_id: str, data: bytes) -> Rejected | None:
        """The session is there: made of this file before a crash, or by a worker that had been away; or of another."""
        try:
            same = self.files.read(self.layout.session(session_id).job, limit=MAX_JOB_BYTES + 1) == data
        except FileNotFoundError:
            # A network client may not see it yet.
            return None
        except UnsafePathError:
            same = False
        if not same:
            return self._reject(held, name, f"session {session_id} exists already and is not overwritten")
        self.files.remove(held)
        return None

    def _read(self, path: Path, name: str) -> bytes:
        if not name.endswith((".yaml", ".yml")):
            raise JobError.of(name, "job files end in .yaml or .yml; rename it and drop it again")
        if len(os.fsencode(name)) > MAX_NAME_BYTES or not name.isprintable():
            raise JobError.of(name, f"names of job files have at most {MAX_NAME_BYTES} characters, all of which show")
        try:
            data, found = self.files.read_whole(path, MAX_JOB_BYTES + 1)
        except PermissionError as error:
            remedy = "chmod a+r, drop it again"
            raise JobError.of(name, f"user {os.getuid()} of the daemon may not read it: {remedy}") from error
        except UnsafePathError as error:
            raise JobError.of(name, "not a regular file; links, pipes, devices and folders are not taken up") from error
        if found.links > 1:
            raise JobError.of(name, f"has {found.links} names (hard links); copy it into incoming/ instead")
        refusal = self.submitters.refusal(found.uid)
        if refusal is not None:
            raise JobError.of(name, refusal)
        if len(data) > MAX_JOB_BYTES:
            raise JobError.of(name, f"larger than {MAX_JOB_BYTES // 1024} KiB; a job file only names its data")
        return data

    def _resolved(self, data: bytes, name: str) -> ResolvedJob:
        try:
            return self.resolve(data, name)
        except ArbdError:
            raise
        except OSError as error:
            # The job's bytes are read: what fails now is a file that it names, which is its trouble alone.
            raise JobError.of(name, f"cannot be checked here: {error}") from error
        except Exception as error:
            # Whatever a job does to the code that checks it, it is one job that is refused, not a worker that dies.
            raise JobError.of(name, f"cannot be checked ({type(error).__name__}: {error}); please report it") from error

    def _reject_or_wait(self, source: Path, name: str, error: ArbdError) -> Rejected | None:
        seen = self._seen.get(name)
        if seen is not None and seen.broken_since_s is None and not self._is_hopeless(source):
            seen.broken_since_s = self.clock.monotonic_s()
            if self._waits(name):
                return None
        return self._reject(source, name, str(error))

    def _waits(self, name: str) -> bool:
        """True while a broken file has time to change. It is read again at the end of it, not at each look."""
        since = self._seen[name].broken_since_s if name in self._seen else None
        return since is not None and self.clock.monotonic_s() - since < self.patience_s

    def _is_hopeless(self, source: Path) -> bool:
        # Growing further cannot make these good.
        found = self.files.system.look(source)
        return not stat.S_ISREG(found.mode) or found.size > MAX_JOB_BYTES or found.links > 1

    def _reject(self, source: Path, name: str, reason: str) -> Rejected:
        taken = set(self.files.names(self.layout.rejected))
        target, number = _plain_name(name), 1
        while target in taken or f"{target}.error.txt" in taken:
            number += 1
            target = f"{_plain_name(name)}.{number}"
        shown = visible(reason[:MAX_REASON_CHARS])
        self.files.publish(self.layout.rejected / f"{target}.error.txt", f"{shown}\n".encode())
        self.files.rename(source, self.layout.rejected / target)
        self._seen.pop(name, None)
        return Rejected(visible_line(name), shown)


def _plain_name(name: str) -> str:
    """A name for a rejected file that is safe whatever it was called."""
    if len(os.fsencode(name)) <= MAX_NAME_BYTES and name.isprintable() and not name.startswith(".") and name:
        return name
    short = re.sub(r"[^A-Za-z0-9._-]", "_", name[:80]).lstrip(".")
    return short or "job"
