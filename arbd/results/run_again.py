"""Iterations that a person wants run again go back into their session's queue."""

from __future__ import annotations

from collections.abc import Callable

from arbd.errors import UsageError
from arbd.job.stored import read_spec
from arbd.results.columns import Array, RowRules
from arbd.results.merge import Merge, WinningRows
from arbd.spool import ledger
from arbd.spool.control import this_user
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX


def merged(files: Files, paths: SessionPaths) -> Merge:
    """Every iteration of a session by its winning row."""
    return Merge(files, paths, RowRules.of(read_spec(files, paths)))


def run_again(
    layout: SpoolLayout, queue: SessionQueue, which: Callable[[WinningRows], Array], actor: Actor | None = None
) -> int:
    """Put the iterations that `which` picks back into the queue; how many. UsageError when somebody else does the same."""
    files, session = layout.files(), queue.paths.session_id
    chosen = merged(files, queue.paths).choose(which)
    if not len(chosen):
        return 0
    before = queue.state.epoch

    def decide(now: LedgerState) -> list[LedgerRecord]:
        if now.epoch != before:
            raise UsageError(f"session {session} is being retried by somebody else: look at `arbctl status {session}`")
        return [ledger.again(chosen.iterations.spans(now.epoch + 1), chosen.counts, "retry", actor or this_user())]

    # The name comes first: a daemon that sees it too early looks once more than it must, one that never sees it
    # would leave the session lying.
    files.publish(layout.sessions / f"{REOPENED_PREFIX}{session}", b"")
    queue.change(decide)
    return len(chosen)
