"""Sessions as folders: made whole or not at all, listed, and removed where their making was interrupted.

Keeps I4: a folder is a session once it has a ledger, which is the last thing that comes into a new one, so a crash
leaves either what no reader takes for a session (it is finished or removed later) or the whole session.
"""

from __future__ import annotations

import contextlib
import errno
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgpack
from msgspec.structs import replace

from arbd import schema
from arbd.errors import UnsafePathError, UsageError
from arbd.spool import ledger
from arbd.spool.files import TEMPORARY_SUFFIX, Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.provenance import UNKNOWN, Submission
from arbd.spool.system import Clock, HeldLock

HIDDEN = re.compile(r"\..*\.[0-9a-f]{8}\.(new|removed)")
# A name in sessions/ that tells daemons to look again at a session that they know to be over.
REOPENED_PREFIX = ".reopened-"
# Whoever makes a session holds its lock for some milliseconds.
MAKING_PATIENCE_S = 30.0
MAKING_LOOKS = 3

Say = Callable[[str], None]


_WHILE_MAKING = frozenset(("ledger.lock", "job.yaml", "spec.msgpack", "segments", "generations"))


class ResolvedJob(Protocol):
    """All that the spool knows of a job: its id, if it has one, how many iterations it has, and what is kept of it."""

    @property
    def session_id(self) -> str | None:
        """The id that it asks for."""

    @property
    def n(self) -> int:
        """The number of iterations."""

    def to_plain(self) -> Mapping[str, Any]:
        """What msgpack can keep."""


class SessionExistsError(UsageError):
    """A session of that id is there already."""


def new_session_id(files: Files, clock: Clock) -> str:
    """A time-ordered id: UTC to the second, and enough randomness that two hosts never agree on one."""
    now = datetime.fromtimestamp(clock.wall_ns() / 1e9, tz=UTC)
    return f"{now:%Y%m%dT%H%M%S}-{files.system.token(3)}"


def create_session(
    files: Files,
    layout: SpoolLayout,
    session_id: str,
    job: bytes,
    spec: ResolvedJob,
    *,
    submission: Submission = UNKNOWN,
    say: Say = lambda what: None,
) -> SessionPaths:
    """Make a session, or finish one whose making was interrupted. SessionExistsError when it is there.

    The folder has its final name from the start: some network filesystems lose a folder for good that is renamed
    while others look at it. It is a session once it has a ledger, which appears last, whole, by rename within the
    folder. All is done under the ledger's lock: of several makers one at a time is at work, and what a crash left is
    written over by the next. `submission` is kept, see `arbd.spool.provenance`; `say` is told what is waited for.
    TimeoutError when somebody keeps that lock.
    """
    paths = layout.session(session_id)
    for looks_left in reversed(range(MAKING_LOOKS)):
        files.make_folder(paths.folder)
        try:
            with _making(files, paths, say) as held:
                if is_whole(files, paths):
                    break
                _fill(files, paths, job, spec, held, submission)
                return paths
        except (FileNotFoundError, UnsafePathError):
            # The leftover of a crash, which another worker removed in this moment.
            if not looks_left or paths.session_id in files.names(layout.sessions):
                raise
    raise _exists_already(layout, session_id)


def _exists_already(layout: SpoolLayout, session_id: str) -> SessionExistsError:
    return SessionExistsError(
        f"session {session_id} exists already in {layout.root} and is not overwritten: "
        "choose another session_id, or leave it out and one is made"
    )


@contextlib.contextmanager
def _making(files: Files, paths: SessionPaths, say: Say) -> Iterator[HeldLock]:
    held = files.try_lock(paths.ledger_lock)
    if held is None:
        say(f"waiting for the lock of session {paths.session_id}, which another process holds")
        held = files.system.lock(paths.ledger_lock, MAKING_PATIENCE_S)
    if held is None:
        raise TimeoutError(f"the lock {paths.ledger_lock} was not free within {MAKING_PATIENCE_S:g} s")
    try:
        yield held
    finally:
        held.release()


def _fill(
    files: Files,
    paths: SessionPaths,
    job: bytes,
    spec: ResolvedJob,
    held: HeldLock,
    submission: Submission,
) -> None:
    plain = spec.to_plain()
    files.remove_temporaries(paths.folder)
    files.publish(paths.job, job)
    # Another may have made it, and somebody extended it: its workers would wait for ever for what this writes over.
    _require_lock(held, paths)
    files.publish(paths.spec, encode_frame(bytes(msgpack.packb({**schema.JOB.stamp(), **plain}))))
    files.make_folder(paths.segments)
    files.make_folder(paths.generations)
    _require_lock(held, paths)
    mark_active(files, paths)
    # What listings show of the job stands in the ledger, which they read anyhow.
    shown = {"method": plain.get("method", ""), "priority": plain.get("execution", {}).get("priority", 0)}
    said = replace(submission, **shown, labels=plain.get("labels", {}))
    files.publish(paths.ledger, encode_frame(ledger.pack(ledger.opened(spec.n, said))))


def mark_active(files: Files, paths: SessionPaths) -> None:
    """Have all workers look at it; before it is a session, too: who finds the name waits for the rest."""
    layout = SpoolLayout(paths.folder.parent.parent)
    files.make_folder(layout.active)
    files.publish(layout.active / paths.session_id, b"")


