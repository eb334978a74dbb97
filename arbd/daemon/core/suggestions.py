"""Generations of adaptive searches are computed beside the coordinator: when one is ordered, and what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from arbd.daemon.core import events
from arbd.daemon.core.session_changes import run_again
from arbd.daemon.core.session_registry import BackingOffError, SessionRegistry
from arbd.daemon.core.session_state import SessionState
from arbd.daemon.host.logs import Log
from arbd.errors import CorruptionError, VersionError
from arbd.spool import ledger
from arbd.spool.system import Clock
from arbd.values import dataclass


@dataclass(slots=True)
class Suggestions:
    """For all sessions of this worker. Not thread-safe: the coordinator owns it."""

    clock: Clock
    log: Log
    registry: SessionRegistry
    send: Callable[[events.Command], None]

    def order_due(self, between: Callable[[], None]) -> None:
        """Have the next generation of each adaptive session computed, as soon as what it depends on is recorded.

        `between` is called between any two sessions: there may be thousands.
        """
        for work in self.registry.usable():
            between()
            if work.is_blocked:
                continue
            with contextlib.suppress(BackingOffError), self.registry.handling(work.session_id):
                try:
                    self._next_generation(work)
                except (CorruptionError, VersionError) as error:
                    self._cannot_go_on(work, str(error))

    def _cannot_go_on(self, work: SessionState, reason: str) -> None:
        if reason != work.standing.reason:
            self.log.error("the search cannot go on", session=work.session_id, reason=reason)
        work.cannot_go_on(reason)

    def _next_generation(self, work: SessionState) -> None:
        if work.is_starved:
            work.look_for_generations()
        work.end_if_stopped()
        generations, now_s = work.generations, self.clock.monotonic_s()
        running = work.state.state == ledger.RUNNING and not work.state.over
        number = generations.wanted(work.state, now_s) if generations is not None and running else None
        if generations is not None and number is not None:
            generations.begin()
            self.send(events.Suggest(work.queue.paths.folder, number, generations.urgent(now_s)))

    def came_back(self, event: events.SuggestionMade | events.SuggestionFailed) -> None:
        """An attempt to compute one ended."""
        work = self.registry.work.get(event.session.name)
        if work is None or work.generations is None:
            return
        generations, now_s = work.generations, self.clock.monotonic_s()
        if isinstance(event, events.SuggestionFailed):
            generations.failed(now_s)
            if event.other_version:
                self._cannot_go_on(work, event.error)
                return
            self.log.error("a generation could not be computed", session=work.session_id, reason=event.error)
            return
        outcome, before, was_unable = event.outcome, generations.other_versions, generations.unable
        for place in set(outcome.damage) - set(generations.damage):
            self.log.error("a segment is damaged", session=work.session_id, place=place)
        lost = generations.came_back(outcome, now_s)
        if outcome.unable and outcome.unable != was_unable:
            self.log.error(
                "this host cannot suggest for the session; it evaluates what others suggest",
                session=work.session_id,
                reason=outcome.unable,
            )
        if outcome.other_versions and outcome.other_versions != before:
            self.log.warning(
                "this host's libraries are not those that the search began with; others are left to suggest first",
                session=work.session_id,
                versions=outcome.other_versions,
            )
        with contextlib.suppress(BackingOffError), self.registry.handling(work.session_id):
            if lost and run_again(work.queue, lost):
                self.log.error("recorded iterations cannot be read and run again", session=work.session_id)
            if outcome.published:
                with contextlib.suppress(CorruptionError, VersionError):
                    # Told when the next generation is asked for.
                    work.look_for_generations()
