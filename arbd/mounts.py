"""The mount table of this host: which filesystem holds a path, and how it is mounted."""

from __future__ import annotations

import os
import re
from pathlib import Path

from arbd.values import dataclass

TABLE = Path("/proc/self/mounts")
# The kernel writes space, tab, newline, backslash and '#' of names as three octal digits, and every other byte as it is.
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table: where, of which type (`nfs4`, `fuse.glusterfs`, `ext4`), with which options."""

    point: Path
    kind: str
    options: frozenset[str]

    @property
    def is_nfs(self) -> bool:
        """True for every version of NFS."""
        return self.kind in ("nfs", "nfs4")


def mount_of(path: Path, table: Path = TABLE) -> Mount | None:
    """The mount that holds `path`, links followed; None when the table names none. OSError when it cannot be read."""
    resolved, found = path.resolve(), None
    for line in table.read_bytes().split(b"\n"):
        fields = line.split(b" ")
        if len(fields) < 4:
            continue
        mount = Mount(Path(_name(fields[1])), _name(fields[2]), frozenset(_name(fields[3]).split(",")))
        deeper = found is None or len(mount.point.parts) >= len(found.point.parts)
        # The later of two mounts on one point is the one that is seen.
        if deeper and resolved.is_relative_to(mount.point):
            found = mount
    return found


def filesystem_type(path: Path, table: Path = TABLE) -> str:
    """The type of the filesystem that holds `path`; '' when the table does not name it."""
    mount = mount_of(path, table)
    return mount.kind if mount is not None else ""


def _name(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))
