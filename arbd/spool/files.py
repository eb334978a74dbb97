"""How the spool uses a filesystem: the order of system calls that makes an operation durable and whole.

Keeps I2 and I4: what `append`, `publish` and `Appender.sync` return from is on the disk, and a name appears in
a folder only with its whole content. Every operation opens its file afresh, which is what close-to-open
consistency of network filesystems asks for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from arbd.errors import UnsafePathError
from arbd.spool.system import REAL_SYSTEM, FileStatus, HeldLock, KeptFileLock, System

TEMPORARY_SUFFIX = ".tmp"
# The name of a file before it is whole: its own, and a token.
TEMPORARY_NAME = re.compile(rf"\..+\.[0-9a-f]{{12}}{re.escape(TEMPORARY_SUFFIX)}", re.DOTALL)
# A name that was replaced a moment ago can be stale in a network client's cache; looking again finds the new one.
STALE_LOOKS = 3
# A session's folder has folders of files.
MAX_TREE_DEPTH = 8


class Appender:
    """One writer's open handle on an append-only file."""

    def __init__(self, system: System, path: Path) -> None:
        self._system = system
        self._fd = system.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)

    def write(self, data: bytes) -> None:
        """Append all of `data`; it may be lost in a power cut until `sync` returns."""
        _write_all(self._system, self._fd, data)

    def sync(self) -> None:
        """Return once everything written is durable."""
        self._system.fsync(self._fd)

    def close(self) -> None:
        """Close the handle; does not sync."""
        self._system.close(self._fd)


