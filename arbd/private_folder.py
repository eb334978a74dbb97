"""Folders in which nobody but this process's user can put anything: caches of data and of machine code.

What is found there is believed: arrays are mapped as they are, machine code is run. So a folder that somebody else could
have written to is refused, however its contents look.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import time
from pathlib import Path

from arbd.errors import UsageError
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """What a private folder is for, in messages: what it is called, how to use another, what to do about a refused one.

    `variable` moves it.
    """

    noun: str
    another: str
    remedy: str
    variable: str


CACHE = Use(
    "cache",
    "name another cache_dir in the settings",
    "remove it (it is made anew), or name another cache_dir in the settings",
    "XDG_CACHE_HOME",
)
OWN = Use(
    "folder of sessions from Python",
    "name a spool (spool=...)",
    "look at who made it, or name a spool (spool=...)",
    "XDG_DATA_HOME",
)


def private_folder(folder: Path, use: Use = CACHE) -> Path:
    """The folder, made with mode 0700 where it is missing, and given that mode where others may only read.

    UsageError when somebody else could write to it, or put another in its place, or when it cannot be made.
    """
    try:
        return _private(Path(os.path.realpath(folder)), use)
    except OSError as error:
        raise UsageError(
            f"the {use.noun} {folder} cannot be used ({error.strerror}: {error.filename}): {use.another}, "
            f"or set {use.variable} to a folder that this user can write to"
        ) from error


def _private(folder: Path, use: Use) -> Path:
    for above in reversed(folder.parents):
        _make(above, 0o755)
        _check_above(folder, above, above.stat(), use)
    _make(folder, 0o700)
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"the {use.noun} {folder} is no folder: {use.remedy}")
    if found.st_uid != os.geteuid():
        raise UsageError(
            f"the {use.noun} {folder} belongs to user {_user(found.st_uid)}, who could put code there: {use.remedy}"
        )
    if _writable_by_others(found):
        raise UsageError(
            f"the {use.noun} {folder} can be written to by others (mode {stat.S_IMODE(found.st_mode):04o}), "
            f"who could have put code there: {use.remedy}"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def _make(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(mode)
    except FileExistsError:
        return
    except OSError:
        # A root that is read only says so of folders that are there, too.
        if not folder.is_dir():
            raise


def _check_above(folder: Path, above: Path, found: os.stat_result, use: Use) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise UsageError(
            f"the {use.noun} {folder} is below {above}, which belongs to user {_user(found.st_uid)}, who could put another "
            f"in its place: {use.another}"
        )
    if _writable_by_others(found) and not found.st_mode & stat.S_ISVTX:
        raise UsageError(
            f"the {use.noun} {folder} is below {above}, in which others can rename it (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"chmod go-w {shlex.quote(str(above))}, or {use.another}"
        )


def _writable_by_others(found: os.stat_result) -> bool:
    mode = found.st_mode
    return bool(mode & stat.S_IWOTH) or (bool(mode & stat.S_IWGRP) and not _is_own_group(found.st_gid))


def _is_own_group(gid: int) -> bool:
    """Whether nobody but this user, or root, is in the group, as where every user has a group of the same name."""
    me = os.geteuid()
    try:
        group = grp.getgrgid(gid)
        own = pwd.getpwuid(me)
        root = pwd.getpwuid(0).pw_name
    except KeyError:
        return False
    if not set(group.gr_mem) <= {own.pw_name, root}:
        return False
    return (gid == own.pw_gid and group.gr_name == own.pw_name) or (gid == 0 and me == 0)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def used(entry: Path) -> None:
    """Note that an entry was used; who may not, need not."""
    try:
        if time.time() - entry.stat().st_mtime > 60:
            entry.touch()
    except OSError:
        pass
