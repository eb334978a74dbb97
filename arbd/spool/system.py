"""The seam: every system call, lock and clock that the spool depends on, and nothing that decides anything.

Owns the list of ways in which this package touches the outside. `RealSystem` passes each on to the operating
system; a simulation passes them to a filesystem in memory, where any of them can fail, be slow, or be the last
thing its host did. Keeps I3: no call here compares the clocks of two hosts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from arbd.errors import SpoolError, UnsafePathError
from arbd.spool.kept_lock import KeptLock, LockDoor
from arbd.values import dataclass

if TYPE_CHECKING:
    import filelock

# Under contention filelock polls; its default of 50 ms costs more than the lock itself.
LOCK_POLL_S = 0.005
READ_BYTES = 1 << 20
NOT_PLAIN = "is not a regular file: links, pipes, devices, sockets and folders are refused; remove it"


class Clock(Protocol):
    """Time as an argument: monotonic for durations, wall clock only for what people read."""

    def monotonic_s(self) -> float:
        """Seconds that never go back, of this host alone."""
        ...

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 UTC as this host believes; never compared with another host's."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class SystemClock:
    """The clocks of this host."""

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    # Itself, as fast objectives ask for it at every iteration.
    monotonic_ns = staticmethod(time.monotonic_ns)

    def wall_ns(self) -> int:
        """See `Clock`."""
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(seconds)


class HeldLock(Protocol):
    """A lock that is held until released or until its process dies."""

    def release(self) -> None:
        """Give the lock back."""
        ...

    def is_ours(self) -> bool:
        """False when the file server gave the lock up, because it had not heard of this host for too long."""
        ...


class KeptFileLock(Protocol):
    """A lock to be taken again and again."""

    def take(self, timeout_s: float) -> HeldLock | None:
        """Take it; None when it was not free in time. Raises as `System.lock` does."""
        ...

    def close(self) -> None:
        """Let go of what is kept open, while the lock is not held."""
        ...


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What `stat` says of a name: `mode` with its type bits, size in bytes, when it changed by its server's clock.

    `links` counts the names that the file has; `uid` owns it.
    """

    mode: int
    size: int
    mtime_ns: int
    inode: int
    links: int = 1
    uid: int = 0


