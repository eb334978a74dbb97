"""The shared filesystem: what its server shows, what of that is durable, and what each host believes.

Three kinds. `local`: all daemons on one machine; what is written is seen at once. `nfs`: close-to-open
consistency, appends at the size that the client believes in, names that were looked up too early stay away, names
that were replaced are stale for a while. `gluster`: an open may show a copy that is some seconds old, though never
older than what this host has seen. Measured on the real ones; where several behaviours are allowed, dice decide.
In all of them a power cut of the server undoes what was not synced: data of files, and names of folders.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.world import Host, World

LOCAL, NFS, GLUSTER = "local", "nfs", "gluster"
NAME_CACHE_S = 29.0
GLUSTER_CACHE_S = 3.0


def failure(number: int, path: object = "") -> OSError:
    """The OSError of an errno, of the class that Python gives it."""
    return OSError(number, os.strerror(number), str(path))


@dataclass(eq=False)
class Inode:
    """A file (`entries` None) or folder. `versions` are recent contents with the time until which they stood."""

    number: int
    entries: dict[str, Inode] | None = None
    durable_entries: dict[str, Inode] = field(default_factory=dict)
    data: bytes = b""
    durable: bytes = b""
    changed_at: float = 0.0
    versions: list[tuple[float, int, bytes]] = field(default_factory=list)
    version: int = 0


@dataclass(eq=False)
class Handle:
    """An open file: what its host saw when it opened it, and what it has not sent to the server yet."""

    host: Host
    path: Path
    inode: Inode
    append: bool
    base: bytes
    dirty: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0
    position: int = 0
    cut: int | None = None
    outlived_lease: bool = False


@dataclass(frozen=True)
class NameChange:
    """A step of the folder journal: put `inode` (or nothing) under a name, and take it from another."""

    folder: Inode
    name: str
    inode: Inode | None
    source: tuple[Inode, str] | None = None


@dataclass
class Beliefs:
    """What a host's client has cached."""

    absent: dict[Path, float] = field(default_factory=dict)
    known: dict[Path, int] = field(default_factory=dict)
    stale: dict[Path, float] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)


