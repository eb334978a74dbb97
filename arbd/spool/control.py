"""What a person does to a session as a whole: pause, resume, cancel. One record in its ledger each."""

from __future__ import annotations

from arbd.errors import UsageError
from arbd.spool import ledger
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.queue import SessionQueue


def open_queue(layout: SpoolLayout, session: str) -> SessionQueue:
    """The queue of a session, as it stands now; NotFoundError when there is none."""
    queue = SessionQueue(layout.files(), layout.session(session))
    queue.refresh()
    return queue


ALLOWED_FROM = {
    ledger.PAUSED: (ledger.RUNNING, ledger.PAUSED),
    ledger.RUNNING: (ledger.RUNNING, ledger.PAUSED),
    ledger.CANCELLED: (ledger.RUNNING, ledger.PAUSED, ledger.CANCELLED),
}


def change_state(layout: SpoolLayout, session: str, state: str) -> str:
    """Pause, resume or cancel a session; how it is called then. UsageError when it cannot become that."""
    queue = open_queue(layout, session)

    def decide(now: LedgerState) -> list[LedgerRecord]:
        if now.done or now.state not in ALLOWED_FROM[state]:
            raise UsageError(f"session {session} is {now.label()}: it cannot become {state}")
        return [] if now.state == state else [ledger.switched(state)]

    queue.change(decide)
    return queue.state.label()
