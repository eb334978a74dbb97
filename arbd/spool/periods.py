"""Periods as people write them: 30d, 12h, 45min."""

from __future__ import annotations

import re

from arbd.errors import UsageError

PERIODS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def period_ns(given: str, what: str) -> int:
    """Nanoseconds; UsageError, in which `what` says what was given, for anything that is no period."""
    found = re.fullmatch(r"(\d{1,9})\s*([a-z]+)", given.strip())
    if found is None or found[2] not in PERIODS:
        raise UsageError(f"{what} {given!r}: expected a number and a unit, one of {', '.join(PERIODS)}, as in 30d")
    return int(found[1]) * PERIODS[found[2]] * 10**9
