"""Slots that wait for suggestions, as workers say it in their heartbeats, for every command alike."""

from __future__ import annotations

from collections.abc import Iterable

from arbd.spool.liveness import Beat

# Less is no waste that one could do much about.
WORTH_SAYING = 0.1


def waiting_share(beats: Iterable[Beat], session_id: str) -> float | None:
    """Of the time of the slots of those workers, how much goes by waiting for suggestions; None where none says."""
    told = [(beat.about.get("waiting"), max(0, int(beat.about.get("slots", 0)))) for beat in beats]
    known = [(by[session_id], slots) for by, slots in told if isinstance(by, dict) and _is_share(by.get(session_id))]
    total = sum(slots for _, slots in known)
    return sum(share * slots for share, slots in known) / total if total else None


def _is_share(value: object) -> bool:
    return isinstance(value, float | int) and 0 <= value <= 1


def waiting_text(share: float | None) -> str:
    """For people; '' where it is not worth a word."""
    return f"slots wait for suggestions: {share:.0%}" if share is not None and share >= WORTH_SAYING else ""
