"""Whether what stands in a session's folder is of the schemas that this version reads, told before anything is done with it.

Looks at the first record of each file, which is of the schema of all: a file has one writer, or is opened by one record.
What is missing, torn or damaged is for those to tell who read it whole.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from arbd import schema
from arbd.errors import UnsafePathError
from arbd.records import unpack
from arbd.schema import Schema
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, frame_length, whole_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger_records import MAX_ITERATIONS


def require_readable_job(files: Files, paths: SessionPaths) -> None:
    """VersionError when another version wrote the resolved job."""
    _require(files, paths.spec, schema.JOB)


def require_readable(files: Files, paths: SessionPaths) -> None:
    """VersionError when another version wrote anything of the session but its ledger, which whoever asks has read.

    A read for the job, the results, each segment, and the last generation.
    """
    require_readable_job(files, paths)
    _require(files, paths.results, schema.RESULTS)
    with contextlib.suppress(FileNotFoundError):
        for name in files.names(paths.segments):
            _require(files, paths.segments / name, schema.SEGMENT)
    with contextlib.suppress(FileNotFoundError):
        # They are published in order, and by whoever came first.
        for name in files.names(paths.generations)[-1:]:
            _require(files, paths.generations / name, schema.GENERATION)


def iterations_of_job(files: Files, paths: SessionPaths) -> int | None:
    """How many iterations the resolved job has, for a ledger that has lost the record that says it; None if unknown.

    VersionError when another version wrote the job, and so, as far as anybody can tell, the ledger.
    """
    record = first_record(files, paths.spec)
    if not isinstance(record, dict):
        return None
    schema.JOB.require(record, paths.spec)
    found = record.get("n")
    return found if type(found) is int and 1 <= found <= MAX_ITERATIONS else None


def _require(files: Files, path: Path, of: Schema) -> None:
    record = first_record(files, path)
    if isinstance(record, dict):
        of.require(record, path)


def first_record(files: Files, path: Path) -> Any:
    """The record that a file begins with; None where there is none that is whole."""
    try:
        length = frame_length(files.read(path, 0, HEADER.size))
        payload = whole_frame(files.read(path, 0, HEADER.size + length)) if length else None
        return unpack(payload) if payload is not None else None
    except (FileNotFoundError, UnsafePathError, ValueError):
        return None