class System(Protocol):
    """System calls. All errors are OSError, FileNotFoundError and 'stale handle' on a network mean 'look again'."""

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        """A descriptor; `flags` as of os.open, close-on-exec added."""
        ...

    def close(self, fd: int) -> None:
        """Close; on NFS this is what makes writes visible to the next open elsewhere."""
        ...

    def read(self, fd: int, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`; fewer only at the end of the file."""
        ...

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write some or all of `data`; how many bytes were taken."""
        ...

    def fsync(self, fd: int) -> None:
        """Return once the file's (or folder's) content is durable."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Cut (or extend) the file to `size` bytes."""
        ...

    def status(self, fd: int) -> FileStatus:
        """Of an open file."""
        ...

    def look(self, path: Path) -> FileStatus:
        """Of a name, without following a link in its last part."""
        ...

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, in no order."""
        ...

    def make_folder(self, path: Path) -> None:
        """Create one folder; FileExistsError when the name is taken."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename as POSIX has it: replaces a file or an empty folder at `target`."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; FileExistsError when the name is taken, by whoever came first."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file."""
        ...

    def lock(self, path: Path, timeout_s: float) -> HeldLock | None:
        """The exclusive lock of `path` across processes and hosts, or None when it was not free in time."""
        ...

    def kept_lock(self, path: Path) -> KeptFileLock:
        """The same lock of a path that is taken again and again: its file may stay open in between."""
        ...

    def is_locked(self, path: Path) -> bool:
        """True while somebody holds the lock of `path`. Needs to be able to read it only, and never makes it."""
        ...

    def token(self, n_bytes: int) -> str:
        """A part of a name that no two processes ever make alike: `n_bytes` of randomness in hexadecimal."""
        ...


class FileLock:
    """A `filelock.FileLock` that is held."""

    def __init__(self, lock: filelock.BaseFileLock) -> None:
        self._lock = lock

    def release(self) -> None:
        """See `HeldLock`."""
        try:
            self._lock.release()
        except OSError:
            # The file server may be away. Closing the file gives the lock up on this side whatever it says; kept
            # open, it would stay locked for as long as this process lives.
            context = self._lock._context
            fd, context.lock_file_fd = context.lock_file_fd, None
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def is_ours(self) -> bool:
        """See `HeldLock`."""
        # A client of NFS goes on to refuse a lost lock to others on its own host. What tells is a write through the
        # locked file: it fails once the server has given the lock up.
        fd = self._lock._context.lock_file_fd
        if fd is None or os.fstat(fd).st_nlink != 1:
            # Never into a file that has a second name, see `open_plain`.
            return fd is not None
        try:
            os.pwrite(fd, b"\n", 0)
            os.fdatasync(fd)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EBADF, errno.ESTALE):
                return False
            raise
        return True


class RealSystem:
    """`System` on the operating system."""

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        """See `System`. Only regular files and folders: UnsafePathError for links, pipes, devices, sockets."""
        return open_plain(path, path, flags, mode)

    def close(self, fd: int) -> None:
        """See `System`."""
        os.close(fd)

    def read(self, fd: int, offset: int, limit: int) -> bytes:
        """See `System`."""
        parts: list[bytes] = []
        while limit > 0:
            part = os.pread(fd, min(limit, READ_BYTES), offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            limit -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """See `System`."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """See `System`."""
        os.fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """See `System`."""
        os.ftruncate(fd, size)

    def status(self, fd: int) -> FileStatus:
        """See `System`."""
        return status_of(os.fstat(fd))

    def look(self, path: Path) -> FileStatus:
        """See `System`."""
        return status_of(os.lstat(path))

    def names(self, folder: Path) -> list[str]:
        """See `System`."""
        return os.listdir(folder)  # noqa: PTH208 - names, not paths

    def make_folder(self, path: Path) -> None:
        """See `System`."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """See `System`."""
        path.rmdir()

    def rename(self, source: Path, target: Path) -> None:
        """See `System`."""
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        """See `System`."""
        os.link(source, target)

    def remove(self, path: Path) -> None:
        """See `System`."""
        path.unlink()

    def lock(self, path: Path, timeout_s: float) -> HeldLock | None:
        """See `System`."""
        if not path.parent.is_dir():
            # Some versions of filelock would make it, and where a mount is missing that is the wrong place.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        import filelock  # noqa: PLC0415 - who only reads takes no lock, and should not wait for its import

        # Not thread-local: a liveness lock is taken in one thread and released in another. What filelock would fall back
        # to where there are no locks outlives a killed holder for ever.
        lock = filelock.FileLock(path, thread_local=False, mode=0o664, fallback_to_soft=False)
        try:
            lock.acquire(timeout=timeout_s, poll_interval=LOCK_POLL_S)
        except filelock.Timeout:
            return None
        except OSError as error:
            raise _without_locks(error, path) from error
        return FileLock(lock)

    def kept_lock(self, path: Path) -> KeptFileLock:
        """See `System`."""

        def both() -> tuple[int, int]:
            folder = self.open_folder(path)
            try:
                return folder, self.open(path, os.O_RDWR | os.O_CREAT)
            except BaseException:
                os.close(folder)
                raise

        door = LockDoor(both, lambda: self.open_folder(path), LOCK_POLL_S, lambda error: _without_locks(error, path))
        return KeptLock(door)

    def open_folder(self, path: Path) -> int:
        """A descriptor of the folder that holds `path`, for looking at alone."""
        return os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def is_locked(self, path: Path) -> bool:
        """See `System`."""
        try:
            fd = self.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # A shared lock stands for all that only look: they do not take each other for the holder.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise _without_locks(error, path) from error
        finally:
            self.close(fd)
        return False

    def token(self, n_bytes: int) -> str:
        """See `System`."""
        import secrets  # noqa: PLC0415 - the same

        return secrets.token_hex(n_bytes)


def _without_locks(error: OSError, path: Path) -> OSError | SpoolError:
    if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
        return SpoolError(f"the filesystem of {path.parent} has no file locks: mount it with locks (flock)")
    return error


def open_plain(name: Path | str, path: Path, flags: int, mode: int, dir_fd: int | None = None) -> int:
    """Open a regular file, or with O_DIRECTORY a folder, and nothing else; `path` names it in errors.

    What was opened is looked at, not its name, so that nobody can put something else there in between; a pipe
    is opened without waiting for its other end. A file that has a second name is not opened for writing.
    """
    if flags & os.O_DIRECTORY:
        return os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        fd = os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, mode, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise UnsafePathError(path, NOT_PLAIN) from error
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise UnsafePathError(path, NOT_PLAIN)
    if found.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
        os.close(fd)
        raise UnsafePathError(
            path, f"has {found.st_nlink} names (hard links), and is not written to: remove the others"
        )
    return fd


def status_of(found: os.stat_result) -> FileStatus:
    """The part of `stat` that the spool looks at."""
    return FileStatus(
        found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino, links=found.st_nlink, uid=found.st_uid
    )


REAL_SYSTEM = RealSystem()
