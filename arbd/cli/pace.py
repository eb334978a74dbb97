"""What a session's ledger tells of its pace and its failures, for every command alike."""

from __future__ import annotations

import click

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


def say_incomplete(session_id: str, state: LedgerState) -> bool:
    """Say how many iterations of a session that was waited for did not complete, if any; True when there are any."""
    missing = state.n - state.counts[0]
    if missing:
        click.echo(
            f"arbctl: session {session_id} is {state.label()}: {missing:,} of {state.n:,} iterations did not complete: "
            f"see `arbctl summary {session_id}`",
            err=True,
        )
    return bool(missing)