def _require_lock(held: HeldLock, paths: SessionPaths) -> None:
    """A host that was away for too long has lost its lock, and another may have made the session meanwhile."""
    if not held.is_ours():
        raise OSError(errno.EIO, "the lock was lost, as happens to a host that was cut off", str(paths.ledger_lock))


def place_session(files: Files, layout: SpoolLayout, session_id: str, staged: SessionPaths) -> SessionPaths:
    """Make a session of the files of a hidden folder, the ledger last. SessionExistsError when it is there."""
    paths = layout.session(session_id)
    files.make_folder(paths.folder)
    with _making(files, paths, lambda what: None) as held:
        if is_whole(files, paths):
            raise _exists_already(layout, session_id)
        folders = (staged.segments, staged.generations, staged.code)
        for folder in folders:
            files.make_folder(paths.folder / folder.name)
            _move(files, folder, paths.folder / folder.name, files.names(folder))
        last = {staged.ledger.name, staged.ledger_lock.name, *(folder.name for folder in folders)}
        _move(files, staged.folder, paths.folder, [name for name in files.names(staged.folder) if name not in last])
        _require_lock(held, paths)
        mark_active(files, paths)
        _move(files, staged.folder, paths.folder, [staged.ledger.name])
    return paths


def _move(files: Files, source: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        files.system.rename(source / name, target / name)
    files.sync_folder(target)


def is_whole(files: Files, paths: SessionPaths) -> bool:
    """True when the session is made, which is when it has a ledger; FileNotFoundError when there is not even a folder.

    Asked of the listing, which a network filesystem shows before a name.
    """
    return paths.ledger.name in files.names(paths.folder)


def is_being_made(files: Files, layout: SpoolLayout, name: str) -> bool:
    """True when a name among the sessions is none yet: somebody is making it, or a crash interrupted that."""
    try:
        paths = layout.session(name)
        names = files.names(paths.folder)
        return paths.ledger.name not in names and paths.ledger_lock.name in names and _is_begun(files, paths)
    except (OSError, UsageError):
        return False


def _is_begun(files: Files, paths: SessionPaths) -> bool:
    """True when a folder has nothing that a session has only once it is made."""
    names = {name for name in files.names(paths.folder) if not name.endswith(TEMPORARY_SUFFIX)}
    rows = [name for folder in (paths.segments, paths.generations) for name in _names(files, folder)]
    return not rows and names <= _WHILE_MAKING


def remove_unfinished(files: Files, layout: SpoolLayout) -> None:
    """Remove what crashes left of removed sessions, of restored ones, and of new ones as earlier versions made them."""
    for name in files.names(layout.sessions):
        if not HIDDEN.fullmatch(name):
            continue
        # What is no leftover of ours, or cannot be removed now, is not worth stopping for.
        with contextlib.suppress(FileNotFoundError, UnsafePathError):
            _remove_hidden(files, SessionPaths(layout.sessions / name))


def _remove_hidden(files: Files, found: SessionPaths) -> None:
    doomed = found.folder.with_suffix(".removed")
    if not stat.S_ISDIR(files.system.look(found.folder).mode):
        doomed = found.folder
    elif found.folder != doomed:
        held = files.try_lock(found.ledger_lock)
        if held is None:
            return
        try:
            # Its maker may only have been away, and must not give its final name to a half-removed folder.
            files.rename(found.folder, doomed)
        finally:
            held.release()
    files.remove_tree(doomed)


def remove_leftover(files: Files, paths: SessionPaths) -> bool:
    """Remove a session whose making was interrupted and that nobody finishes; False when it is whole, or somebody is at it.

    What holds anything that a session has only once it is made is left alone.
    """
    try:
        held = files.try_lock(paths.ledger_lock)
        if held is None:
            return False
        try:
            if not _is_begun(files, paths):
                return False
            for name in sorted(_WHILE_MAKING - {paths.ledger_lock.name}):
                files.remove_tree(paths.folder / name)
            files.remove_temporaries(paths.folder)
            files.remove(paths.ledger_lock)
            files.system.remove_folder(paths.folder)
        finally:
            held.release()
    except FileNotFoundError:
        return False
    return True


def _names(files: Files, folder: Path) -> list[str]:
    try:
        return files.names(folder)
    except FileNotFoundError:
        return []


def session_names(files: Files, layout: SpoolLayout) -> list[str]:
    """Names in `sessions/`, sorted: of sessions, and of what is to become one."""
    return [name for name in files.names(layout.sessions) if not name.startswith(".")]


def session_ids(files: Files, layout: SpoolLayout) -> list[str]:
    """Ids of all sessions, sorted. Looks into each folder; what cannot be looked into counts."""
    return [name for name in session_names(files, layout) if is_session(files, layout, name)]


def is_session(files: Files, layout: SpoolLayout, name: str) -> bool:
    """True when a name in `sessions/` is a whole session, or cannot be looked into."""
    try:
        return is_whole(files, layout.session(name))
    except FileNotFoundError:
        return False
    except (OSError, UsageError):
        return True


def exists(files: Files, paths: SessionPaths) -> bool:
    """True when the session is there, whole; asked of listings, which a network filesystem shows before a name."""
    if paths.session_id not in files.names(paths.folder.parent):
        return False
    try:
        return is_whole(files, paths)
    except FileNotFoundError:
        # Listed, and not to be opened: a network client that has not seen it yet, or somebody who removes it.
        return True
