"""A FUSE filesystem that passes everything on to another folder, and fails, delays or hangs on command.

The rules stand in a JSON file that is read at every call, so that changing what fails is replacing that file. Run as
its own process: `python -m tests.beds.faultfs BACKING MOUNT RULES`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.beds.needs import (  # fmt: skip
    BedUnavailableError,
    is_mounted,
    require_device,
    require_programs,
    require_root,
    unmount,
    wait_for,
)

POLL_S = 0.01
# A call that waits for a lock or hangs keeps a thread; with libfuse's own limit of 10, as many waiters would leave
# none to take the holder's unlock.
MAX_THREADS = 256
# What utimensat(2) says instead of a time, as it arrives here.
TIME_NOW, TIME_UNCHANGED = (1 << 30) - 1, (1 << 30) - 2
WRITING = ("write", "create", "fsync", "truncate", "mkdir", "rename", "unlink")


@dataclass(frozen=True)
class Rule:
    """Calls in `calls` on paths like `match` fail with `error` (an errno's name), or hang where it is ''."""

    calls: tuple[str, ...]
    error: str = ""
    match: str = "*"
    chance: float = 1.0


class FaultBed:
    """`with FaultBed(folder) as bed:`, then `bed.mount` is a folder with whims."""

    def __init__(self, folder: Path) -> None:
        self.backing, self.mount, self._rules = folder / "backing", folder / "mount", folder / "rules.json"
        self._log = folder / "faultfs.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FaultBed:
        require_root()
        require_device("/dev/fuse")
        require_programs({"fusermount3": "fuse3"})
        try:
            import mfusepy  # noqa: F401
        except (ImportError, OSError, AttributeError) as error:
            raise BedUnavailableError(f"mfusepy cannot be used: {error}") from error
        self.backing.mkdir()
        self.mount.mkdir()
        self.clear()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.beds.faultfs", self.backing, self.mount, self._rules],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for(lambda: is_mounted(self.mount), 20, f"the mount (its log: {self._log})")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.clear()
        unmount(self.mount)
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def set(self, *rules: Rule) -> None:
        """From now on these rules hold, and no others."""
        new = self._rules.with_suffix(".new")
        new.write_text(json.dumps([asdict(rule) for rule in rules]))
        new.rename(self._rules)

    def clear(self) -> None:
        """From now on everything works; what hangs goes on."""
        self.set()


def _serve(backing: str, mount: str, rules_file: str) -> None:
    import mfusepy

    class Whims(mfusepy.Operations):
        """The filesystem."""

        use_ns = True

        def _check(self, call: str, path: str) -> None:
            while (rule := self._rule(call, path)) is not None:
                if rule["error"]:
                    raise OSError(getattr(errno, rule["error"]), "by rule")
                time.sleep(POLL_S)

        def _rule(self, call: str, path: str) -> dict[str, Any] | None:
            for rule in json.loads(Path(rules_file).read_bytes()):
                if call in rule["calls"] and fnmatch.fnmatch(path, rule["match"]) and random.random() < rule["chance"]:
                    return dict(rule)
            return None

        def _real(self, call: str, path: str) -> str:
            self._check(call, path)
            return backing + path

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            real = self._real("getattr", path)
            found = os.fstat(fh) if fh is not None else os.lstat(real)
            names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
            times = {f"st_{kind}time": getattr(found, f"st_{kind}time_ns") for kind in "amc"}
            return {name: getattr(found, name) for name in names} | times

        def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
            names = [".", "..", *os.listdir(self._real("readdir", path))]
            return [(name, {"st_ino": position + 1}, 0) for position, name in enumerate(names)]

        def open(self, path: str, flags: int) -> int:
            return os.open(self._real("open", path), flags & ~os.O_NOFOLLOW)

        def create(self, path: str, mode: int, fi: int | None = None) -> int:
            return os.open(
                self._real("create", path), os.O_RDWR | os.O_CREAT | (fi or 0) & (os.O_EXCL | os.O_APPEND), mode
            )

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            self._check("read", path)
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            self._check("write", path)
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> None:
            os.truncate(self._real("truncate", path), length)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            self._check("fsync", path)
            os.fsync(fh)
            return 0

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            self._check("fsync", path)
            return 0

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

        def flock(self, path: str, fh: int, operation: int) -> int:
            self._check("flock", path)
            # A thread of this process must not block in the kernel for a lock that another of its calls gives back.
            while True:
                try:
                    fcntl.flock(fh, operation | fcntl.LOCK_NB)
                except BlockingIOError:
                    if operation & fcntl.LOCK_NB:
                        raise
                    # A waiter that is killed must get away, and must not be given the lock after its death.
                    if mfusepy._libfuse.fuse_interrupted():
                        raise OSError(errno.EINTR, "interrupted") from None
                    time.sleep(POLL_S)
                else:
                    return 0

        def rename(self, old: str, new: str) -> None:
            os.rename(self._real("rename", old), self._real("rename", new))

        def unlink(self, path: str) -> None:
            os.unlink(self._real("unlink", path))

        def mkdir(self, path: str, mode: int) -> None:
            os.mkdir(self._real("mkdir", path), mode)

        def rmdir(self, path: str) -> None:
            os.rmdir(self._real("unlink", path))

        def chmod(self, path: str, mode: int) -> None:
            os.chmod(backing + path, mode)

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
            found = os.lstat(backing + path)
            now = time.time_ns()
            atime, mtime = times or (now, now)
            special = {TIME_NOW: (now, now), TIME_UNCHANGED: (found.st_atime_ns, found.st_mtime_ns)}
            os.utime(backing + path, ns=(special.get(atime, (atime,))[0], special.get(mtime, (mtime,))[-1]))

        def statfs(self, path: str) -> dict[str, int]:
            found = os.statvfs(backing)
            return {name: getattr(found, name) for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_namemax")}  # fmt: skip

    with contextlib.suppress(KeyboardInterrupt):
        mfusepy.FUSE(
            Whims(), mount, foreground=True, fsname="arbd-faults", use_ino=True,
            attr_timeout=0, entry_timeout=0, negative_timeout=0, max_threads=MAX_THREADS,
        )  # fmt: skip


if __name__ == "__main__":
    _serve(*sys.argv[1:4])
