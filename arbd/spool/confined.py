"""System calls that cannot leave the spool, whatever somebody who may write there has put in place of its folders.

Owns the way from the spool's root to a file: one folder after the other, each opened without following a link, and
the last name relative to its folder. Another host that writes to the same share may be in foreign hands; a link
that it leaves in the spool must not become a way to the files of this one.

What is made in a folder that a group may write to is that group's too, whatever the umask of who makes it: workers
that run as several users go on with each other's sessions.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from arbd.errors import UnsafePathError
from arbd.spool.files import Files
from arbd.spool.system import FileStatus, HeldLock, RealSystem, open_plain, status_of

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
LEADS_OUT = "is a symbolic link, or no folder: nothing in a spool may lead out of it; remove it"


def spool_files(root: Path) -> Files:
    """The files of the spool at `root`, and no others."""
    return Files(ConfinedSystem(root))


class ConfinedSystem(RealSystem):
    """`System` for the paths below one root. The root itself may be reached through links; it is the owner's word."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = f"{root}/"

    @contextlib.contextmanager
    def _folder_of(self, path: Path) -> Iterator[tuple[int, str]]:
        """The opened folder that holds `path`, and the name in it."""
        parts = self._parts(path)
        fd = os.open(self._root, _FOLDER)
        try:
            for number in range(1, len(parts)):
                fd = self._deeper(fd, parts, number)
            yield fd, parts[-1]
        except OSError as error:
            # Relative to a folder, the system knows the last part alone.
            if not isinstance(error, UnsafePathError):
                error.filename = str(path)
            raise
        finally:
            os.close(fd)

    def _parts(self, path: Path) -> list[str]:
        """The names on the way from the root to `path`; ["."] for the root itself."""
        text = str(path)
        if text == str(self._root):
            return ["."]
        if not text.startswith(self._prefix):
            raise UnsafePathError(path, f"is not in the spool {self._root}")
        parts = text[len(self._prefix) :].split("/")
        if ".." in parts:
            raise UnsafePathError(path, f"leads out of the spool {self._root}")
        return parts

    def _deeper(self, fd: int, parts: list[str], number: int) -> int:
        """The folder that is the `number`th part of a way, in the one that `fd` is, which is closed."""
        try:
            deeper = os.open(parts[number - 1], _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise UnsafePathError(self._root.joinpath(*parts[:number]), LEADS_OUT) from error
            raise
        os.close(fd)
        return deeper

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        """See `System`."""
        with self._folder_of(path) as (folder, name):
            if flags & os.O_DIRECTORY:
                try:
                    return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):
                        raise UnsafePathError(path, LEADS_OUT) from error
                    raise
            fd = open_plain(name, path, flags, mode, folder)
            if flags & os.O_CREAT:
                _share(fd, folder)
            return fd

    def look(self, path: Path) -> FileStatus:
        """See `System`."""
        with self._folder_of(path) as (folder, name):
            return status_of(os.stat(name, dir_fd=folder, follow_symlinks=False))

    def names(self, folder: Path) -> list[str]:
        """See `System`."""
        fd = self.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)  # noqa: PTH208 - names, not paths
        finally:
            os.close(fd)

    def make_folder(self, path: Path) -> None:
        """See `System`."""
        with self._folder_of(path) as (folder, name):
            os.mkdir(name, dir_fd=folder)
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                _share(made, folder)
            finally:
                os.close(made)

    def remove_folder(self, path: Path) -> None:
        """See `System`."""
        with self._folder_of(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def rename(self, source: Path, target: Path) -> None:
        """See `System`."""
        with self._folder_of(source) as (from_fd, old), self._folder_of(target) as (to_fd, new):
            os.rename(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    def link(self, source: Path, target: Path) -> None:
        """See `System`."""
        with self._folder_of(source) as (from_fd, old), self._folder_of(target) as (to_fd, new):
            os.link(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)

    def remove(self, path: Path) -> None:
        """See `System`."""
        with self._folder_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def lock(self, path: Path, timeout_s: float) -> HeldLock | None:
        """See `System`. A link in the place of the lock file is refused."""
        with self._folder_of(path) as (folder, name):
            try:
                there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                self.close(self.open(path, os.O_RDWR | os.O_CREAT))
            else:
                if not stat.S_ISREG(there.st_mode):
                    raise UnsafePathError(path, "is a lock, but no regular file: remove it")
            held = super().lock(path, timeout_s)
            if held is not None and self._parent_moved(folder, path):
                held.release()
                raise UnsafePathError(path, "was put elsewhere while its lock was taken")
            return held

    def open_folder(self, path: Path) -> int:
        """See `RealSystem`."""
        with self._folder_of(path) as (folder, _):
            return os.dup(folder)

    @staticmethod
    def _parent_moved(folder: int, path: Path) -> bool:
        """True when the folder's name leads to another folder by now: filelock takes names."""
        try:
            now = path.parent.stat(follow_symlinks=False)
        except FileNotFoundError:
            return True
        return not os.path.samestat(now, os.fstat(folder))


def _share(fd: int, folder: int) -> None:
    """Let the group of a folder do with a new file or folder in it what it may do with the folder."""
    above, found = os.fstat(folder), os.fstat(fd)
    if not above.st_mode & stat.S_IWGRP or found.st_gid != above.st_gid or found.st_uid != os.geteuid():
        return
    of_group = stat.S_IRWXG if stat.S_ISDIR(found.st_mode) else stat.S_IRGRP | stat.S_IWGRP
    wanted = stat.S_IMODE(found.st_mode) | above.st_mode & of_group
    if wanted != stat.S_IMODE(found.st_mode):
        os.fchmod(fd, wanted)
