"""The seam between the queue code and the outside: files, locks and clocks, and nothing else of the system.

Owns every way in which the spool is touched, so that the same code runs on a real folder and in a simulation.
Keeps I2 and I4: what `append`, `publish` and `Appender.sync` return from is on the disk, and a name
appears in a folder only with its whole content. Keeps I3: no operation here compares clocks of two hosts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import filelock

# Under contention filelock polls; its default of 50 ms costs more than the lock itself.
LOCK_POLL_S = 0.005


class Clock(Protocol):
    """Time as an argument: monotonic for durations, wall clock only for what people read."""

    def monotonic_s(self) -> float:
        """Seconds that never go back, of this host alone."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC as this host believes; never compared with another host's."""
        ...


class Appender(Protocol):
    """One writer's open handle on an append-only file."""

    def write(self, data: bytes) -> None:
        """Append all of `data`; it may be lost in a power cut until `sync` returns."""
        ...

    def sync(self) -> None:
        """Return once everything written is durable."""
        ...

    def close(self) -> None:
        """Close the handle; does not sync."""
        ...


class HeldLock(Protocol):
    """A lock that is held until released or until its process dies."""

    def release(self) -> None:
        """Give the lock back."""
        ...


class Files(Protocol):
    """What the spool needs of a filesystem. All errors are OSError; FileNotFoundError means 'look again'."""

    def names(self, folder: Path) -> list[str]:
        """Sorted names in `folder`, read afresh (a listing sees new names on NFS before a lookup does)."""
        ...

    def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
        """Bytes from `offset` (at most `limit`) through a fresh open, so that other hosts' writes are seen."""
        ...

    def append(self, path: Path, data: bytes) -> None:
        """Open, append, fsync, close. Only for the holder of the file's lock."""
        ...

    def appender(self, path: Path) -> Appender:
        """Create `path` (it must not exist) for its one writer; the name is durable on return."""
        ...

    def overwrite(self, path: Path, data: bytes) -> None:
        """Replace the content in place, not atomically and not durably: for heartbeats, which carry a CRC."""
        ...

    def publish(self, path: Path, data: bytes) -> None:
        """Write a whole file by temporary name, fsync, rename, fsync of the folder; replaces an older one."""
        ...

    def publish_stream(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Like `publish`, for content that should not be in memory at once."""
        ...

    def make_folder(self, path: Path) -> None:
        """Create `path` and its parents durably; no error when it exists."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename durably; a folder must not replace an existing non-empty folder."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; no error when it is gone already."""
        ...

    def lock(self, path: Path, timeout_s: float) -> AbstractContextManager[None]:
        """Hold the exclusive lock of `path` across hosts; TimeoutError after `timeout_s`."""
        ...

    def try_lock(self, path: Path) -> HeldLock | None:
        """Take the lock of `path` at once, or return None when somebody holds it."""
        ...


class SystemClock:
    """The clocks of this host."""

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """See `Clock`."""
        return time.time_ns()


def write_all(fd: int, data: bytes) -> None:
    """Write every byte: a full disk may take a part of a write before it says ENOSPC on the next."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class DiskAppender:
    """An open append-only file on disk, written by one process only."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o664)

    def write(self, data: bytes) -> None:
        """See `Appender`."""
        write_all(self._fd, data)

    def sync(self) -> None:
        """See `Appender`."""
        os.fsync(self._fd)

    def close(self) -> None:
        """See `Appender`."""
        os.close(self._fd)


class DiskLock:
    """A `filelock.FileLock` that is held."""

    def __init__(self, lock: filelock.BaseFileLock) -> None:
        self._lock = lock

    def release(self) -> None:
        """See `HeldLock`."""
        self._lock.release()


class DiskFiles:
    """`Files` on a real folder, local or network."""

    def names(self, folder: Path) -> list[str]:
        """See `Files`."""
        return sorted(path.name for path in folder.iterdir())

    def read(self, path: Path, offset: int = 0, limit: int | None = None) -> bytes:
        """See `Files`."""
        with path.open("rb", buffering=0) as file:
            if offset:
                file.seek(offset)
            if limit is None:
                return file.read()
            return file.read(limit)

    def append(self, path: Path, data: bytes) -> None:
        """See `Files`."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o664)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)

    def appender(self, path: Path) -> Appender:
        """See `Files`."""
        handle = DiskAppender(path)
        sync_folder(path.parent)
        return handle

    def overwrite(self, path: Path, data: bytes) -> None:
        """See `Files`."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            write_all(fd, data)
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)

    def _temporary(self, path: Path, chunks: Iterable[bytes]) -> Path:
        temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o664)
        try:
            for chunk in chunks:
                write_all(fd, chunk)
            os.fsync(fd)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return temporary

    def publish(self, path: Path, data: bytes) -> None:
        """See `Files`."""
        self.publish_stream(path, (data,))

    def publish_stream(self, path: Path, chunks: Iterable[bytes]) -> None:
        """See `Files`."""
        temporary = self._temporary(path, chunks)
        temporary.rename(path)
        sync_folder(path.parent)

    def make_folder(self, path: Path) -> None:
        """See `Files`."""
        missing: list[Path] = []
        folder = path
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)

    def rename(self, source: Path, target: Path) -> None:
        """See `Files`."""
        source.rename(target)
        sync_folder(target.parent)
        if source.parent != target.parent:
            sync_folder(source.parent)

    def remove(self, path: Path) -> None:
        """See `Files`."""
        path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, path: Path, timeout_s: float) -> Iterator[None]:
        """See `Files`."""
        lock = _file_lock(path)
        try:
            lock.acquire(timeout=timeout_s, poll_interval=LOCK_POLL_S)
        except filelock.Timeout as error:
            raise TimeoutError(f"the lock {path} was not free within {timeout_s:g} s") from error
        try:
            yield
        finally:
            lock.release()

    def try_lock(self, path: Path) -> HeldLock | None:
        """See `Files`."""
        lock = _file_lock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return DiskLock(lock)


def _file_lock(path: Path) -> filelock.BaseFileLock:
    # Not thread-local: a life lock is taken in one thread and released in another.
    return filelock.FileLock(path, thread_local=False, mode=0o664)
