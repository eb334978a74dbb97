"""Jobs that were dropped and are no sessions: queued, or rejected, and why. For whoever asks for them by name.

A name is that of the file, with or without its ending, or the id that the session of the job is to have.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import Enum
from pathlib import Path

from arbd.errors import UnsafePathError
from arbd.spool.arrivals import SUBMITTED_SUFFIX, UNENDED_PATIENCE_S, UNFINISHED_NAMES
from arbd.spool.files import Files
from arbd.spool.held import Held
from arbd.spool.job_file import MAX_JOB_BYTES, SUFFIXES
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import is_held, read_beats, unread_beats
from arbd.spool.operations import halts
from arbd.spool.refusals import Refusal, key_of, read_refusals, reason_of, told
from arbd.spool.rejected import ERROR_SUFFIX
from arbd.values import dataclass

MAX_REASON_BYTES = 1 << 17
_NUMBER = re.compile(r"\.[0-9]+$")
_ID = re.compile(rb"^session_id:[ \t]*[\"']?([A-Za-z0-9._-]{1,64})[\"']?[ \t]*(?:#.*)?\r?$", re.MULTILINE)


class JobState(Enum):
    """What becomes of a file that was dropped, before there is a session."""

    QUEUED = "queued"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class DroppedJob:
    """`path` is where the file is. `refused_by` is which hosts refuse it while others may take it, and why.

    `session_id` is that of its session to be, as far as the file can be read and names one; '' else.
    """

    name: str
    state: JobState
    path: Path
    reason: str
    remedy: str = ""
    session_id: str = ""
    refused_by: Mapping[str, str] = field(default_factory=dict)
    checked_by: str = ""

    @property
    def line(self) -> str:
        """Why it stands as it does, in one line."""
        parts = [" ".join(self.reason.split()), self.remedy]
        return "; ".join(part for part in parts if part)

    def is_called(self, wanted: str) -> bool:
        """True when somebody who says `wanted` means this job."""
        # Of several that were refused under one name all but the first have a number.
        dropped = _NUMBER.sub("", self.name)
        stems = [dropped.removesuffix(suffix) for suffix in (SUBMITTED_SUFFIX, *SUFFIXES)]
        return wanted in (self.name, dropped, *stems) or bool(self.session_id and wanted == self.session_id)

    def document(self) -> dict[str, object]:
        """Stable keys for scripts."""
        return {
            "job": self.name,
            "session_id": self.session_id or None,
            "state": self.state.value,
            "reason": self.reason,
            "remedy": self.remedy,
            "refused_by": dict(self.refused_by),
        }


def live_workers(files: Files, layout: SpoolLayout) -> list[str]:
    """Workers that live and take jobs up, as far as their heartbeats tell."""
    taking = [
        beat.worker_id
        for beat in read_beats(files, layout)
        if beat.about.get("state") not in ("draining", "ended") and beat.about.get("only") is None
    ]
    return [name for name in (*taking, *unread_beats(files, layout)) if is_held(files, layout, name)]


def dropped_jobs(files: Files, layout: SpoolLayout) -> list[DroppedJob]:
    """Those that wait, then those that were refused, each by name. Who may see only a part of the spool gets that part."""
    return [*queued_jobs(files, layout), *rejected_jobs(files, layout)]


def find_dropped(files: Files, layout: SpoolLayout, wanted: str) -> DroppedJob | None:
    """The job that somebody calls `wanted`: one that waits, or the last one that was refused; None when there is none."""
    waiting = next((job for job in queued_jobs(files, layout) if job.is_called(wanted)), None)
    if waiting is not None:
        return waiting
    refused = [job for job in rejected_jobs(files, layout) if job.is_called(wanted)]
    return max(refused, key=lambda job: (job.name == wanted, len(job.name), job.name), default=None)


def queued_jobs(files: Files, layout: SpoolLayout) -> Iterator[DroppedJob]:
    """Those that wait to be taken up, or are being checked."""
    there: list[str] = []
    # In this order: what is taken up between the two is seen twice, and not missed.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        there = [name for name in files.names(layout.incoming) if not name.startswith(".")]
    checked: list[Held] = []
    with contextlib.suppress(FileNotFoundError, PermissionError):
        checked = [held for held in map(Held.parse, files.names(layout.taken)) if held is not None]
    for held in checked:
        path = held.path(layout)
        again = f", attempt {held.attempt}" if held.attempt > 1 else ""
        reason = f"worker {held.taker.worker_id} checks it{again}"
        session_id = _id_in(_content(files, path))
        yield DroppedJob(held.name, JobState.QUEUED, path, reason, "", session_id, {}, held.taker.worker_id)
    names = [name for name in there if name not in {held.name for held in checked}]
    with contextlib.suppress(FileNotFoundError, PermissionError):
        workers = live_workers(files, layout) if names else []
        refusals = read_refusals(files, layout) if names else []
        for name in names:
            yield _waiting(files, layout, name, workers, [found for found in refusals if found.name == name])


def _waiting(files: Files, layout: SpoolLayout, name: str, workers: list[str], refusals: list[Refusal]) -> DroppedJob:
    path = layout.incoming / name
    data = _content(files, path)
    of_it = [refusal for refusal in refusals if data is None or refusal.key == key_of(data)]
    refused = {refusal.worker_id: reason_of(files, layout, refusal) for refusal in of_it}
    reason, remedy = _why_it_waits(name, data, workers, refused)
    if not refused and workers and (halt := _halt_of_all(files, layout, workers)):
        reason, remedy = f"no job is taken up: {halt}", ""
    return DroppedJob(name, JobState.QUEUED, path, reason, remedy, _id_in(data), refused)


def _halt_of_all(files: Files, layout: SpoolLayout, workers: list[str]) -> str:
    """Why none of these workers takes a job up; '' when one may."""
    found = halts(files, layout)
    if "" in found:
        return found[""].text()
    if not all(worker in found for worker in workers):
        return ""
    return "; ".join(f"{worker} is {found[worker].text()}" for worker in workers)


def _why_it_waits(name: str, data: bytes | None, workers: list[str], refused: Mapping[str, str]) -> tuple[str, str]:
    if any(fnmatch.fnmatch(name, pattern) for pattern in UNFINISHED_NAMES):
        return "has the name of a file that is not finished", "rename it when it is"
    if refused:
        others = [worker for worker in workers if worker not in refused]
        rest = f"waits for {', '.join(others)}, which may take it" if others else "waits for a worker that may take it"
        return f"{told(refused)}\n{rest}", "let one of these hosts have what it lacks, or cancel the job"
    if not workers:
        return "no worker runs on this spool that takes jobs up", "start one with `arbd run`"
    if data is not None and data and not data.endswith(b"\n"):
        unended = f"its last line has no end; it is taken up {UNENDED_PATIENCE_S:g} s after its last change"
        return unended, "end it with a newline"
    return "waits for a worker to take it up", ""


def rejected_jobs(files: Files, layout: SpoolLayout) -> Iterator[DroppedJob]:
    """Those that were refused, or cancelled before they were taken up."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for name in files.names(layout.rejected):
            if not name.endswith(ERROR_SUFFIX):
                continue
            job = name.removesuffix(ERROR_SUFFIX)
            path = layout.rejected / job
            reason = (
                (_content(files, layout.rejected / name) or b"")[:MAX_REASON_BYTES].decode(errors="replace").strip()
            )
            remedy = "mend it and drop it again"
            yield DroppedJob(job, JobState.REJECTED, path, reason, remedy, _id_in(_content(files, path)))


def _content(files: Files, path: Path) -> bytes | None:
    """What a job file holds; None where that cannot be seen."""
    try:
        return files.read(path, limit=MAX_JOB_BYTES)
    except (OSError, UnsafePathError):
        return None


def _id_in(data: bytes | None) -> str:
    found = _ID.search(data or b"")
    return found.group(1).decode() if found is not None else ""
