"""A job that somebody submitted and holds by the id of its session: taken up, refused, or why it still waits."""

from __future__ import annotations

import contextlib
from pathlib import Path

from arbd.errors import JobError
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.dropped import live_workers, queued_jobs
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.rejected import reject
from arbd.spool.system import FileStatus
from arbd.values import dataclass

MAX_REASON_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Submitted:
    """`before` is the refusal of an earlier job of that name, which says nothing of this one."""

    layout: SpoolLayout
    session_id: str
    before: FileStatus | None = None

    def refused(self, files: Files) -> str | None:
        """Why a daemon refuses it; None when none does, or this user may not see it."""
        path = refusal_of(self.layout, self.session_id)
        with contextlib.suppress(PermissionError):
            if path.name in files.names(self.layout.rejected) and files.look(path) not in (None, self.before):
                return files.read(path, limit=MAX_REASON_BYTES).decode(errors="replace").strip()
        return None

    def line(self, files: Files) -> str:
        """Where it is, in one line."""
        mine = f"{self.session_id}{SUBMITTED_SUFFIX}"
        # Who may only drop jobs sees a part of this.
        with contextlib.suppress(OSError):
            for job in queued_jobs(files, self.layout):
                if job.name == mine:
                    return f"the job is queued: {job.line}"
        return "the job was taken up; waiting for its session"

    def take_back(self, files: Files, user: str) -> bool:
        """Cancel it where it waits; False when it waits there no more."""
        path = self.layout.incoming / f"{self.session_id}{SUBMITTED_SUFFIX}"
        if files.look(path) is None:
            return False
        try:
            reason = f"cancelled by {user} before it was taken up"
            return reject(files, self.layout, path, path.name, reason) is not None
        except PermissionError:
            # Who may only drop jobs may remove what is theirs.
            files.remove(path)
            return True

    def may_be_taken(self, files: Files) -> bool:
        """False when no worker lives that takes jobs up; True when one does, or this user may not see it."""
        try:
            return bool(live_workers(files, self.layout))
        except PermissionError:
            return True


def refusal_of(layout: SpoolLayout, session_id: str) -> Path:
    """Where a daemon says why it refuses the job of that session."""
    return layout.rejected / f"{session_id}{SUBMITTED_SUFFIX}.error.txt"


def submitted(files: Files, layout: SpoolLayout, session_id: str) -> Submitted:
    """The job of that session, which is about to be dropped: asked before it is."""
    try:
        return Submitted(layout, session_id, files.look(refusal_of(layout, session_id)))
    except PermissionError:
        return Submitted(layout, session_id)


def refusal(session_id: str, told: str) -> JobError:
    """What is raised for a job that a daemon refused, and `told` why."""
    return JobError.of(session_id, f"refused by the daemon:{chr(10) if chr(10) in told else ' '}{told}")
