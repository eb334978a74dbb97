"""What is said where a session that was waited for is over and not all of it completed."""

from __future__ import annotations

import click

from arbd.spool.ledger import LedgerState


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
