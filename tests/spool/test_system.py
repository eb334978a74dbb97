"""Locks on the operating system, where they cannot be had and where giving them back fails."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import filelock
import pytest

from arbd.errors import SpoolError
from arbd.spool.files import Files
from arbd.spool.liveness import LivenessLock
from arbd.spool.system import REAL_SYSTEM


def test_a_lock_in_a_folder_that_is_missing_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        REAL_SYSTEM.lock(tmp_path / "gone" / "lock", 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_release_fails_is_free_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = REAL_SYSTEM.lock(tmp_path / "lock", 0.0)
    assert held is not None
    flock = fcntl.flock

    def failing(fd: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", failing)
    held.release()
    monkeypatch.undo()
    again = REAL_SYSTEM.lock(tmp_path / "lock", 0.0)
    assert again is not None
    again.release()


def test_a_filesystem_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(SpoolError, match="has no file locks"):
        REAL_SYSTEM.lock(tmp_path / "lock", 0.0)
    (tmp_path / "there").touch()
    with pytest.raises(SpoolError, match="has no file locks"):
        REAL_SYSTEM.is_locked(tmp_path / "there")


def test_a_look_at_a_lock_needs_no_right_to_write_and_makes_nothing(tmp_path: Path) -> None:
    assert not REAL_SYSTEM.is_locked(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []
    held = REAL_SYSTEM.lock(tmp_path / "lock", 0.0)
    assert held is not None
    (tmp_path / "lock").chmod(0o444)
    assert REAL_SYSTEM.is_locked(tmp_path / "lock")
    held.release()
    assert not REAL_SYSTEM.is_locked(tmp_path / "lock")


def test_a_stale_name_is_looked_up_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    class Stale(type(REAL_SYSTEM)):  # type: ignore[misc]
        left = 2

        def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
            if self.left:
                self.left -= 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return int(super().open(path, flags, mode))

    assert Files(Stale()).read(tmp_path / "file") == b"content"
    stale = Stale()
    stale.left = 3
    with pytest.raises(OSError, match="Stale"):
        Files(stale).read(tmp_path / "file")


def test_locks_are_those_of_filelock(tmp_path: Path) -> None:
    other = filelock.FileLock(tmp_path / "lock")
    with other, pytest.raises(TimeoutError, match="was not free within 0"):
        Files().lock(tmp_path / "lock", 0.0).__enter__()


def test_a_lock_that_the_file_server_gave_up_is_noticed_and_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = REAL_SYSTEM.lock(tmp_path / "w.lock", 0.0)
    assert held is not None
    life = LivenessLock(Files(), tmp_path / "w.lock", held)
    assert held.is_ours()
    assert not life.keep()

    def refused(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", refused)
    assert not held.is_ours()
    assert life.keep()
    monkeypatch.undo()
    assert REAL_SYSTEM.is_locked(tmp_path / "w.lock")
    life.release()
    assert not REAL_SYSTEM.is_locked(tmp_path / "w.lock")


def test_a_lock_file_with_a_second_name_is_never_written_to(tmp_path: Path) -> None:
    held = REAL_SYSTEM.lock(tmp_path / "w.lock", 0.0)
    assert held is not None
    os.link(tmp_path / "w.lock", tmp_path / "other")
    assert held.is_ours()
    assert (tmp_path / "other").read_bytes() == b""
    held.release()
