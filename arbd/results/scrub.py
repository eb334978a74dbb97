"""Finds damage in the files of a session before a person does: every byte of them is read and every checksum compared.

Says what each damaged place costs, and whether `arbd.results.repair` can make up for it. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from arbd.errors import ArbdError, CorruptionError, NotFoundError, UnopenedError, UnsafePathError, VersionError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.generations import SUFFIX, read_generation
from arbd.results.segments import NAME, SegmentReader
from arbd.results.store_format import has_results
from arbd.results.store_reader import StoredResults
from arbd.spool.files import Files
from arbd.spool.frames import scan_file
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists
from arbd.spool.unknown_session import unknown_session
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged place of a session: which file, from which byte on, and what it is.

    `may_be_normal` where a worker that died, or that is writing at this moment, leaves the same.
    """

    path: Path
    offset: int
    what: str
    may_be_normal: bool = False

    def __str__(self) -> str:
        return f"{self.path}, byte {self.offset}: {self.what}"


def examine(files: Files, paths: SessionPaths) -> list[Damaged]:
    """Every damaged place of a session's files. VersionError at what another version wrote, which is no damage.

    NotFoundError when there is no such session.
    """
    # One that is being made has no ledger yet; one that has lost it has rows.
    if not exists(files, paths) and not _has_rows(files, paths):
        raise unknown_session(files, paths)
    spec, found = _job(files, paths)
    state, in_ledger = _ledger(files, paths)
    found += in_ledger
    rules = RowRules.of(spec) if spec is not None else None
    found += _results(files, paths, rules)
    found += _segments(files, paths, state, rules)
    found += _generations(files, paths)
    return found


def _has_rows(files: Files, paths: SessionPaths) -> bool:
    try:
        return any(NAME.fullmatch(name) for name in files.names(paths.segments))
    except FileNotFoundError:
        return False


def _job(files: Files, paths: SessionPaths) -> tuple[JobSpec | None, list[Damaged]]:
    try:
        return read_spec(files, paths), []
    except CorruptionError as error:
        return None, [_of(error)]
    except NotFoundError:
        return None, [Damaged(paths.spec, 0, "it is missing")]


def _ledger(files: Files, paths: SessionPaths) -> tuple[LedgerState | None, list[Damaged]]:
    queue = SessionQueue(files, paths)
    try:
        state = queue.refresh()
    except UnopenedError as error:
        return None, [_of(error)]
    except CorruptionError as error:
        return None, [_of(error)]
    except NotFoundError:
        return None, [Damaged(paths.ledger, 0, "it is missing")]
    found = [
        Damaged(paths.ledger, place.offset, f"no whole record up to byte {place.end}", may_be_normal=not state.over)
        for place in queue.unread()
    ]
    if queue.opened_from_job and not (found and found[0].offset == 0):
        found.insert(0, Damaged(paths.ledger, 0, "the record that opens the session is damaged"))
    return state, found


def _results(files: Files, paths: SessionPaths, rules: RowRules | None) -> list[Damaged]:
    if not has_results(files, paths):
        return []
    try:
        stored = StoredResults(files, paths, rules)
        # Blocks that stand in segments are read with these.
        rows = sum(len(group.rows) for group in stored.groups(blocks=not stored.segments))
    except CorruptionError as error:
        return [_of(error)]
    if rows != stored.session_n:
        return [Damaged(paths.results, 0, f"it holds {rows:,} of {stored.session_n:,} iterations")]
    return []


def _segments(
    files: Files, paths: SessionPaths, state: LedgerState | None, rules: RowRules | None
) -> Iterator[Damaged]:
    """Damaged stretches; where nobody writes any more, ends that are not whole too."""
    if paths.segments.name not in files.names(paths.folder):
        return
    reader = SegmentReader(files, paths, blocks=True, rules=rules)
    for _ in reader.poll():
        pass
    for found in reader.damage:
        yield Damaged(found.path, found.damage.offset, f"no rows up to byte {found.damage.end}")
    if state is None or not state.over:
        return
    for name in files.names(paths.segments):
        path = paths.segments / name
        if NAME.fullmatch(name):
            end = _good_end(files, path)
            if end < files.system.look(path).size:
                yield Damaged(path, end, "its last rows are not whole")


def _good_end(files: Files, path: Path) -> int:
    end = 0
    for base, scan in scan_file(lambda offset, limit: files.read(path, offset, limit)):
        end = base + scan.good_end
    return end


def _generations(files: Files, paths: SessionPaths) -> Iterator[Damaged]:
    if paths.generations.name not in files.names(paths.folder):
        return
    for name in files.names(paths.generations):
        number = name.removesuffix(SUFFIX)
        if name.startswith(".") or not (name.endswith(SUFFIX) and number.isascii() and number.isdigit()):
            continue
        try:
            read_generation(files, paths, int(number))
        except CorruptionError as error:
            yield _of(error)


def _of(error: CorruptionError) -> Damaged:
    return Damaged(Path(error.path), error.offset, error.reason)


def scrub(files: Files, paths: SessionPaths) -> list[str]:
    """What a person should know of a session's files; nothing where another version wrote some of them."""
    try:
        return [str(found) for found in examine(files, paths) if not found.may_be_normal]
    except (VersionError, NotFoundError):
        # Not damage; and who removes a session meanwhile does so on purpose.
        return []
    except UnsafePathError as error:
        return [str(error)]
    except (ArbdError, OSError) as error:
        return [f"{paths.session_id}: {error}"]
