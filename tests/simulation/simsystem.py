"""`System` and `Clock` for simulated processes. Every call takes time, can fail, and can be a process's last."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from arbd.spool.system import FileStatus
from tests.simulation.disk import GLUSTER, LOCAL, NFS, Disk, Handle, Inode, failure
from tests.simulation.world import Host, KilledError, Process, Task, World

LOCK_LEASE_S = {LOCAL: 0.0, NFS: 16.0, GLUSTER: 42.0}
WRITING = frozenset(("open-write", "write", "fsync", "truncate", "make", "rename", "link", "remove"))


@dataclass(eq=False)
class SimLock:
    """A lock that a process holds, as far as it knows."""

    table: LockTable
    inode: Inode
    process: Process
    task: Task | None
    lost: bool = False

    def release(self) -> None:
        """See `HeldLock`."""
        if self.lost:
            self.process.host.lost_locks -= 1
        self.table.release(self)

    def is_ours(self) -> bool:
        """See `HeldLock`."""
        return not self.lost


class LockTable:
    """The server's locks: one holder per lock file."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._holders: dict[int, SimLock] = {}
        self._waiters: dict[int, list[Task]] = {}

    def take(self, inode: Inode, process: Process, timeout_s: float) -> SimLock | None:
        """Wait for a lock, but not longer than told."""
        give_up = self._world.now + timeout_s
        task = self._world.current
        while inode.number in self._holders:
            left = give_up - self._world.now
            if left <= 0 or task is None:
                return None
            self._waiters.setdefault(inode.number, []).append(task)
            self._world.wait(left)
        lock = SimLock(self, inode, process, task)
        self._holders[inode.number] = lock
        return lock

    def is_taken(self, inode: Inode) -> bool:
        """True while a process holds the lock."""
        return inode.number in self._holders

    def release(self, lock: SimLock) -> None:
        """Give a lock back; one that was lost meanwhile is somebody else's now."""
        if self._holders.get(lock.inode.number) is lock:
            del self._holders[lock.inode.number]
            waiters = self._waiters.pop(lock.inode.number, [])
            self._world.rng.shuffle(waiters)
            for task in waiters:
                self._world.wake(task)

    def release_all(self, process: Process) -> None:
        """What the server does for a dead process."""
        for lock in [lock for lock in self._holders.values() if lock.process is process]:
            self.release(lock)

    def expire(self, host: Host) -> None:
        """The lease of a silent host is over; it does not know yet."""
        for lock in [lock for lock in self._holders.values() if lock.process.host is host]:
            lock.lost = True
            host.lost_locks += 1
            self.release(lock)

    def expire_dead(self, host: Host) -> None:
        """The lease of processes that died with their host is over, or the host is back and says so."""
        for lock in [lock for lock in self._holders.values() if lock.process.host is host and not lock.process.alive]:
            self.release(lock)

    def forget(self) -> None:
        """The server lost its power, and everybody with it."""
        self._holders.clear()
        self._waiters.clear()


@dataclass
class Fault:
    """Calls that fail: with which errno, how often, on which host (None: all), whether only those that write."""

    number: int
    chance: float
    host: Host | None
    until: float
    writing_only: bool


@dataclass
class Surroundings:
    """What all simulated systems share."""

    world: World
    disk: Disk
    locks: LockTable
    faults: list[Fault] = field(default_factory=list)
    before_call: Callable[[Process, str, Path], None] = lambda process, call, path: None
    slow: float = 1.0


