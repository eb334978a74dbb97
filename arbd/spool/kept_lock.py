"""A lock whose file stays open between one holder and the next: on a network filesystem each opening is a round trip.

Keeps I8: whoever holds it holds the lock of the file that the name leads to. The folder of the file is kept too, and looked
at anew under the lock; where the name leads to another folder by now (the session was removed, and made again), or the
server has forgotten the file, it is opened anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import weakref
from collections.abc import Callable

from arbd.values import dataclass

# Files that are gone, by what servers say of them.
_GONE = (errno.ESTALE, errno.ENOENT)
_OPENINGS = 3


@dataclass(frozen=True, slots=True)
class LockDoor:
    """How a lock file is reached: `open` gives descriptors of its folder and of it, `folder` its folder's alone.

    `poll_s` is how often it is tried while somebody else has it; `trouble` makes errors of locking what callers know.
    """

    open: Callable[[], tuple[int, int]]
    folder: Callable[[], int]
    poll_s: float
    trouble: Callable[[OSError], Exception]


class KeptLock:
    """One process's handle on a lock file; not thread-safe. Closed when nobody has it any more, or by `close`."""

    def __init__(self, door: LockDoor) -> None:
        self._door = door
        # Folder and file.
        self._open: list[int] = []
        weakref.finalize(self, _close, self._open)

    def take(self, timeout_s: float) -> KeptLock | None:
        """Take the lock; None when it was not free in time. To be given back by `release`."""
        give_up_s = time.monotonic() + timeout_s
        for left in reversed(range(_OPENINGS)):
            if not self._open:
                self._open += self._door.open()
            try:
                taken = self._taken(give_up_s)
                if not taken or self._leads_here():
                    return self if taken else None
            except OSError as error:
                self.close()
                if error.errno not in _GONE or not left:
                    raise self._door.trouble(error) from error
            else:
                self.close()
        raise FileNotFoundError(errno.ENOENT, "the folder of a lock is replaced again and again")

    def _taken(self, give_up_s: float) -> bool:
        while True:
            try:
                fcntl.flock(self._open[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_s:
                    return False
                time.sleep(self._door.poll_s)
            else:
                return True

    def _leads_here(self) -> bool:
        now = self._door.folder()
        try:
            return os.path.samestat(os.fstat(now), os.fstat(self._open[0]))
        finally:
            os.close(now)

    def release(self) -> None:
        """Give the lock back; the file stays open."""
        try:
            fcntl.flock(self._open[1], fcntl.LOCK_UN)
        except OSError:
            # The file server may be away: closing gives the lock up on this side whatever it says.
            self.close()

    def is_ours(self) -> bool:
        """See `HeldLock`: that the server gave it up shows in the next write, which fails."""
        return bool(self._open)

    def close(self) -> None:
        """Let go of the file, and of the lock if it is held."""
        _close(self._open)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptors.pop())
