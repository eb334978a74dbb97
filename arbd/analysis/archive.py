"""A session in one file that needs no spool: a gzipped tar, written whole and read again before it counts.

What comes out of an archive is as little trusted as what is dropped into a spool: only the names that a session
has, only regular files without holes, only when every check sum holds and the whole session can be read (I7).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from arbd import schema
from arbd.atomic_file import whole_file
from arbd.errors import CorruptionError, DataError, NotFoundError, UsageError, VersionError
from arbd.job.stored import read_spec
from arbd.named_file import MissingFileError, NamedFile, open_named
from arbd.results.columns import RowRules
from arbd.results.merge import Merge
from arbd.results.retention import everything_of, require_compacted
from arbd.results.store_reader import read_results
from arbd.spool.files import Files, Reader
from arbd.spool.layout import NAME_PATTERN, SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.readable import require_readable
from arbd.spool.sessions import SessionExistsError, place_session

COPY_BYTES = 1 << 20
# Of the header that says which schema an archive is of; those of the first version have none.
_PREFIX = "arbd."
# Locks and temporary files mean nothing elsewhere.
_KEPT = re.compile(
    r"(job\.yaml|spec\.msgpack|ledger|results\.(msgpack|csv)|(segments|generations|code)/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})"
)
# What an archive may hold: bytes after unpacking, and files.
MAX_UNPACKED_BYTES = 64 << 30
MAX_MEMBERS = 100_000


def write_archive(
    files: Files, paths: SessionPaths, state: LedgerState, target: Path, *, replace: bool = False, suffix: str = ".tmp"
) -> list[str]:
    """Archive a session that is over; the names in the archive. Segments go in only where nothing else holds what they do.

    UsageError where `target` is there already, unless it may be replaced.
    """
    kept = _names_to_keep(files, paths, state)
    with whole_file(target, suffix, replace=replace) as new:
        sums = _write(files, paths, kept, new)
        if _sums(new, paths.session_id) != sums:
            raise DataError(target, "what was written does not read back; check the disk")
    return kept


def is_archived(files: Files, paths: SessionPaths, state: LedgerState, target: Path) -> bool:
    """True when `target`, read from the disk to its end, is an archive of the session as it is now, byte by byte."""
    kept = _names_to_keep(files, paths, state)
    try:
        found = _sums(target, paths.session_id)
    except (OSError, tarfile.TarError, EOFError, zlib.error):
        return False
    return set(found) == set(kept) and all(_sum(files, paths.folder / name) == found[name] for name in kept)


def _names_to_keep(files: Files, paths: SessionPaths, state: LedgerState) -> list[str]:
    try:
        stored = require_compacted(files, paths, state)
        # Return blocks stand in them.
        skipped = "\0" if stored.segments or not state.done else "segments/"
    except UsageError as error:
        # Results that are not whole are made anew from the segments, if those are.
        skipped = paths.results.name
        rows = len(Merge(files, paths, RowRules.of(read_spec(files, paths))))
        if rows < state.counted:
            raise UsageError(
                f"session {paths.session_id} cannot be archived: its segments hold {rows:,} of {state.counted:,} recorded "
                f"iterations, and {error}"
            ) from error
    names = [str(found.path.relative_to(paths.folder)) for found in everything_of(files, paths)]
    return [name for name in names if _KEPT.fullmatch(name) and not name.startswith(skipped)]


def _sum(files: Files, path: Path) -> int:
    summed = _Summed(files.reader(path))
    while summed.read(COPY_BYTES):
        pass
    return summed.sum


def _write(files: Files, paths: SessionPaths, names: list[str], target: Path) -> dict[str, int]:
    sums = {}
    about_archive = {f"{_PREFIX}{key}": str(value) for key, value in schema.ARCHIVE.stamp().items()}
    with tarfile.open(target, "w:gz", compresslevel=6, format=tarfile.PAX_FORMAT, pax_headers=about_archive) as tar:
        for name in names:
            path = paths.folder / name
            reader = files.reader(path)
            about = tarfile.TarInfo(f"{paths.session_id}/{name}")
            about.size, about.mtime, about.mode = reader.size, files.system.look(path).mtime_ns // 10**9, 0o644
            summed = _Summed(reader)
            tar.addfile(about, summed)
            sums[name] = summed.sum
    return sums


class _Summed(io.RawIOBase):
    """Passes a file on and sums what passes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._offset = 0
        self.sum = 0

    def read(self, size: int = -1) -> bytes:
        data = self._reader.read(self._offset, self._reader.size if size < 0 else size)
        self._offset += len(data)
        self.sum = zlib.crc32(data, self.sum)
        return data


def _sums(path: Path, session_id: str) -> dict[str, int]:
    found = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            total = 0
            for piece in _pieces(tar, member):
                total = zlib.crc32(piece, total)
            found[member.name.removeprefix(f"{session_id}/")] = total
    return found


