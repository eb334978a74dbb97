"""What people should know of an objective's manners, said once per session however often it happens; and of each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

import msgspec

from arbd.daemon.host.logs import Log
from arbd.daemon.slots.protocol import ChunkReport
from arbd.spool.provenance import Action
from arbd.values import dataclass

MAX_SESSIONS = 1_000
# Results had every metric that the job optimises: that a later one lacks one is its own affair.
COMPLETE = "complete"


def tell_actions(log: Log, session_id: str, actions: Iterable[Action]) -> None:
    """Log what people did to a session."""
    for action in actions:
        if action.actor is None:
            continue
        changes = {} if action.changes is None else msgspec.to_builtins(action.changes)
        changed = {"changes": ", ".join(f"{name}={value}" for name, value in changes.items())} if changes else {}
        why = {"reason": action.actor.reason} if action.actor.reason else {}
        who = {"user": action.actor.user, "host": action.actor.host}
        log.info("somebody acted on the session", session=session_id, action=action.what, **who, **changed, **why)


@dataclass(slots=True)
class Manners:
    """Not thread-safe: the coordinator owns it."""

    log: Log
    _told: dict[str, set[str]] = field(default_factory=dict)

    def reported(self, session_id: str, report: ChunkReport) -> None:
        """Say what is new in a slot's report."""
        for note in report.notes:
            self._warn(session_id, note, note)
        if report.retire:
            # How many differs from one time to the next.
            self._warn(
                session_id, report.retire.partition(" (")[0], "a slot's process is replaced", reason=report.retire
            )
        told = self._told.setdefault(session_id, set())
        if report.metrics and not report.missing:
            told.add(COMPLETE)
        if report.missing and COMPLETE not in told:
            from arbd.results.missing_metrics import missing_text  # noqa: PLC0415 - reads results, seldom needed

            text = missing_text(report.missing, report.metrics)
            self._warn(session_id, f"missing {report.missing}", text)

    def _warn(self, session_id: str, kind: str, event: str, **more: object) -> None:
        told = self._told.setdefault(session_id, set())
        if kind in told:
            self.log.debug(event, session=session_id, **more)
            return
        told.add(kind)
        while len(self._told) > MAX_SESSIONS:
            del self._told[next(iter(self._told))]
        self.log.warning(event, session=session_id, **more)