class Disk:
    """The server and its clients."""

    def __init__(self, world: World, kind: str, root: Path) -> None:
        self.world = world
        self.kind = kind
        self._numbers = itertools.count(1)
        self.root = root
        self.top = self._inode(folder=True)
        self._journal: list[NameChange] = []
        self._beliefs: dict[Host, Beliefs] = {}
        self.watch: Callable[[Handle, bytes, bytes], None] = lambda handle, before, after: None

    def _inode(self, *, folder: bool = False) -> Inode:
        return Inode(next(self._numbers), {} if folder else None, changed_at=self.world.now)

    # -- names

    def find(self, path: Path) -> Inode:
        """What the server has under a path."""
        node = self.top
        for part in path.relative_to(self.root).parts:
            if node.entries is None:
                raise failure(errno.ENOTDIR, path)
            if part not in node.entries:
                raise failure(errno.ENOENT, path)
            node = node.entries[part]
        return node

    def find_durable(self, path: Path) -> Inode | None:
        """What a power cut would leave under a path."""
        node: Inode | None = self.top
        for part in path.relative_to(self.root).parts:
            node = node.durable_entries.get(part) if node is not None else None
        return node

    def beliefs(self, host: Host) -> Beliefs:
        """A host's cache."""
        return self._beliefs.setdefault(host, Beliefs())

    def find_as(self, host: Host, path: Path) -> Inode:
        """What a host finds under a path, which on NFS may be nothing for a while after it appeared."""
        if self.kind != NFS:
            return self.find(path)
        beliefs, rng, now = self.beliefs(host), self.world.rng, self.world.now
        if beliefs.absent.get(path, 0.0) > now:
            raise failure(errno.ENOENT, path)
        try:
            inode = self.find(path)
        except FileNotFoundError:
            if rng.random() < 0.5:
                beliefs.absent[path] = now + rng.uniform(0.0, NAME_CACHE_S)
            raise
        if beliefs.known.get(path, inode.number) != inode.number and rng.random() < 0.3:
            beliefs.stale[path] = now + rng.uniform(0.0, NAME_CACHE_S)
        beliefs.known[path] = inode.number
        if beliefs.stale.get(path, 0.0) > now and rng.random() < 0.7:
            raise failure(rng.choice((errno.ENOENT, errno.ESTALE)), path)
        return inode

    def _folder(self, path: Path) -> dict[str, Inode]:
        entries = self.find(path).entries
        if entries is None:
            raise failure(errno.ENOTDIR, path)
        return entries

    def _change(self, change: NameChange) -> None:
        self._journal.append(change)
        _apply(change, lambda inode: inode.entries or {}, lambda inode, entries: setattr(inode, "entries", entries))

    def put(self, host: Host, path: Path, inode: Inode | None) -> None:
        """Give an inode a name, or take the name away."""
        folder = self.find(path.parent)
        self._change(NameChange(folder, path.name, inode))
        self.touched(host, path, inode)

    def touched(self, host: Host, path: Path, inode: Inode | None) -> None:
        """A host knows what it did itself."""
        beliefs = self.beliefs(host)
        beliefs.absent.pop(path, None)
        beliefs.stale.pop(path, None)
        if inode is None:
            beliefs.known.pop(path, None)
        else:
            beliefs.known[path] = inode.number

    def make(self, host: Host, path: Path, *, folder: bool) -> Inode:
        """A new file or folder."""
        if path.name in self._folder(path.parent):
            raise failure(errno.EEXIST, path)
        inode = self._inode(folder=folder)
        self.put(host, path, inode)
        return inode

    def rename(self, host: Host, source: Path, target: Path) -> None:
        """Rename as POSIX has it."""
        inode = self.find_as(host, source)
        there = self._folder(target.parent).get(target.name)
        if there is inode:
            return
        if there is not None and there.entries:
            raise failure(errno.ENOTEMPTY, target)
        if there is not None and (there.entries is None) != (inode.entries is None):
            raise failure(errno.ENOTDIR if there.entries is None else errno.EISDIR, target)
        self._change(NameChange(self.find(target.parent), target.name, inode, (self.find(source.parent), source.name)))
        self.touched(host, source, None)
        self.touched(host, target, inode)

    def sync_folder(self, inode: Inode) -> None:
        """Make everything durable that happened to names, up to the last change of this folder."""
        last = max(
            (i for i, c in enumerate(self._journal) if inode in (c.folder, c.source[0] if c.source else None)),
            default=-1,
        )
        self._commit(last + 1)

    def _commit(self, count: int) -> None:
        for change in self._journal[:count]:
            _apply(change, lambda i: i.durable_entries, lambda i, entries: setattr(i, "durable_entries", entries))
        del self._journal[:count]

    # -- contents

    def open(self, host: Host, path: Path, inode: Inode, *, append: bool) -> Handle:
        """A handle, with what this host sees in the file now."""
        base = self._view(host, inode)
        return Handle(host, path, inode, append, base, size=len(base))

    def _view(self, host: Host, inode: Inode) -> bytes:
        seen = self.beliefs(host).seen
        shown = (inode.version, inode.data)
        # Only what a client has cached can be old there.
        oldest = seen.get(inode.number)
        if self.kind == GLUSTER and oldest is not None and self.world.rng.random() < 0.4:
            old = [
                (version, data)
                for until, version, data in inode.versions
                if version >= oldest and until >= self.world.now - GLUSTER_CACHE_S
            ]
            shown = self.world.rng.choice([*old, shown])
        seen[inode.number] = max(seen.get(inode.number, 0), shown[0])
        return shown[1]

    def read(self, handle: Handle, offset: int, limit: int) -> bytes:
        """What a host reads through a handle."""
        content = handle.base
        if self.kind == LOCAL or (self.kind == NFS and self.world.rng.random() < 0.5):
            content = handle.inode.data
        for position, data in handle.dirty:
            content = _overlaid(content, position, data)
        return content[offset : offset + limit]

    def write(self, handle: Handle, data: bytes) -> None:
        """Write through a handle; on a network the server learns of it later."""
        if self.kind == LOCAL:
            handle.size = len(handle.inode.data)
        at = handle.size if handle.append else handle.position
        handle.dirty.append((at, data))
        handle.position = at + len(data)
        handle.size = max(handle.size, handle.position)
        if self.kind == LOCAL:
            self.flush(handle)

    def truncate(self, handle: Handle, size: int) -> None:
        """Cut a file."""
        self.flush(handle)
        self._set(handle, handle.inode.data[:size].ljust(size, b"\0"))
        handle.size = size

    def flush(self, handle: Handle) -> None:
        """Send what is dirty to the server."""
        while handle.dirty:
            position, data = handle.dirty.pop(0)
            if handle.append and self.kind != NFS:
                position = len(handle.inode.data)
            self._set(handle, _overlaid(handle.inode.data, position, data))

    def _set(self, handle: Handle, data: bytes) -> None:
        inode, now = handle.inode, self.world.now
        self.watch(handle, inode.data, data)
        if self.kind == GLUSTER:
            inode.versions = [v for v in inode.versions if v[0] >= now - GLUSTER_CACHE_S]
            inode.versions.append((now, inode.version, inode.data))
        inode.version += 1
        inode.data = data
        inode.changed_at = now
        self.beliefs(handle.host).seen[inode.number] = inode.version

    def sync(self, handle: Handle) -> None:
        """Make a file's content durable, or a folder's names."""
        self.flush(handle)
        if handle.inode.entries is not None:
            self.sync_folder(handle.inode)
        handle.inode.durable = handle.inode.data

    # -- disasters

    def drop(self, handle: Handle) -> None:
        """The host of a handle lost its power: some of what it had not sent arrived, or none."""
        keep = self.world.rng.randint(0, len(handle.dirty))
        del handle.dirty[keep:]
        if handle.dirty and self.world.rng.random() < 0.5:
            position, data = handle.dirty[-1]
            handle.dirty[-1] = (position, data[: self.world.rng.randint(0, len(data))])
        self.flush(handle)

    def power_cut(self) -> None:
        """The server loses its power and comes back."""
        rng = self.world.rng
        self._commit(rng.choice((0, len(self._journal), rng.randint(0, len(self._journal)))))
        self._journal.clear()
        self._beliefs.clear()
        self._settle(self.top)

    def _settle(self, inode: Inode) -> None:
        if inode.entries is not None:
            inode.entries = dict(inode.durable_entries)
            for child in inode.entries.values():
                self._settle(child)
            return
        inode.versions.clear()
        inode.version += 1
        rng, tail = self.world.rng, len(inode.data) - len(inode.durable)
        if tail > 0 and inode.data.startswith(inode.durable):
            kept = rng.choice((0, tail, rng.randint(0, tail)))
            rest = inode.data[len(inode.durable) : len(inode.durable) + kept]
            inode.data = inode.durable + rng.choice((rest, b"\0" * tail))
        else:
            inode.data = rng.choice((inode.data, inode.durable))
        inode.durable = inode.data


def _overlaid(content: bytes, position: int, data: bytes) -> bytes:
    return content[:position].ljust(position, b"\0") + data + content[position + len(data) :]


def _apply(
    change: NameChange,
    get: Callable[[Inode], dict[str, Inode]],
    put: Callable[[Inode, dict[str, Inode]], None],
) -> None:
    if change.source is not None:
        folder, name = change.source
        put(folder, {key: value for key, value in get(folder).items() if key != name})
    entries = {key: value for key, value in get(change.folder).items() if key != change.name}
    if change.inode is not None:
        entries[change.name] = change.inode
    put(change.folder, entries)
