"""Iterations that a person wants run again go back into their session's queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from arbd.arrays import Array
from arbd.errors import UsageError
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.merge import Merge, WinningRows
from arbd.results.segments_back import bring_segments_back
from arbd.spool import ledger
from arbd.spool.control import this_user
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue
from arbd.spool.session_index import reopen

ATTEMPTS = 5


def merged(files: Files, paths: SessionPaths) -> Merge:
    """Every iteration of a session by its winning row."""
    return Merge(files, paths, RowRules.of(read_spec(files, paths)))


def run_again(
    layout: SpoolLayout, queue: SessionQueue, which: Callable[[WinningRows], Array], actor: Actor | None = None
) -> int:
    """Put the iterations that `which` picks back into the queue; how many.

    What changes meanwhile is looked at again, a few times. UsageError when somebody else does the same over and over.
    """
    for _ in range(ATTEMPTS):
        count = _try(layout, queue, which, actor or this_user())
        if count is not None:
            return count
        queue.refresh()
    session = queue.paths.session_id
    raise UsageError(f"session {session} is being retried by somebody else: look at `arbctl status {session}`")


def _try(layout: SpoolLayout, queue: SessionQueue, which: Callable[[WinningRows], Array], actor: Actor) -> int | None:
    """As `run_again`; None when iterations were put back, or lost their rows, since the queue was read."""
    files, session = layout.files(), queue.paths.session_id
    if queue.state.done:
        with files.lock(queue.paths.ledger_lock, queue.lock_timeout_s):
            spec = replace(read_spec(files, queue.paths), n=queue.state.n)
            bring_segments_back(files, queue.paths, spec, queue.state.epoch)
    there = set(files.names(queue.paths.segments))
    chosen = merged(files, queue.paths).choose(which)
    if not len(chosen):
        return 0
    before = queue.state.epoch
    current = True

    def decide(now: LedgerState) -> list[LedgerRecord]:
        nonlocal current
        # Whoever frees the space of a session removes them under this lock.
        current = now.epoch == before and there <= set(files.names(queue.paths.segments))
        if not current:
            return []
        if now.over:
            reopen(files, layout, session)
        return [ledger.again(chosen.iterations.spans(now.epoch + 1), chosen.counts, "retry", actor)]

    queue.change(decide)
    return len(chosen) if current else None
