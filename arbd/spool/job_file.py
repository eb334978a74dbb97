"""A dropped file, read: only regular files of bounded size, of those who may submit, under names that can be shown (I7).

Who may submit is told by the owner of the file, as the file server names it: users and groups of this host.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from arbd.errors import ArbdError, JobError, UnsafePathError, UsageError
from arbd.spool.files import Files
from arbd.spool.provenance import Submission
from arbd.spool.system import FileStatus
from arbd.values import dataclass

T = TypeVar("T")

MAX_JOB_BYTES = 1024 * 1024
# With what `Held` puts before it and an ending behind it, a name must still be one that a filesystem takes.
MAX_NAME_BYTES = 120
_HOST = re.compile(rb"# submitted from ([A-Za-z0-9._-]{1,64})\n")
SUFFIXES = (".yaml", ".yml")
GROUP_MARK = "@"


@dataclass(frozen=True, slots=True)
class Submitters:
    """Users and groups that may submit, by number; nobody named means everybody who can write to incoming/."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> Submitters:
        """`alice`, `1001`, `@quants`, `@2001`; UsageError for one that this host does not know."""
        users: set[int] = set()
        groups: set[int] = set()
        for name in names:
            is_group, bare = name.startswith(GROUP_MARK), name.removeprefix(GROUP_MARK)
            try:
                if bare.isdecimal():
                    (groups if is_group else users).add(int(bare))
                elif is_group:
                    groups.add(grp.getgrnam(bare).gr_gid)
                else:
                    users.add(pwd.getpwnam(bare).pw_uid)
            except KeyError:
                kind = "group" if is_group else "user"
                raise UsageError(f"allowed_submitters: this host knows no {kind} {bare!r}") from None
        return cls(frozenset(users), frozenset(groups), tuple(names))

    def refusal(self, uid: int) -> str | None:
        """Why a file of that owner is not taken up, or None.

        The owner's groups count, not the file's: in a folder with the setgid bit every file has the folder's group.
        """
        if not self.names or uid in self.users or self.groups & _groups_of(uid):
            return None
        return (
            f"{_shown(uid)} may not submit jobs here (allowed: {', '.join(self.names)}); "
            "an administrator can add that user to `allowed_submitters` in the daemon's settings"
        )


def read_job(
    files: Files,
    path: Path,
    name: str,
    submitters: Submitters,
    owner_of: Callable[[bytes], Submission | None] = lambda data: None,
) -> tuple[bytes, FileStatus]:
    """The bytes of a job that was dropped as `name`, and the status of that very file.

    `owner_of` says whose job it is where that is not the owner of the file.
    JobError says what of it is refused; FileNotFoundError when it is gone, or a network client shows an old copy.
    """
    fault = name_fault(name)
    if fault:
        raise JobError.of(name, fault)
    try:
        data, found = files.read_whole(path, MAX_JOB_BYTES + 1)
    except PermissionError as error:
        remedy = "chmod a+r, drop it again"
        raise JobError.of(name, f"user {os.getuid()} of the daemon may not read it: {remedy}") from error
    except UnsafePathError as error:
        raise JobError.of(name, "not a regular file; links, pipes, devices and folders are not taken up") from error
    if found.links > 1:
        raise JobError.of(name, f"has {found.links} names (hard links); copy it into incoming/ instead")
    owner = owner_of(data)
    refusal = submitters.refusal(found.uid if owner is None or owner.uid is None else owner.uid)
    if refusal is not None:
        raise JobError.of(name, refusal)
    if len(data) > MAX_JOB_BYTES:
        raise JobError.of(name, f"larger than {MAX_JOB_BYTES // 1024} KiB; a job file only names its data")
    if len(data) != found.size:
        raise FileNotFoundError(errno.ENOENT, "a network client shows an old copy", str(path))
    return data, found


def host_line(host: str) -> bytes:
    """The first line of a job that says where it was submitted, which a file that was copied here cannot tell."""
    return f"# submitted from {re.sub('[^A-Za-z0-9._-]', '_', host)[:64]}\n".encode()


def host_in(data: bytes) -> str:
    """What such a line says; '' when there is none."""
    found = _HOST.match(data)
    return found[1].decode() if found else ""


def submitted(name: str, data: bytes, uid: int, host: str, wall_ns: int) -> Submission:
    """Whose job a dropped file is, as far as the file tells; `host` is where it is taken up, at `wall_ns`."""
    at = host_in(data) or host
    return Submission(user=user_name(uid), uid=uid, host=at, wall_ns=wall_ns, file=name[:MAX_NAME_BYTES])


def no_limits(whose: Submission, job: object, coming: int = 0) -> str:
    """Why a user may not have a job, where the settings set no limits: never."""
    del whose, job, coming
    return ""


def resolved(resolve: Callable[[bytes, str], T], data: bytes, name: str) -> T:
    """What `resolve` makes of a job; a JobError, whatever the job does to the code that checks it."""
    try:
        return resolve(data, name)
    except ArbdError:
        raise
    except OSError as error:
        # The job's bytes are read: what fails now is a file that it names, which is its trouble alone.
        raise JobError.of(name, f"cannot be checked here: {error}") from error
    except MemoryError as error:
        raise JobError.of(
            name, "needs more memory to be checked than the intake has (`intake_memory_mb` in the settings)"
        ) from error
    except Exception as error:
        # One job is refused; no worker dies of it.
        raise JobError.of(name, f"cannot be checked ({type(error).__name__}: {error}); please report it") from error


def name_fault(name: str) -> str:
    """What is wrong with the name of a job file; "" when nothing is."""
    if not name.endswith(SUFFIXES):
        return "job files end in .yaml or .yml; rename it and drop it again"
    if len(os.fsencode(name)) > MAX_NAME_BYTES or not name.isprintable():
        return f"names of job files have at most {MAX_NAME_BYTES} characters, all of which show"
    return ""


def plain_name(name: str) -> str:
    """A name for a refused file that is safe whatever it was called."""
    if len(os.fsencode(name)) <= MAX_NAME_BYTES and name.isprintable() and not name.startswith(".") and name:
        return name
    short = re.sub(r"[^A-Za-z0-9._-]", "_", name[:80]).lstrip(".")
    return short or "job"


def _groups_of(uid: int) -> set[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return set()
    return set(os.getgrouplist(user.pw_name, user.pw_gid))


def user_name(uid: int) -> str:
    """What this host calls a user; the number where it knows no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _shown(uid: int) -> str:
    name = user_name(uid)
    return f"user {uid}" if name == str(uid) else f"user {name} ({uid})"
