"""Whether an administrator wants this worker to work on nothing: read at every look, and told once."""

from __future__ import annotations

from collections.abc import Callable

from arbd.daemon.core import events
from arbd.daemon.core.session_registry import SessionRegistry
from arbd.daemon.host.logs import Log
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.operations import MAINTENANCE_OFF, UNDRAIN, Halt, halt_of, last_order
from arbd.values import dataclass


@dataclass(slots=True)
class Halting:
    """Not thread-safe: the coordinator owns it. `halt` is why nothing is claimed, None while this worker may work."""

    files: Files
    layout: SpoolLayout
    log: Log
    registry: SessionRegistry
    send: Callable[[events.Command], None]
    worker_id: str
    halt: Halt | None = None

    def look(self) -> None:
        """Learn what is wanted now; while nothing may be worked on, have what is out come back."""
        before, self.halt = self.halt, halt_of(self.files, self.layout, self.worker_id)
        if self.halt is None:
            if before is not None:
                self.log.info("this worker works again", after=before.what, **self._who())
            return
        if before != self.halt:
            self.log.warning("this worker works on nothing", reason=self.halt.text())
        for work in self.registry.work.values():
            if work.tasks:
                self.send(events.Stop(work.queue.paths.folder, kill=False))

    def _who(self) -> dict[str, str]:
        """Who ended it, as far as that is known: an earlier version of arbd does not write it down."""
        order = last_order(self.files, self.layout, self.worker_id)
        if order is None or order.what not in (UNDRAIN, MAINTENANCE_OFF):
            return {}
        why = {"reason": order.actor.reason} if order.actor.reason else {}
        return {"user": order.actor.user, "host": order.actor.host, **why}
