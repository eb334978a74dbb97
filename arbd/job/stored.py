"""The resolved job of a session, as it stands in the spool."""

from __future__ import annotations

from arbd.errors import CorruptionError
from arbd.job.codec import read_job_spec
from arbd.job.spec import JobSpec
from arbd.spool.files import Files
from arbd.spool.frames import payloads
from arbd.spool.layout import SessionPaths
from arbd.spool.unknown_session import unknown_session

MAX_SPEC_BYTES = 16 * 1024 * 1024


def read_spec(files: Files, paths: SessionPaths) -> JobSpec:
    """The resolved job of a session.

    NotFoundError, VersionError when another version wrote it, CorruptionError when its file cannot be read.
    """
    try:
        data = files.read(paths.spec, limit=MAX_SPEC_BYTES)
    except FileNotFoundError as error:
        raise unknown_session(files, paths) from error
    remedy = f"`arbctl repair {paths.session_id}` resolves its job.yaml again"
    for payload in payloads(data):
        try:
            return read_job_spec(payload, paths.spec)
        except ValueError as error:
            raise CorruptionError(paths.spec, 0, f"not a resolved job: {error}; {remedy}") from error
    raise CorruptionError(paths.spec, 0, f"damaged: no whole record in it; {remedy}")
