"""What is said of a folder that is named as the spool and is none, or cannot be reached: one error for each case."""

from __future__ import annotations

import errno
import itertools
import os
import shlex
from collections.abc import Collection
from pathlib import Path

from arbd.errors import SpoolError

# Names of what is there that an error tells.
TOLD = 3
# What file systems make by themselves.
_NO_CONTENT = {"lost+found"}
# The mount is there, and what is behind it is not.
_AWAY = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH}


def require_folder(root: Path) -> None:
    """SpoolError, with what is there instead and the remedy, unless `root` is a folder that this user can look into."""
    try:
        # Names below it can be asked for: what every use of a spool begins with.
        os.lstat(f"{root}/.")
    except OSError as error:
        raise _unreachable(root, error) from error


def _unreachable(root: Path, error: OSError) -> SpoolError:
    another = "or name another with --spool"
    if isinstance(error, PermissionError):
        return no_access(root)
    if error.errno == errno.ENOENT and root.is_symlink():
        return SpoolError(f"the spool {root} is a link to {root.readlink()}, which does not exist: mount it, {another}")
    if error.errno == errno.ENOENT:
        return SpoolError(
            f"the spool {root} does not exist: mount the shared folder, make it (mkdir -p {shlex.quote(str(root))}), {another}"
        )
    if error.errno == errno.ENOTDIR:
        return SpoolError(f"the spool {root} is no folder, or is below a file: name a folder with --spool")
    remedy = (
        ": its file server is away, or the mount has to be made anew" if error.errno in _AWAY else f": {another[3:]}"
    )
    return SpoolError(f"the spool {root} cannot be reached: {error.strerror}{remedy}")


def no_access(root: Path) -> SpoolError:
    """This user may not look into it."""
    return SpoolError(
        f"the spool {root} cannot be read by user {os.geteuid()} (Permission denied): run this as a user of the group that "
        "owns the spool, or have the owner grant it"
    )


def other_things(root: Path, own: Collection[str]) -> list[str]:
    """Some of the names in a folder that a spool does not consist of: it is, or was, used for something else."""
    with os.scandir(root) as found:
        strange = (each.name for each in found if each.name not in own and each.name not in _NO_CONTENT)
        return list(itertools.islice((name for name in strange if not name.startswith(".")), TOLD))


def no_spool(root: Path, others: Collection[str]) -> SpoolError:
    """It is a folder, and no spool."""
    there = f", but {', '.join(others)}" if others else ""
    return SpoolError(
        f"{root} is not a spool: it has no sessions/ folder{there}; start a daemon on it once (arbd run --spool {root}), "
        "or name another with --spool"
    )
