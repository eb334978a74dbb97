"""A small ext4 on a loop device, which runs full and can be mounted read-only."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

from tests.beds.needs import is_mounted, require_programs, require_root, run, unmount

FILL_STEP = 256 * 1024


class SmallDisk:
    """`with SmallDisk(folder) as disk:`, then `disk.mount` is the folder on the small disk."""

    def __init__(self, folder: Path, mebibytes: int = 24) -> None:
        self._image = folder / "disk.img"
        self._mebibytes = mebibytes
        self.mount = folder / "disk"

    def __enter__(self) -> SmallDisk:
        require_root()
        require_programs({"mkfs.ext4": "e2fsprogs", "mount": "mount"})
        with self._image.open("wb") as file:
            file.truncate(self._mebibytes << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self._image)
        self.mount.mkdir()
        run("mount", "-o", "loop", self._image, self.mount)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if is_mounted(self.mount):
            run("mount", "-o", "remount,rw", self.mount, check=False)
            unmount(self.mount)

    def fill(self) -> None:
        """Take all the space there is."""
        fd = os.open(self.mount / "ballast", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        step = FILL_STEP
        try:
            while step:
                try:
                    os.write(fd, bytes(step))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
            os.fsync(fd)
        finally:
            os.close(fd)

    def free(self) -> None:
        """Give it back."""
        (self.mount / "ballast").unlink(missing_ok=True)

    def remount(self, *, read_only: bool) -> None:
        """As a kernel does that found an error on the disk. The disk must not be open for writing."""
        run("mount", "-o", f"remount,{'ro' if read_only else 'rw'}", self.mount)
