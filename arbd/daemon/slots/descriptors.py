"""Descriptors of a slot's process: arbd's own get high numbers, and those that an objective closed are noticed.

A descriptor that is closed gives its number to the next file that is opened. So nothing of arbd's is opened while one
of the first three is free, nothing is written through a number that may be another file by now, and nothing is
truncated by number.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import resource
import sys
from pathlib import Path

from arbd.spool.confined import ConfinedSystem
from arbd.spool.files import Files

# Beyond what a program closes that wants "all" of them and means the first 256, and below the usual limit of 1,024.
FIRST_NUMBER = 512
STANDARD = (0, 1, 2)
# Descriptors that arbd has left when an objective used up its own.
ROOM = 64
MAX_OUTPUT_BYTES = 1 << 20

Identity = tuple[int, int]


def identity(fd: int) -> Identity | None:
    """Which file a descriptor is open on, or None when it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_other(fd: int, known: Identity) -> bool:
    """True when a descriptor is closed, or open on another file. A filesystem in trouble, which says neither, is no proof."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        return error.errno == errno.EBADF
    return (found.st_dev, found.st_ino) != known


def raised(fd: int) -> int:
    """The same open file under a high number; `fd` is closed."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    first = FIRST_NUMBER if soft < 0 else min(FIRST_NUMBER, soft // 2)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first)
    finally:
        os.close(fd)


class OwnDescriptors:
    """The descriptors that this process needs, and the file that each is open on."""

    def __init__(self, output: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= hard < soft + ROOM:
            # An objective that opens all that it may leaves room for what is to be written about it.
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard - ROOM, hard))
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._output = raised(fd)
        self._nothing = raised(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        self._sources = (self._nothing, self._output, self._output)
        self._identities = {fd: identity(source) for fd, source in zip(STANDARD, self._sources, strict=True)}
        self._own: dict[int, Identity | None] = {}
        for fd, source in zip(STANDARD, self._sources, strict=True):
            os.dup2(source, fd)
        self._streams = tuple(map(_stream, STANDARD))
        self._install()
        with os.scandir("/proc/self/fd") as found:
            numbers = [int(entry.name) for entry in found]
        for fd in numbers:
            # The one of the listing itself is closed by now.
            if fd not in STANDARD and (known := identity(fd)) is not None:
                self._own[fd] = known

    def keep(self, fd: int) -> int:
        """Move a descriptor to a high number and watch over it."""
        high = raised(fd)
        self._own[high] = identity(high)
        return high

    def forget(self, fd: int) -> bool:
        """No longer watch over it; True when it is still what it was, and may be closed."""
        return self._own.pop(fd, None) == identity(fd)

    def lost(self) -> list[int]:
        """Those of arbd's own that were closed or replaced."""
        return [fd for fd, known in self._own.items() if known is not None and _is_other(fd, known)]

    def restore_standard(self) -> list[str]:
        """Put standard input, output and error back, streams and descriptors; what was not in place."""
        changed: list[str] = []
        current = (sys.stdin, sys.stdout, sys.stderr)
        if current != self._streams or any(stream.closed for stream in self._streams):
            changed.append("sys.stdin, sys.stdout or sys.stderr")
            self._streams = tuple(
                _stream(fd) if stream.closed else stream for fd, stream in zip(STANDARD, self._streams, strict=True)
            )
            self._install()
            # Where this was the last reference to a stream on one of the three, its descriptor is closed by now.
            del current
        for fd, source in zip(STANDARD, self._sources, strict=True):
            if identity(fd) != self._identities[fd]:
                changed.append(f"descriptor {fd}")
                os.dup2(source, fd)
        return changed

    def used_up(self) -> bool:
        """True when no file could be opened any more; from then on there is room for those of arbd alone."""
        try:
            os.close(os.dup(self._nothing))
        except OSError:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft + ROOM, hard) if hard >= 0 else soft + ROOM, hard))
            return True
        return False

    def bound_output(self) -> None:
        """Begin the file of what is printed anew when it is long."""
        if os.fstat(self._output).st_size > MAX_OUTPUT_BYTES:
            os.ftruncate(self._output, 0)

    def say(self, text: str) -> None:
        """Append to what was printed, for the report of how the process ended."""
        with contextlib.suppress(OSError):
            os.write(self._output, text.encode(errors="replace") + b"\n")

    def _install(self) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc]


def _stream(fd: int) -> io.TextIOWrapper:
    # closefd: whoever closes the stream, as some do to flush it, leaves the descriptor as it is.
    if fd == 0:
        return open(fd, encoding="utf-8", errors="replace", closefd=False)
    return open(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


class WatchedSystem(ConfinedSystem):
    """The spool's files, where the segments that this process appends to have watched descriptors."""

    def __init__(self, root: Path, own: OwnDescriptors) -> None:
        super().__init__(root)
        self._descriptors = own
        self._appended: set[int] = set()

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        """See `System`."""
        fd = super().open(path, flags, mode)
        if not flags & os.O_APPEND:
            return fd
        high = self._descriptors.keep(fd)
        self._appended.add(high)
        return high

    def close(self, fd: int) -> None:
        """See `System`. One that an objective closed is not closed again: its number may be another file's."""
        if fd in self._appended:
            self._appended.discard(fd)
            if not self._descriptors.forget(fd):
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        super().close(fd)


def watched_files(root: Path, own: OwnDescriptors) -> Files:
    """The files of the spool at `root` for a slot's process."""
    return Files(WatchedSystem(root, own))
