"""Sessions whose iterations are all recorded are compacted: when, and what is made of how it went.

Keeps a compaction that fails from being ordered every turn: each time the pause is longer, and people see the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from arbd.daemon.core import events
from arbd.daemon.core.counters import DAMAGE_FOUND
from arbd.daemon.core.session_registry import BackingOffError, SessionRegistry
from arbd.daemon.core.session_state import SessionState
from arbd.daemon.host.logs import Log
from arbd.spool.system import Clock
from arbd.values import dataclass


@dataclass(slots=True)
class Compactions:
    """Orders them, for all sessions of this worker. Not thread-safe: the coordinator owns it."""

    clock: Clock
    log: Log
    registry: SessionRegistry
    send: Callable[[events.Command], None]

    def order_due(self) -> None:
        """Have every session compacted that is ready for it."""
        for work in self.registry.usable():
            compaction, state = work.compaction, work.state
            if compaction.is_running or work.is_backing_off or self.clock.monotonic_s() < compaction.not_before_s:
                continue
            if state.exhausted and not state.over:
                compaction.begin()
                self.send(events.Compact(work.queue.paths.folder, work.priority))

    def ended(self, event: events.Compacted, pause_s: float) -> None:
        """One came back from its slot."""
        session_id = event.session.name
        work = self.registry.work.get(session_id)
        if work is None:
            return
        for place in event.damage:
            self.registry.counters.happened(DAMAGE_FOUND)
            self.log.error("a segment is damaged; iterations that it lost run again", session=session_id, place=place)
        # Unless the session is done now, another worker is at it, or its files cannot be used.
        before = work.compaction.reason
        work.compaction.ended(event.error, self.clock.monotonic_s(), pause_s)
        if event.other_version:
            work.cannot_go_on(event.error)
        if event.error and event.error == before:
            return
        if event.error:
            self.log.error("compaction failed and is tried again", session=session_id, reason=event.error)
            return
        self._look(work, busy=event.busy)
        if work.state.done:
            completed, failed, timeout, crashed = work.state.counts
            self.log.info(
                "session done", session=session_id, completed=completed, failed=failed, timeout=timeout, crashed=crashed
            )

    def _look(self, work: SessionState, *, busy: bool) -> None:
        with contextlib.suppress(BackingOffError), self.registry.handling(work.session_id):
            work.queue.refresh()
            if work.state.exhausted and not work.state.over and not busy:
                # The ledger as it stands did not look exhausted to the process that compacts.
                work.reread()
