"""What a session's ledger tells of its pace and its failures, for every command and page alike."""

from __future__ import annotations

from arbd.spool.ledger import PAUSED, LedgerState


def bad(state: LedgerState) -> int:
    """Iterations that did not complete."""
    return state.counted - state.counts[0]


def rate_per_s(state: LedgerState) -> float | None:
    """Iterations a second of late; None when nobody works on it or nothing can be said."""
    return None if state.over or state.state == PAUSED else state.rate()


def eta_s(state: LedgerState) -> float | None:
    """Seconds left at the rate of late; None when nothing can be said."""
    rate, left = rate_per_s(state), state.n - state.counted
    return left / rate if rate and left else None


def rate_text(rate: float | None) -> str:
    """A rate for people; where iterations take minutes, it is not nought."""
    if not rate:
        return "-" if rate is None else "0"
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
