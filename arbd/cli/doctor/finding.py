"""One line of `arbctl doctor`."""

from __future__ import annotations

from arbd.values import dataclass

OK, WARNING, BROKEN = "ok", "warning", "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, the verdict, what was found, and what to do about it (empty when nothing)."""

    check: str
    verdict: str
    found: str
    remedy: str = ""


def judged(check: str, found: str, *, broken: bool = False, warning: bool = False, remedy: str = "") -> Finding:
    """A finding; the remedy is kept only where there is something to remedy."""
    verdict = BROKEN if broken else WARNING if warning else OK
    return Finding(check, verdict, found, "" if verdict == OK else remedy)
