"""Whose job files are taken up: users and groups of this host, by the owner that the file server tells."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass

from arbd.errors import UsageError

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
