"""What the cache of a host holds, and what of it may go: the copies of market data, and compiled code.

Whatever is removed is made anew when it is needed, so nothing here can lose anything but time. A copy that is mapped by
a process stays readable for it. Keeps: what is being built, or was used within KEEP_USED_S, goes only when it is named.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from arbd.atomic_file import replace_file
from arbd.values import dataclass

# Of the entries of market data: another number is another layout.
FORMAT = 11
DATA, CODE, LEFT = "data", "code", "left over"
KEEP_USED_S = 3_600.0
# A leftover of a build this old is no build any more.
LEFT_S = 3_600.0
# Code that no process began to use for so long is of a version that nobody runs any more.
CODE_UNUSED_S = 30 * 86_400.0
BOUND = ".max-bytes"
_ENTRY = re.compile(r"[0-9a-f]{40}(\.[a-z0-9.]+)-(\d+)-(refuse|drop)(-market)?")
_CODE = re.compile(r"numba-[0-9a-f]{16}")
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.(new|old)")


@dataclass(frozen=True, slots=True)
class Cached:
    """One entry of the cache. `current`: this version of arbd reads it; `used_s` is the time of its last use."""

    name: str
    path: Path
    kind: str
    size: int
    used_s: float
    current: bool


def cached(cache_dir: Path, code: str = "", *, measures_code: bool = True) -> list[Cached]:
    """What is there, least recently used first. `code` is the folder of code that this version runs.

    Folders of code may have a thousand files; without `measures_code` their size is 0.
    """
    found = list(_found(cache_dir, code, measures_code))
    return sorted(found, key=lambda each: (each.used_s, each.name))


def _found(cache_dir: Path, code: str, measures_code: bool) -> Iterator[Cached]:
    for path in sorted(cache_dir.iterdir()) if cache_dir.is_dir() else ():
        entry = _ENTRY.fullmatch(path.name)
        kind = DATA if entry else CODE if _CODE.fullmatch(path.name) else LEFT if _LEFT.fullmatch(path.name) else ""
        if not kind or path.is_symlink() or not path.is_dir():
            continue
        current = kind != LEFT and (
            path.name == code if entry is None else entry[2] == str(FORMAT) and entry[4] is None
        )
        try:
            used_s = path.stat().st_mtime
            size = _size(path) if kind != CODE or measures_code else 0
        except OSError:
            continue  # it went meanwhile
        yield Cached(path.name, path, kind, size, used_s, current)


def _size(folder: Path | str) -> int:
    """Bytes on the disk of all files below."""
    size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                size += _size(entry.path)
            elif entry.is_file():
                size += entry.stat(follow_symlinks=False).st_blocks * 512
    return size


def remove(entries: Sequence[Cached]) -> list[Cached]:
    """Remove entries but those that somebody builds just now; those that went."""
    gone = []
    for each in entries:
        name = each.name if each.kind != LEFT else each.name.lstrip(".").rsplit(".", 2)[0]
        lock = filelock.FileLock(each.path.with_name(f".{name}.lock"), timeout=0)
        try:
            with lock:
                # Whoever opens it meanwhile finds it whole, or not at all.
                old = each.path.with_name(f".{name}.{secrets.token_hex(4)}.old")
                each.path.rename(old)
                shutil.rmtree(old)
        except (filelock.Timeout, FileNotFoundError, PermissionError):
            # Somebody builds it, it is gone, or it is another user's.
            continue
        gone.append(each)
    return gone


def to_prune(
    entries: Sequence[Cached], max_bytes: float, now_s: float, keep_used_s: float = KEEP_USED_S
) -> list[Cached]:
    """Which may go so that the rest is within `max_bytes`: what no version of now reads, then the least recently used.

    Code goes when it was not used for `CODE_UNUSED_S`, whatever the bound is.
    """
    idle = [each for each in entries if now_s - each.used_s > (LEFT_S if each.kind == LEFT else keep_used_s)]
    doomed = [each for each in idle if each.kind == LEFT or (each.kind == DATA and not each.current)]
    doomed += [each for each in idle if each.kind == CODE and now_s - each.used_s > CODE_UNUSED_S]
    rest = sum(each.size for each in entries) - sum(each.size for each in doomed)
    for each in idle:
        if rest <= max_bytes:
            break
        if each.kind == DATA and each.current:
            doomed.append(each)
            rest -= each.size
    return doomed


def note_bound(cache_dir: Path, max_bytes: float) -> None:
    """Have all who build entries here keep to a bound."""
    replace_file(cache_dir / BOUND, str(int(max_bytes)).encode())


def keep_within_bound(cache_dir: Path) -> list[Cached]:
    """Remove what the bound of this cache leaves no room for; nothing where none is noted."""
    try:
        max_bytes = int((cache_dir / BOUND).read_text())
    except (OSError, ValueError):
        return []
    entries = cached(cache_dir, measures_code=False)
    # Every start of a daemon asks, and most caches are far from their bound.
    if sum(each.size for each in entries) > max_bytes / 2:
        entries = cached(cache_dir)
    return remove(to_prune(entries, max_bytes, time.time()))
