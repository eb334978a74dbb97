"""Sessions as folders: made whole or not at all, opened, listed.

Keeps I4: a session folder appears by one rename with everything in it, so a crash leaves either nothing
(a hidden folder that the next intake removes) or the whole session.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgpack

from arbd import schema
from arbd.errors import UnsafePathError, UsageError
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.system import Clock

HIDDEN = re.compile(r"\..*\.[0-9a-f]{8}\.(new|removed)")
# A name in sessions/ that tells daemons to look again at a session that they know to be over.
REOPENED_PREFIX = ".reopened-"


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


def create_session(files: Files, layout: SpoolLayout, session_id: str, job: bytes, spec: ResolvedJob) -> SessionPaths:
    """Make the folder of a session. SessionExistsError when the id is taken (nothing is overwritten)."""
    paths = layout.session(session_id)
    new = SessionPaths(layout.sessions / f".{session_id}.{files.system.token(4)}.new")
    files.make_folder(new.folder)
    files.make_folder(new.segments)
    files.make_folder(new.generations)
    files.publish(new.job, job)
    files.publish(new.spec, encode_frame(bytes(msgpack.packb({**schema.JOB.stamp(), **spec.to_plain()}))))
    files.publish(new.ledger, encode_frame(ledger.pack(ledger.opened(spec.n))))
    try:
        files.rename(new.folder, paths.folder)
    except OSError as error:
        files.remove_tree(new.folder)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise SessionExistsError(
                f"session {session_id} exists already in {layout.root} and is not overwritten: "
                "choose another session_id, or leave it out and one is made"
            ) from error
        raise
    return paths


def has_unfinished(files: Files, layout: SpoolLayout) -> bool:
    """True when there is a session that is being made, or whose making a crash interrupted."""
    return any(HIDDEN.fullmatch(name) for name in files.names(layout.sessions))


def remove_unfinished(files: Files, layout: SpoolLayout) -> None:
    """Remove what a crash in `create_session` left. Only for the holder of the intake lock."""
    for name in files.names(layout.sessions):
        if HIDDEN.fullmatch(name):
            # Its maker may only have been away, and must not give its final name to a half-removed folder.
            found = layout.sessions / name
            doomed = found.with_suffix(".removed")
            if found != doomed:
                with contextlib.suppress(FileNotFoundError):
                    files.rename(found, doomed)
            # What is no leftover of ours is not worth stopping for.
            with contextlib.suppress(UnsafePathError):
                files.remove_tree(doomed)


def session_ids(files: Files, layout: SpoolLayout) -> list[str]:
    """Ids of all sessions, sorted."""
    return [name for name in files.names(layout.sessions) if not name.startswith(".")]


def exists(files: Files, paths: SessionPaths) -> bool:
    """True when the session is there; asked of the listing, which a network filesystem shows before a name."""
    return paths.session_id in files.names(paths.folder.parent)