class Reader:
    """An open file of which parts are read; it stays the same file when another takes its name."""

    def __init__(self, system: System, path: Path) -> None:
        self._system = system
        self._fd = system.open(path, os.O_RDONLY)
        weakref.finalize(self, system.close, self._fd)
        self.size = system.status(self._fd).size

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`."""
        return self._system.read(self._fd, offset, limit)


class OpenedFile:
    """A file that is open for as long as its lock is held."""

    def __init__(self, system: System, fd: int) -> None:
        self._system, self._fd = system, fd

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`."""
        return self._system.read(self._fd, offset, limit)

    def append(self, data: bytes) -> None:
        """Append all of `data`, which is durable on return."""
        _write_all(self._system, self._fd, data)
        self._system.fsync(self._fd)


class Files:
    """What the spool does with files. All errors are OSError; FileNotFoundError means 'look again'."""

    def __init__(self, system: System = REAL_SYSTEM) -> None:
        self.system = system

    def names(self, folder: Path) -> list[str]:
        """Sorted names in `folder`, read afresh (a listing sees new names on NFS before a lookup does)."""
        return sorted(self.system.names(folder))

    def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
        """Bytes from `offset` (at most `limit`) through a fresh open, so that other hosts' writes are seen."""
        for looks_left in reversed(range(STALE_LOOKS)):
            try:
                with self._opened(path, os.O_RDONLY) as fd:
                    return self.system.read(fd, offset, sys.maxsize if limit is None else limit)
            except OSError as error:
                if error.errno != errno.ESTALE or not looks_left:
                    raise
        raise AssertionError("the last look returns or raises")

    def read_whole(self, path: Path, limit: int) -> tuple[bytes, FileStatus]:
        """At most `limit` bytes of a file and the status of that very file, whatever becomes of its name meanwhile."""
        with self._opened(path, os.O_RDONLY) as fd:
            return self.system.read(fd, 0, limit), self.system.status(fd)

    def reader(self, path: Path) -> Reader:
        """Open a finished file to read parts of it; closed when nobody holds it any more."""
        return Reader(self.system, path)

    def look(self, path: Path) -> FileStatus | None:
        """Status of a name as its server knows it; None when it is gone. PermissionError counts as a bare look."""
        try:
            found = self.system.look(path)
            if stat.S_ISREG(found.mode):
                # Opening makes a network filesystem ask its server; a bare stat may be seconds old there.
                with self._opened(path, os.O_RDONLY) as fd:
                    found = self.system.status(fd)
        except FileNotFoundError:
            return None
        except PermissionError:
            return self.system.look(path)
        return found

    def append(self, path: Path, data: bytes) -> None:
        """Open, append, fsync, close. Only for the holder of the file's lock."""
        with self._opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
            _write_all(self.system, fd, data)
            self.system.fsync(fd)

    @contextlib.contextmanager
    def extended(self, path: Path) -> Iterator[OpenedFile]:
        """A file that is there, opened once to read what is new in it and to append. Only for the holder of its lock."""
        for looks_left in reversed(range(STALE_LOOKS)):
            try:
                fd = self.system.open(path, os.O_RDWR | os.O_APPEND)
                break
            except OSError as error:
                if error.errno != errno.ESTALE or not looks_left:
                    raise
        try:
            yield OpenedFile(self.system, fd)
        finally:
            self.system.close(fd)

    def appender(self, path: Path) -> Appender:
        """Create `path` (it must not exist) for its one writer; the name is durable on return."""
        handle = Appender(self.system, path)
        try:
            self.sync_folder(path.parent)
        except OSError:
            handle.close()
            raise
        return handle

    def sync_file(self, path: Path) -> None:
        """Make what another process wrote to `path` durable, as far as it is to be seen here."""
        with self._opened(path, os.O_RDONLY) as fd:
            self.system.fsync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in `folder` durable."""
        with self._opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
            self.system.fsync(fd)

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replace the content in place, not atomically and not durably: for heartbeats, which carry a CRC."""
        with self._opened(path, os.O_WRONLY | os.O_CREAT) as fd:
            _write_all(self.system, fd, data)
            self.system.truncate(fd, len(data))

    def publish(self, path: Path, data: bytes) -> None:
        """Write a whole file by temporary name, fsync, rename, fsync of the folder; replaces an older one."""
        self.publish_stream(path, (data,))

    def publish_stream(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Like `publish`, for content that should not be in memory at once."""
        temporary = path.parent / f".{path.name}.{self.system.token(6)}{TEMPORARY_SUFFIX}"
        try:
            with self._opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                for chunk in chunks:
                    _write_all(self.system, fd, chunk)
                self.system.fsync(fd)
            self.system.rename(temporary, path)
        except Exception:
            # Where even removing fails, what was left is removed with the folder's other leftovers.
            with contextlib.suppress(OSError):
                self.remove(temporary)
            raise
        self.sync_folder(path.parent)

    def publish_once(self, path: Path, data: bytes) -> bool:
        """Like `publish`, but the first writer wins: False, and nothing is changed, when the name is there already."""
        temporary = path.parent / f".{path.name}.{self.system.token(6)}{TEMPORARY_SUFFIX}"
        try:
            with self._opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                _write_all(self.system, fd, data)
                self.system.fsync(fd)
            won = self._name_once(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                self.remove(temporary)
        # Also when another was first: whoever goes on from here relies on the name.
        self.sync_folder(path.parent)
        return won

    def _name_once(self, temporary: Path, path: Path) -> bool:
        try:
            self.system.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # A filesystem without hard links. Who comes second replaces a file by one with the same content.
            if path.name in self.names(path.parent):
                return False
            self.system.rename(temporary, path)
        return True

    def remove_temporaries(self, folder: Path, of: str = "") -> None:
        """Remove what crashes in `publish` left in a folder (of files whose name starts with `of`)."""
        for name in self.names(folder):
            if name.startswith(f".{of}") and name.endswith(TEMPORARY_SUFFIX):
                self.remove(folder / name)

    def make_folder(self, path: Path) -> None:
        """Create `path` in an existing folder, durably; no error when it exists."""
        with contextlib.suppress(FileExistsError):
            self.system.make_folder(path)
        self.sync_folder(path.parent)

    def rename(self, source: Path, target: Path) -> None:
        """Rename durably; a folder must not replace an existing non-empty folder."""
        self.system.rename(source, target)
        self.sync_folder(target.parent)
        if source.parent != target.parent:
            self.sync_folder(source.parent)

    def remove(self, path: Path) -> None:
        """Remove a file; no error when it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            self.system.remove(path)

    def remove_tree(self, path: Path, depth: int = 0) -> None:
        """Remove a folder and everything in it, or what stands in its place; no error when it is gone already."""
        if depth > MAX_TREE_DEPTH:
            raise UnsafePathError(path, "is nested deeper than anything of arbd's: remove it")
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(self.system.look(path).mode):
                self.remove(path)
                return
            for name in self.names(path):
                self.remove_tree(path / name, depth + 1)
            self.system.remove_folder(path)

    @contextlib.contextmanager
    def lock(self, path: Path, timeout_s: float, kept: KeptFileLock | None = None) -> Iterator[None]:
        """Hold the exclusive lock of `path` across hosts; TimeoutError after `timeout_s`.

        `kept` is that lock, where it is taken again and again (`System.kept_lock`).
        """
        held = self.system.lock(path, timeout_s) if kept is None else kept.take(timeout_s)
        if held is None:
            raise TimeoutError(f"the lock {path} was not free within {timeout_s:g} s")
        try:
            yield
        finally:
            held.release()

    def try_lock(self, path: Path) -> HeldLock | None:
        """Take the lock of `path` at once, or return None when somebody holds it."""
        return self.system.lock(path, 0.0)

    def is_locked(self, path: Path) -> bool:
        """True while some process holds the lock of `path`; for those who only look."""
        return self.system.is_locked(path)

    @contextlib.contextmanager
    def _opened(self, path: Path, flags: int) -> Iterator[int]:
        fd = self.system.open(path, flags)
        try:
            yield fd
        finally:
            self.system.close(fd)


def _write_all(system: System, fd: int, data: bytes) -> None:
    # A full disk may take a part of a write before it says ENOSPC on the next.
    view = memoryview(data)
    while view:
        view = view[system.write(fd, view) :]