class SimSystem:
    """The system calls of one process."""

    def __init__(self, around: Surroundings, process: Process) -> None:
        self._around = around
        self._world = around.world
        self._disk = around.disk
        self._process = process
        self._handles: dict[int, Handle] = {}
        self._numbers = itertools.count(3)
        process.on_death.append(self._closed_by_death)

    def _closed_by_death(self) -> None:
        for handle in self._handles.values():
            self._disk.flush(handle)
        self._handles.clear()
        self._around.locks.release_all(self._process)

    def lose_power(self) -> None:
        """The host is gone with all it had not sent; its locks stay until its lease is over."""
        for handle in self._handles.values():
            self._disk.drop(handle)
        self._handles.clear()
        self._process.on_death.remove(self._closed_by_death)

    def outlive_lease(self) -> None:
        """The host was away for longer than its lease: what is open was opened under locks that are gone."""
        for handle in self._handles.values():
            handle.outlived_lease = True

    def _call(self, name: str, path: Path) -> None:
        world, process = self._world, self._process
        if not process.alive:
            raise KilledError
        rng = world.rng
        seconds = rng.expovariate(1.0 / (0.0005 * self._around.slow))
        if rng.random() < 0.01:
            seconds += rng.uniform(0.0, 0.5)
        world.pause(seconds)
        while process.host.cut_off_until > world.now:
            world.pause(process.host.cut_off_until - world.now)
        world.trace.append(f"{process.name} {name} {path.name}")
        self._around.before_call(process, name, path)
        if not process.alive:
            raise KilledError
        for fault in self._around.faults:
            concerned = fault.host in (None, process.host) and (not fault.writing_only or name in WRITING)
            if concerned and fault.until > world.now and rng.random() < fault.chance:
                raise failure(fault.number, path)

    def _handle(self, fd: int) -> Handle:
        return self._handles[fd]

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        """See `System`."""
        host = self._process.host
        writing = bool(flags & (os.O_WRONLY | os.O_RDWR))
        self._call("open-write" if writing else "open", path)
        inode: Inode
        if flags & os.O_CREAT:
            try:
                inode = self._disk.find(path)
            except FileNotFoundError:
                inode = self._disk.make(host, path, folder=False)
            else:
                if flags & os.O_EXCL:
                    raise failure(errno.EEXIST, path)
                self._disk.touched(host, path, inode)
        else:
            inode = self._disk.find_as(host, path)
        fd = next(self._numbers)
        self._handles[fd] = self._disk.open(host, path, inode, append=bool(flags & os.O_APPEND))
        return fd

    def close(self, fd: int) -> None:
        """See `System`."""
        handle = self._handles.pop(fd, None)
        if not self._process.alive or handle is None:
            return
        self._disk.flush(handle)

    def read(self, fd: int, offset: int, limit: int) -> bytes:
        """See `System`."""
        self._call("read", self._handle(fd).path)
        return self._disk.read(self._handle(fd), offset, limit)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """See `System`."""
        handle, count = self._handle(fd), len(data)
        try:
            self._call("write", handle.path)
        except OSError:
            # A disk that runs full takes a part first.
            if self._world.rng.random() < 0.5:
                self._disk.write(handle, bytes(data[: count // 2]))
            raise
        if self._world.rng.random() < 0.02 and count > 1:
            count = self._world.rng.randint(1, count - 1)
        self._disk.write(handle, bytes(data[:count]))
        return count

    def fsync(self, fd: int) -> None:
        """See `System`."""
        self._call("fsync", self._handle(fd).path)
        self._disk.sync(self._handle(fd))

    def truncate(self, fd: int, size: int) -> None:
        """See `System`."""
        self._call("truncate", self._handle(fd).path)
        self._disk.truncate(self._handle(fd), size)

    def _status(self, inode: Inode) -> FileStatus:
        mode = stat.S_IFREG if inode.entries is None else stat.S_IFDIR
        return FileStatus(mode | 0o664, len(inode.data), int(inode.changed_at * 1e9), inode.number)

    def status(self, fd: int) -> FileStatus:
        """See `System`."""
        self._call("fstat", self._handle(fd).path)
        return self._status(self._handle(fd).inode)

    def look(self, path: Path) -> FileStatus:
        """See `System`."""
        self._call("stat", path)
        return self._status(self._disk.find_as(self._process.host, path))

    def names(self, folder: Path) -> list[str]:
        """See `System`."""
        self._call("list", folder)
        entries = self._disk.find(folder).entries
        if entries is None:
            raise failure(errno.ENOTDIR, folder)
        return list(entries)

    def make_folder(self, path: Path) -> None:
        """See `System`."""
        self._call("make", path)
        self._disk.make(self._process.host, path, folder=True)

    def remove_folder(self, path: Path) -> None:
        """See `System`."""
        self._call("remove", path)
        if self._disk.find_as(self._process.host, path).entries:
            raise failure(errno.ENOTEMPTY, path)
        self._disk.put(self._process.host, path, None)

    def rename(self, source: Path, target: Path) -> None:
        """See `System`."""
        self._call("rename", source)
        self._disk.rename(self._process.host, source, target)

    def link(self, source: Path, target: Path) -> None:
        """See `System`."""
        self._call("link", source)
        inode = self._disk.find_as(self._process.host, source)
        if target.name in (self._disk.find(target.parent).entries or {}):
            raise failure(errno.EEXIST, target)
        self._disk.put(self._process.host, target, inode)

    def remove(self, path: Path) -> None:
        """See `System`."""
        self._call("remove", path)
        self._disk.find_as(self._process.host, path)
        self._disk.put(self._process.host, path, None)

    def lock(self, path: Path, timeout_s: float) -> SimLock | None:
        """See `System`."""
        self._call("lock", path)
        try:
            inode = self._disk.find(path)
        except FileNotFoundError:
            inode = self._disk.make(self._process.host, path, folder=False)
        return self._around.locks.take(inode, self._process, timeout_s)

    def kept_lock(self, path: Path) -> SimKeptLock:
        """See `System`."""
        return SimKeptLock(self, path)

    def is_locked(self, path: Path) -> bool:
        """See `System`."""
        self._call("is_locked", path)
        try:
            return self._around.locks.is_taken(self._disk.find(path))
        except FileNotFoundError:
            return False

    def token(self, n_bytes: int) -> str:
        """See `System`."""
        return self._world.rng.randbytes(n_bytes).hex()


@dataclass(frozen=True)
class SimKeptLock:
    """A lock that is taken again and again: it leads to the file that has the name when it is taken."""

    system: SimSystem
    path: Path

    def take(self, timeout_s: float) -> SimLock | None:
        """See `KeptFileLock`."""
        return self.system.lock(self.path, timeout_s)

    def close(self) -> None:
        """See `KeptFileLock`."""


class SimClock:
    """The clocks of a host: each starts where it likes, runs a little fast or slow, and believes another date."""

    def __init__(self, world: World, host: Host) -> None:
        self._world = world
        self._host = host

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return self._host.monotonic_offset_s + self._world.now * self._host.drift

    def monotonic_ns(self) -> int:
        """See `Clock`."""
        return int(self.monotonic_s() * 1e9)

    def wall_ns(self) -> int:
        """See `Clock`."""
        return int((1_700_000_000 + self._host.wall_offset_s + self._world.now) * 1e9)

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        self._world.pause(seconds)
