"""A job that somebody submitted and holds by the id of its session: taken up, refused, gone, or why it still waits."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable

from arbd.errors import ArbdError, JobError, NotBegunError, NotFoundError, UsageError
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.dropped import MAX_REASON_BYTES, DroppedJob, JobState, live_workers, queued_jobs
from arbd.spool.files import Files
from arbd.spool.held import Held
from arbd.spool.job_file import user_name
from arbd.spool.layout import SpoolLayout
from arbd.spool.rejected import ERROR_SUFFIX, reject
from arbd.spool.sessions import exists
from arbd.spool.system import FileStatus
from arbd.values import dataclass

# For so long a name may be missing everywhere: a network filesystem shows it late.
GONE_AFTER_S = 5.0
CHECK_PATIENCE_S = 10.0
POLL_S = 0.1
_CANCELLATION = re.compile(r"cancelled by .+ before it was taken up(: |$)")


@dataclass(frozen=True, slots=True)
class Submitted:
    """`before` are the refusals of earlier jobs of that name, which say nothing of this one."""

    layout: SpoolLayout
    session_id: str
    before: frozenset[tuple[str, FileStatus | None]] = frozenset()

    @property
    def file_name(self) -> str:
        """As what it was dropped."""
        return f"{self.session_id}{SUBMITTED_SUFFIX}"

    def refused(self, files: Files) -> str | None:
        """Why a daemon refuses it, or who cancelled it; None when neither is so, or this user may not see it."""
        with contextlib.suppress(PermissionError, FileNotFoundError):
            for name, _ in sorted(
                _refusals(files, self.layout, self.session_id) - self.before, key=lambda each: each[0]
            ):
                text = files.read(self.layout.rejected / name, limit=MAX_REASON_BYTES)
                return text.decode(errors="replace").strip()
        return None

    def queued(self, files: Files) -> DroppedJob | None:
        """The job where it waits, or is being checked."""
        return next((job for job in queued_jobs(files, self.layout) if job.name == self.file_name), None)

    def line(self, files: Files) -> str:
        """Where it is, in one line."""
        # Who may only drop jobs sees a part of this.
        with contextlib.suppress(OSError):
            if (job := self.queued(files)) is not None:
                return f"the job is queued: {job.line}"
        return "the job was taken up; waiting for its session"

    def is_missing(self, files: Files) -> bool:
        """True when it neither waits, nor is checked, nor is a session, as far as this user may see all of that."""
        try:
            # In the order of its way: what goes on between two looks is seen by the later one.
            if self.file_name in files.names(self.layout.incoming):
                return False
            held: list[str] = []
            # Of a spool on which no daemon ever ran, these folders are missing.
            with contextlib.suppress(FileNotFoundError):
                held = files.names(self.layout.taken)
            if any(one is not None and one.name == self.file_name for one in map(Held.parse, held)):
                return False
            with contextlib.suppress(FileNotFoundError):
                return not exists(files, self.layout.session(self.session_id))
        except (PermissionError, FileNotFoundError):
            return False
        return True

    def cancel(self, files: Files, user: str) -> str:
        """Cancel it before it is a session; what says so, '' when it has become a session meanwhile.

        JobError when it was refused, NotFoundError when it is gone, UsageError when a worker does not come to an end with it.
        """
        watch, reason = Watch(self), cancellation(user)

        def now() -> str | DroppedJob | None:
            if (job := self.queued(files)) is not None:
                return job
            if exists(files, self.layout.session(self.session_id)):
                return self.session_id
            why = watch.not_begun(files)
            if not isinstance(why, NotBegunError):
                raise why
            return None

        try:
            became = cancel_queued(files, self.layout, now, reason)
        except JobError:
            if (told := self.refused(files)) is None or not is_cancellation(told):
                raise
            return told
        return reason if became is None else ""

    def may_be_taken(self, files: Files) -> bool:
        """False when no worker lives that takes jobs up; True when one does, or this user may not see it."""
        try:
            return bool(live_workers(files, self.layout))
        except PermissionError:
            return True


class Watch:
    """Looks again and again for what becomes of a job that is no session yet."""

    def __init__(self, job: Submitted) -> None:
        self.job = job
        self._missed_since_s: float | None = None

    def not_begun(self, files: Files) -> ArbdError:
        """Why there is no session: NotBegunError while one may come, JobError of a refusal, NotFoundError when it is gone."""
        session_id, now_s = self.job.session_id, time.monotonic()
        # A refusal is looked for last: a job that is refused between the two looks is not missing.
        is_missing, line = self.job.is_missing(files), self.job.line(files)
        if (told := self.job.refused(files)) is not None:
            return refusal(session_id, told)
        if not is_missing:
            self._missed_since_s = None
        elif self._missed_since_s is None:
            self._missed_since_s = now_s
        elif now_s - self._missed_since_s >= GONE_AFTER_S:
            return NotFoundError(
                f"session {session_id}: its job is gone: it is neither queued, nor being checked, nor refused, and there is "
                "no such session; somebody removed the file, or the session: submit the job again"
            )
        return NotBegunError(f"session {session_id}: {line}")


def submitted(files: Files, layout: SpoolLayout, session_id: str) -> Submitted:
    """The job of that session, which is about to be dropped: asked before it is."""
    try:
        return Submitted(layout, session_id, _refusals(files, layout, session_id))
    except (PermissionError, FileNotFoundError):
        return Submitted(layout, session_id)


def _refusals(files: Files, layout: SpoolLayout, session_id: str) -> frozenset[tuple[str, FileStatus | None]]:
    """The texts that say why a job of that session was refused: all but the first have a number."""
    of_it = re.compile(rf"{re.escape(session_id + SUBMITTED_SUFFIX)}(\.[0-9]+)?{re.escape(ERROR_SUFFIX)}")
    names = [name for name in files.names(layout.rejected) if of_it.fullmatch(name)]
    found = ((name, files.look(layout.rejected / name)) for name in names)
    # One that is removed meanwhile says nothing any more.
    return frozenset((name, status) for name, status in found if status is not None)


def refusal(session_id: str, told: str) -> JobError:
    """What is raised for a job that a daemon refused, and `told` why, or that somebody cancelled."""
    if is_cancellation(told):
        return JobError.of(session_id, told)
    return JobError.of(session_id, f"refused by the daemon:{chr(10) if chr(10) in told else ' '}{told}")


def cancellation(user: str, why: str = "") -> str:
    """What stands beside a job that was cancelled while it was queued."""
    return f"cancelled by {user} before it was taken up" + (f": {why}" if why else "")


def is_cancellation(told: str) -> bool:
    """True when what stands beside a rejected job says that somebody cancelled it."""
    return _CANCELLATION.match(told) is not None


def cancel_queued(
    files: Files, layout: SpoolLayout, now: Callable[[], str | DroppedJob | None], reason: str
) -> str | None:
    """Cancel a job that is queued. None when it is cancelled; the session that it has become meanwhile, else.

    `now` says what it is: None while it can be seen nowhere. The job goes to `rejected/`. UsageError when it was rejected
    already, or a worker does not come to an end with it.
    """
    until_s = time.monotonic() + CHECK_PATIENCE_S
    while True:
        found = now()
        if isinstance(found, str):
            return found
        if found is not None and found.state is JobState.REJECTED:
            raise UsageError(f"{found.name} was rejected, nothing of it runs: {found.line}")
        if found is not None and not found.checked_by:
            try:
                if reject(files, layout, found.path, found.name, reason) is not None:
                    return None
            except PermissionError:
                # Who may only drop jobs may remove what is theirs.
                files.remove(found.path)
                return None
        elif found is not None and time.monotonic() > until_s:
            raise UsageError(f"{found.name} cannot be cancelled now: {found.reason}; try again in a moment")
        time.sleep(POLL_S)


def this_users_cancellation(why: str = "") -> str:
    """`cancellation` by whoever runs this process."""
    return cancellation(user_name(os.getuid()), why)
