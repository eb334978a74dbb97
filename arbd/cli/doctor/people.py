"""Are the people whom the settings name known to this host?"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable, Iterator

from arbd.cli.doctor.finding import BROKEN, WARNING, Finding
from arbd.errors import UsageError
from arbd.spool.job_file import Submitters
from arbd.spool.user_limits import EVERYBODY, GROUP_MARK


def examine(allowed_submitters: Iterable[str], limited: Iterable[str]) -> Iterator[Finding]:
    """One finding for each name that nobody has. A daemon does not start with such submitters; limits hold for nobody."""
    for name in allowed_submitters:
        try:
            Submitters.of((name,))
        except UsageError as error:
            yield Finding(
                "submitters", BROKEN, f"{error}: no daemon starts with it", "correct the name, or take it out"
            )
    for name in limited:
        if name != EVERYBODY and not _is_known(name):
            kind = "group" if name.startswith(GROUP_MARK) else "user"
            told = (
                f"limits.{name}: this host knows no {kind} {name.removeprefix(GROUP_MARK)!r}: it holds for nobody here"
            )
            yield Finding("limits", WARNING, told, "correct the name, or take it out; the same on all hosts")


def _is_known(name: str) -> bool:
    """A user whose account is gone is known by his number, as his sessions say it; a group of such a number has members."""
    bare = name.removeprefix(GROUP_MARK)
    try:
        if bare.isdecimal():
            return True
        if name.startswith(GROUP_MARK):
            grp.getgrnam(bare)
        else:
            pwd.getpwnam(bare)
    # A name that cannot be asked for (with a zero byte) is nobody's either.
    except (KeyError, ValueError):
        return False
    return True
