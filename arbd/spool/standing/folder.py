"""Where a standing job lives: `standing/NAME/` of the spool, with its job file, its log and the next job that it makes.

    job.yaml      the job file as it was submitted, with its `schedule:`
    log           what was done and fired (see `records`), touched only while holding `lock`
    next-*.yaml   the job of a firing, whole before the log says that it is fired, until it is in `incoming/`
    look-WORKER   what that worker last saw of the data files, see `looks`

A removed one keeps its folder: its history goes on when a job of that name is submitted again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

import msgspec

from arbd import schema
from arbd.errors import NotFoundError, UsageError, VersionError
from arbd.records import unpack
from arbd.registry import hint
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, scan_file
from arbd.spool.job_file import MAX_JOB_BYTES
from arbd.spool.layout import NAME_PATTERN, SpoolLayout, check_name
from arbd.spool.provenance import MAX_NAME_CHARS, Actor, Submission
from arbd.spool.sessions import ResolvedJob
from arbd.spool.standing.calendar import Schedule
from arbd.spool.standing.records import (
    ActRecord,
    FireRecord,
    OpenRecord,
    StandingJob,
    StandingRecord,
    StandingState,
    decode,
    encode,
)
from arbd.values import dataclass

LOCK_TIMEOUT_S = 30.0
# Earlier states from which a person may do something, and how it is told.
ACTS = {"pause": "paused", "resume": "active again", "remove": "removed", "fire": "fires now"}
NEXT = "next-"
# The label of the sessions that a standing job makes.
LABEL = "standing"
FIRED_LINE = b"# fired by standing job "


@dataclass(frozen=True, slots=True)
class StandingSpec:
    """A job file with a schedule, resolved: `job` is what one of its sessions would be now."""

    name: str
    schedule: Schedule
    job: ResolvedJob


def digest_of(data: bytes) -> str:
    """What the log calls a job by."""
    return hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class StandingFolder:
    """The files of one standing job, as one process has read them. Not thread-safe."""

    files: Files
    layout: SpoolLayout
    name: str
    state: StandingJob = field(init=False)
    unreadable: str = ""
    _offset: int = 0

    def __post_init__(self) -> None:
        self.state = StandingJob(self.name)

    @property
    def path(self) -> Path:
        """The folder."""
        return self.layout.standing / check_name(self.name, "standing job")

    @property
    def job(self) -> Path:
        """The job file as submitted."""
        return self.path / "job.yaml"

    def next_job(self, digest: str) -> Path:
        """The job of a firing, of that digest: nobody can put another in its place."""
        return self.path / f"{NEXT}{digest[:16]}.yaml"

    @property
    def log(self) -> Path:
        """Everything that was done and fired."""
        return self.path / "log"

    @property
    def lock(self) -> Path:
        """Held while the log is touched."""
        return self.path / "lock"

    def refresh(self) -> StandingJob:
        """Read what is new in the log. Damaged stretches are passed over; VersionError when another version wrote it.

        FileNotFoundError where a network client does not show a log that is there: what it holds is never guessed.
        """
        if not self._offset and not self._is_listed():
            return self.state
        for base, scan in scan_file(lambda offset, limit: self.files.read(self.log, offset, limit), self._offset):
            for frame in scan.frames:
                try:
                    record = decode(frame.payload)
                except ValueError:
                    self._require_version(frame.payload)
                    continue
                self.state.fold(record)
            self._offset = base + scan.good_end
        return self.state

    def _is_listed(self) -> bool:
        # A listing shows a name before a lookup does.
        try:
            return self.log.name in self.files.names(self.path)
        except FileNotFoundError:
            if self.name in standing_names(self.files, self.layout):
                raise
            return False

    def _require_version(self, payload: memoryview) -> None:
        with contextlib.suppress(ValueError):
            record = unpack(payload)
            if isinstance(record, dict) and schema.STANDING.key in record:
                schema.STANDING.require(record, self.log)

    def append(self, records: Sequence[StandingRecord]) -> None:
        """Write records, durably. Only for the holder of the lock."""
        self.files.append(self.log, b"".join(encode_frame(encode(record)) for record in records))
        self.refresh()


def standing_names(files: Files, layout: SpoolLayout) -> list[str]:
    """Names of all standing jobs, removed ones too, sorted."""
    try:
        return [name for name in files.names(layout.standing) if NAME_PATTERN.fullmatch(name)]
    except FileNotFoundError:
        return []


def find_standing(files: Files, layout: SpoolLayout, name: str) -> StandingFolder:
    """A standing job, read. NotFoundError when there is none; VersionError when another version wrote it."""
    names = standing_names(files, layout)
    if name not in names:
        raise NotFoundError(f"no standing job {name!r} on {layout.root}: {hint(name, names)}see `arbctl standing list`")
    folder = StandingFolder(files, layout, name)
    folder.refresh()
    return folder


def open_standing(
    files: Files,
    layout: SpoolLayout,
    spec: StandingSpec,
    data: bytes,
    submission: Submission,
    *,
    again: bool = False,
) -> None:
    """Make a standing job of a job file, of which nothing is due before `submission`. UsageError when it is there.

    `again` where an attempt that was interrupted may have made it of this very file.
    """
    folder = StandingFolder(files, layout, spec.name)
    files.make_folder(layout.standing)
    files.make_folder(folder.path)
    digest = digest_of(data)
    with files.lock(folder.lock, LOCK_TIMEOUT_S):
        now = folder.refresh()
        if now.state is not StandingState.REMOVED:
            if again and now.digest == digest:
                return
            raise UsageError(exists_text(spec.name))
        files.publish(folder.job, data)
        record = OpenRecord(schedule=spec.schedule, submission=submission, digest=digest, wall_ns=submission.wall_ns)
        folder.append([record])
        # The name of a new log is durable, too.
        files.sync_folder(folder.path)


def exists_text(name: str) -> str:
    """What is said where a standing job of that name is there."""
    return (
        f"a standing job {name} is there already and is not overwritten: choose another session_id, or "
        f"`arbctl standing remove {name}` first (its history stays)"
    )


def require_free(files: Files, layout: SpoolLayout, name: str) -> None:
    """UsageError when a standing job of that name is there, as far as this user may see it."""
    with contextlib.suppress(PermissionError):
        if StandingFolder(files, layout, name).refresh().state is not StandingState.REMOVED:
            raise UsageError(exists_text(name))


def act(files: Files, layout: SpoolLayout, name: str, what: str, actor: Actor) -> StandingJob:
    """Pause, resume, remove or fire a standing job. UsageError when it is removed; NotFoundError when there is none."""
    folder = find_standing(files, layout, name)
    with files.lock(folder.lock, LOCK_TIMEOUT_S):
        now = folder.refresh()
        if now.state is StandingState.REMOVED:
            raise UsageError(f"standing job {name} was removed: submit its job file again")
        if what == "fire" and now.state is StandingState.PAUSED:
            raise UsageError(f"standing job {name} is paused: `arbctl standing resume {name}` first")
        nothing = {"pause": StandingState.PAUSED, "resume": StandingState.ACTIVE}.get(what) is now.state
        if not nothing:
            folder.append([ActRecord(what=what, actor=actor)])  # type: ignore[arg-type]
    return folder.state


def fired_line(name: str) -> bytes:
    """The first line of a job that a standing job makes."""
    return FIRED_LINE + name.encode() + b"\n"


def firing_of(files: Files, layout: SpoolLayout, data: bytes) -> tuple[FireRecord, Submission] | None:
    """The firing that made these very bytes of a job, and whose it is; None when none did.

    Only who holds the lock of a standing job writes its log, so nobody else can make such a job.
    """
    first, _, _ = data.partition(b"\n")
    if not first.startswith(FIRED_LINE):
        return None
    name = first.removeprefix(FIRED_LINE).decode(errors="replace")
    if not NAME_PATTERN.fullmatch(name):
        return None
    folder = StandingFolder(files, layout, name)
    try:
        state = folder.refresh()
    except (OSError, VersionError):
        return None
    digest = digest_of(data)
    fire = next((fire for fire in reversed(state.fires) if fire.digest == digest), None)
    return None if fire is None else (fire, state.submission)


def submission_of(files: Files, layout: SpoolLayout, data: bytes) -> Submission | None:
    """Whose job a standing job made, and why; None where none made it."""
    found = firing_of(files, layout, data)
    return None if found is None else msgspec.structs.replace(found[1], file=found[0].cause[:MAX_NAME_CHARS])


def read_job_of(folder: StandingFolder) -> bytes:
    """The job file of a standing job. FileNotFoundError when it is gone."""
    return folder.files.read(folder.job, limit=MAX_JOB_BYTES + 1)
