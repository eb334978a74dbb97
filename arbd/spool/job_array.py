"""A job file of several sessions, resolved: all of them are made of it, or it is refused before the first."""

from __future__ import annotations

from collections.abc import Callable

from arbd.errors import UnsafePathError
from arbd.spool.files import Files
from arbd.spool.job_file import MAX_JOB_BYTES
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Submission
from arbd.spool.sessions import ResolvedJob, SessionExistsError, create_session, exists, is_whole
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class ArrayMember:
    """One of its sessions: `data` is the job file that it has."""

    session_id: str
    data: bytes
    job: ResolvedJob


@dataclass(frozen=True, slots=True)
class JobArray:
    """`name` is what its sessions are named after."""

    name: str
    members: tuple[ArrayMember, ...]

    @property
    def session_ids(self) -> tuple[str, ...]:
        """Of all."""
        return tuple(one.session_id for one in self.members)


@dataclass(frozen=True, slots=True)
class ArrayMaking:
    """The making of its sessions; `made` are those that are there."""

    files: Files
    layout: SpoolLayout
    array: JobArray
    made: set[str]
    begun: set[str]
    submission: Submission

    @classmethod
    def of(
        cls, files: Files, layout: SpoolLayout, array: JobArray, submission: Submission, begun: set[str], *, again: bool
    ) -> ArrayMaking:
        """`begun` are those whose making this process began, to which those come that it begins from now on.

        Of these, or of all with `again`, an attempt that was interrupted may have made some of this very file.
        """
        maybe = [one for one in array.members if again or one.session_id in begun]
        made = {one.session_id for one in maybe if is_made_of(files, layout, one.session_id, one.data)}
        return cls(files, layout, array, made, begun, submission)

    @property
    def _missing(self) -> list[ArrayMember]:
        return [one for one in self.array.members if one.session_id not in self.made]

    def refusal(self, admit: Callable[[Submission, ResolvedJob, int], str]) -> str:
        """Why its owner may not have all of them, or ''."""
        for coming, one in enumerate(self._missing):
            if refusal := admit(self.submission, one.job, coming):
                return f"{one.session_id}: {refusal}{self._stands()}"
        return ""

    def make(self, began: Callable[[], None]) -> str:
        """Make those that are missing, `began` before each; why not, or ''.

        None where another session has the name of one. A name that is taken in that very moment ends it in the middle,
        which it says.
        """
        for one in self._missing:
            if exists(self.files, self.layout.session(one.session_id)):
                return not_overwritten(one.session_id) + self._stands()
        for one in self._missing:
            # Each has the time of a job of its own.
            began()
            self.begun.add(one.session_id)
            try:
                create_session(self.files, self.layout, one.session_id, one.data, one.job, submission=self.submission)
            except SessionExistsError:
                return not_overwritten(one.session_id) + self._stands()
            self.made.add(one.session_id)
        return ""

    def _stands(self) -> str:
        """What is to be said where a part of them is made."""
        if not self.made:
            return ""
        of = f"{len(self.made):,} of the {len(self.array.members):,} sessions of this file are made"
        return f"; {of}: `arbctl cancel --label array={self.array.name} --yes` ends them"


def not_overwritten(session_id: str) -> str:
    """Why a job cannot become the session of that name."""
    return f"session {session_id} exists already and is not overwritten"


def is_made_of(files: Files, layout: SpoolLayout, session_id: str, data: bytes) -> bool:
    """True when a session is there, whole, and of a job of these very bytes."""
    paths = layout.session(session_id)
    try:
        if session_id not in files.names(layout.sessions) or not is_whole(files, paths):
            return False
        return files.read(paths.job, limit=MAX_JOB_BYTES + 1) == data
    except UnsafePathError:
        return False
