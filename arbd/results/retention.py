"""What may be taken away from a session that is over, and how it is taken out of the spool whole.

Keeps I8: nothing is touched that a worker may still write to. A session leaves the spool as it came, by one
rename; what a crash leaves of it is hidden, and removed by the next intake.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from arbd.arrays import Array
from arbd.errors import CorruptionError, DamageWarning, DataError, UnsafePathError, UsageError
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.store_format import encode_results, has_results
from arbd.results.store_reader import StoredResults
from arbd.spool.files import MAX_TREE_DEPTH, Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.liveness import is_held, read_beats, unread_beats
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX
from arbd.values import dataclass

# A folder that no reader of a session looks at, and that a repair removes.
BUILDING = ".repair-"
LOCK_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """A file that could go, and its size in bytes."""

    path: Path
    size: int


def require_over(files: Files, layout: SpoolLayout, session_id: str) -> LedgerState:
    """The state of a session that nobody works on; UsageError for any other."""
    state = SessionQueue(files, layout.session(session_id)).refresh()
    if not state.over:
        raise UsageError(
            f"session {session_id} is {state.label()}: this is for sessions that are over; wait for it, or "
            f"`arbctl cancel {session_id}` first"
        )
    require_unused(files, layout, session_id)
    return state


def require_unused(files: Files, layout: SpoolLayout, session_id: str) -> None:
    """UsageError when a worker has the session in hand; VersionError when one may, whose heartbeat another version writes."""
    for worker_id, error in unread_beats(files, layout).items():
        if is_held(files, layout, worker_id):
            raise error
    for beat in read_beats(files, layout):
        if session_id in beat.about.get("sessions", ()) and is_held(files, layout, beat.worker_id):
            raise UsageError(
                f"worker {beat.worker_id} still ends its work on session {session_id}: try again in a moment"
            )


def segments_of(files: Files, paths: SessionPaths) -> list[Found]:
    """The files that workers wrote results to."""
    return [_found(files, paths.segments / name) for name in files.names(paths.segments)]


def results_of(files: Files, paths: SessionPaths) -> list[Found]:
    """The compacted results and their table."""
    names = files.names(paths.folder)
    return [_found(files, path) for path in (paths.results, paths.results_csv) if path.name in names]


def claims_of(files: Files, paths: SessionPaths) -> list[Found]:
    """The ledger and everything else that is neither results nor segments."""
    results = {paths.results, paths.results_csv}
    return [
        found
        for found in everything_of(files, paths)
        if found.path not in results and found.path.parent != paths.segments
    ]


def everything_of(files: Files, paths: SessionPaths) -> list[Found]:
    """All regular files of a session."""
    return list(_walk(files, paths.folder))


def require_compacted(files: Files, paths: SessionPaths, state: LedgerState) -> StoredResults:
    """UsageError unless `results.msgpack` was read whole and holds every iteration."""
    if not has_results(files, paths):
        raise UsageError(f"session {paths.session_id} has no {paths.results.name}: its segments are its only results")
    try:
        stored = StoredResults(files, paths, RowRules.of(read_spec(files, paths)))
        rows = sum(len(group.rows) for group in stored.groups(blocks=not stored.segments))
    except CorruptionError as error:
        raise UsageError(f"{error}; the segments of session {paths.session_id} are kept") from error
    if rows != state.n:
        raise UsageError(f"{paths.results} holds {rows} of {state.n} iterations; the segments are kept")
    return stored


def take_blocks_in(files: Files, paths: SessionPaths, stored: StoredResults) -> None:
    """Make `results.msgpack` one that does without segments: with the return blocks that stand in these.

    It is written whole, read back and compared before it takes the place of the one that is there, so that a kill leaves
    one or the other. Only for the holder of the compaction's lock. DataError when it does not read back, UsageError when
    some blocks cannot be read.
    """
    if not stored.segments:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", DamageWarning)
        try:
            _take_blocks_in(files, paths, stored)
        except DamageWarning as damage:
            remedy = "`arbctl restore` an archive of it, if there is one"
            raise UsageError(f"{damage}; the segments of session {paths.session_id} are kept; {remedy}") from None


def _take_blocks_in(files: Files, paths: SessionPaths, stored: StoredResults) -> None:
    new = SessionPaths(paths.folder / f"{BUILDING}{files.system.token(4)}")
    files.make_folder(new.folder)
    try:
        files.publish_stream(
            new.results, encode_results(paths.session_id, stored.session_n, stored.as_merged(), blocks=True)
        )
        made = StoredResults(files, new, RowRules.of(read_spec(files, paths)))
        pairs = zip(stored.groups(blocks=True), made.groups(blocks=True), strict=True)
        if made.segments or not all(_equal_blocks(one.rows.blocks, other.rows.blocks) for one, other in pairs):
            raise DataError(paths.results, "what was written does not read back; check the disk; the segments are kept")
        files.rename(new.results, paths.results)
    finally:
        files.remove_tree(new.folder)


def _equal_blocks(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        # Of rows of which nobody can read any there are none.
        return one is other
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


@contextlib.contextmanager
def alone(files: Files, paths: SessionPaths) -> Iterator[None]:
    """Hold off a compaction of the session; UsageError when one is going on."""
    held = files.try_lock(paths.compaction_lock)
    if held is None:
        raise UsageError(f"session {paths.session_id} is being compacted: try again in a moment")
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def unchanged(files: Files, layout: SpoolLayout, session_id: str, ledger: bytes | None = None) -> Iterator[None]:
    """Hold a session's ledger, on which nobody can ask for more work then. UsageError unless it is over and unused.

    `ledger` is what it must say still: the digest of it (`ledger_digest`) when somebody read the session last. None is for
    what nobody can read any more.
    """
    paths = layout.session(session_id)
    held = files.system.lock(paths.ledger_lock, LOCK_PATIENCE_S)
    if held is None:
        raise UsageError(f"the ledger of session {session_id} is in use: try again in a moment")
    try:
        if ledger is None:
            require_unused(files, layout, session_id)
        else:
            require_over(files, layout, session_id)
            if ledger_digest(files, paths) != ledger:
                raise UsageError(f"session {session_id} has changed meanwhile: try again")
        if not held.is_ours():
            raise UsageError(f"the lock of session {session_id} was lost: try again")
        yield
    finally:
        held.release()


def ledger_digest(files: Files, paths: SessionPaths) -> bytes:
    """Whatever becomes of a session is written there: the same digest is the same session."""
    reader, digest, offset = files.reader(paths.ledger), hashlib.sha256(), 0
    while piece := reader.read(offset, 1 << 20):
        digest.update(piece)
        offset += len(piece)
    return digest.digest()


def remove_session(files: Files, layout: SpoolLayout, session_id: str, ledger: bytes | None = None) -> None:
    """Take a whole session out of the spool, unless somebody began to work on it; see `unchanged` for `ledger`."""
    paths = layout.session(session_id)
    doomed = layout.sessions / f".{session_id}.{files.system.token(4)}.removed"
    with unchanged(files, layout, session_id, ledger):
        files.rename(paths.folder, doomed)
    files.remove(layout.sessions / f"{REOPENED_PREFIX}{session_id}")
    files.remove_tree(doomed)


def remove_segments(files: Files, layout: SpoolLayout, session_id: str, kept: StoredResults, ledger: bytes) -> int:
    """Free what the compacted results hold; how many bytes. For the holder of the compaction's lock."""
    paths = layout.session(session_id)
    take_blocks_in(files, paths, kept)
    with unchanged(files, layout, session_id, ledger):
        doomed = segments_of(files, paths)
        for found in doomed:
            files.remove(found.path)
    return sum(found.size for found in doomed)


def _found(files: Files, path: Path) -> Found:
    return Found(path, files.system.look(path).size)


def _walk(files: Files, folder: Path, depth: int = 0) -> Iterator[Found]:
    if depth > MAX_TREE_DEPTH:
        raise UnsafePathError(folder, "is nested deeper than anything of arbd's: remove it")
    for name in files.names(folder):
        path = folder / name
        status = files.system.look(path)
        if stat.S_ISDIR(status.mode):
            yield from _walk(files, path, depth + 1)
        elif stat.S_ISREG(status.mode):
            yield Found(path, status.size)