def _pieces(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name[:200]!a} is no file")
    while piece := file.read(COPY_BYTES):
        yield piece


def restore_archive(files: Files, layout: SpoolLayout, path: Path) -> str:
    """Put an archived session back; its id.

    DataError when the file is no such archive, VersionError when another version wrote it or what is in it, UsageError when
    the session is there.
    """
    try:
        with open_named(path, MAX_UNPACKED_BYTES) as file:
            _require_whole(file)
            with (
                file.stream() as stream,
                gzip.open(stream) as unpacked,
                tarfile.open(fileobj=cast("IO[bytes]", _Bounded(file, unpacked)), mode="r:") as tar,
            ):
                _require_schema(path, tar)
                return _restore(files, layout, path, tar)
    except MissingFileError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(path, "not a whole archive of `arbctl archive`: make or copy it again") from error


def _require_schema(path: Path, tar: tarfile.TarFile) -> None:
    told = {key.removeprefix(_PREFIX): value for key, value in tar.pax_headers.items() if key.startswith(_PREFIX)}
    number = told.get(schema.ARCHIVE.key, "")
    schema.ARCHIVE.require({**told, schema.ARCHIVE.key: int(number)} if number.isdecimal() else told, path)


def _require_whole(file: NamedFile) -> None:
    """Read it all: the check sum is at the end, where tarfile does not look."""
    with file.stream() as stream, gzip.open(stream) as unpacked:
        while unpacked.read(COPY_BYTES):
            if unpacked.tell() > MAX_UNPACKED_BYTES:
                raise DataError(
                    file.path, f"holds more than {MAX_UNPACKED_BYTES >> 30} GiB, the maximum for an archived session"
                )


class _Bounded:
    """An archive for tarfile, which reads a header of any length whole before anybody can look at it."""

    def __init__(self, file: NamedFile, unpacked: gzip.GzipFile) -> None:
        self._file = file
        self._unpacked = unpacked

    def read(self, size: int) -> bytes:
        if size > COPY_BYTES:
            raise DataError(self._file.path, f"has a header of {size:,} bytes, which no archived session has")
        return self._unpacked.read(size)

    def seek(self, position: int) -> int:
        return self._unpacked.seek(position)

    def tell(self) -> int:
        return self._unpacked.tell()


def _restore(files: Files, layout: SpoolLayout, path: Path, tar: tarfile.TarFile) -> str:
    with contextlib.ExitStack() as stack:
        staged: SessionPaths | None = None
        session_id = ""
        for number, member in enumerate(tar):
            if number >= MAX_MEMBERS:
                raise DataError(path, f"holds more than {MAX_MEMBERS:,} files, the maximum for an archived session")
            owner, _, name = member.name.partition("/")
            good = member.isreg() and not member.issparse() and NAME_PATTERN.fullmatch(owner) and _KEPT.fullmatch(name)
            if not good or session_id not in ("", owner):
                raise DataError(path, f"holds {member.name[:200]!a}, which no archived session has")
            if staged is None:
                session_id = owner
                staged = _stage(files, layout, session_id, stack)
            files.publish_stream(staged.folder / name, _pieces(tar, member))
        if staged is None:
            raise DataError(path, "is empty")
        _require_good(files, path, staged)
        try:
            place_session(files, layout, session_id, staged)
        except SessionExistsError as error:
            raise SessionExistsError(
                f"session {session_id} exists already in {layout.root} and is not overwritten: if it may go, archive "
                f"it, then `arbctl purge {session_id} --results --claims --yes`"
            ) from error
        return session_id


def _stage(files: Files, layout: SpoolLayout, session_id: str, stack: contextlib.ExitStack) -> SessionPaths:
    """A hidden folder for what is restored, locked so that nobody takes it for the leftover of a crash."""
    staged = SessionPaths(layout.sessions / f".{session_id}.{files.system.token(4)}.new")
    files.make_folder(staged.folder)
    stack.callback(files.remove_tree, staged.folder)
    stack.enter_context(files.lock(staged.ledger_lock, 0.0))
    for folder in (staged.segments, staged.generations, staged.code):
        files.make_folder(folder)
    return staged


def _require_good(files: Files, path: Path, new: SessionPaths) -> None:
    """Every recorded iteration must be in it."""
    try:
        require_readable(files, new)
        state = SessionQueue(files, new).refresh()
        rules = RowRules.of(read_spec(files, new))
        if files.look(new.results) is None:
            rows = len(Merge(files, new, rules))
        else:
            rows = sum(len(group.rows) for group in read_results(files, new, rules=rules))
    except (FileNotFoundError, NotFoundError, CorruptionError) as error:
        raise DataError(path, f"it is not a whole session: {error}") from error
    except VersionError as error:
        raise error.of(f"{path}, {Path(error.path).relative_to(new.folder)}") from error
    if rows < state.counted:
        raise DataError(path, f"it holds {rows:,} of {state.counted:,} recorded iterations")
