"""The coordinator: everything that this worker does on the spool, in one thread that may wait for the disk.

Keeps the main loop free of file access, so that a hanging mount cannot stop it from watching its slots. Trouble with the
spool never loses anything: what is finished stays in memory, nothing more is claimed, the same calls are made again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from arbd.daemon.core import events
from arbd.daemon.core.compactions import Compactions
from arbd.daemon.core.condition import COUNT_REJECTED_S, condition_of, queued_jobs, rejected_jobs, snapshot_of
from arbd.daemon.core.counters import (
    JOB_ACCEPTED,
    JOB_REJECTED,
    LIFE_LOCK_RETAKEN,
    SESSION_PAUSED,
    SLOT_DIED,
    SPOOL_TROUBLE,
    Condition,
    Counters,
)
from arbd.daemon.core.exchanges import Exchanges
from arbd.daemon.core.fairness import Fairness
from arbd.daemon.core.generation_scheduler import POLL_S
from arbd.daemon.core.halting import Halting
from arbd.daemon.core.manners import Manners
from arbd.daemon.core.session_registry import BackingOffError, SessionRegistry, Timing
from arbd.daemon.core.session_state import SessionState
from arbd.daemon.core.standing import Standing
from arbd.daemon.core.suggestions import Suggestions
from arbd.daemon.host.logs import Log
from arbd.daemon.slots.protocol import ChunkTask
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, LivenessLock, write_beat
from arbd.spool.outcomes import Accepted, AcceptedArray, Stands
from arbd.spool.queue import Worker
from arbd.spool.system import Clock
from arbd.spool.user_limits import LimitTable, UserLimits

FIRST_TROUBLE_PAUSE_S = 0.25
LONGEST_TROUBLE_PAUSE_S = 5.0


class Coordinator:
    """One worker's dealings with one spool. `post` may be called from any thread; the rest runs in `run`.

    `about` and what `more` returns at each beat go into the heartbeat, for people.
    """

    def __init__(
        self,
        files: Files,
        clock: Clock,
        layout: SpoolLayout,
        worker: Worker,
        timing: Timing,
        log: Log,
        send: Callable[[events.Command], None],
        *,
        about: Mapping[str, Any],
        intake: bool,
        inbox: events.Inbox,
        life: LivenessLock,
        only: str | None = None,
        burst: bool = False,
        more: Callable[[], Mapping[str, Any]] = dict,
        counters: Counters | None = None,
        limits: Mapping[str, UserLimits] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._clock = clock
        self._layout = layout
        self._worker = worker
        self._timing = timing
        self._log = log
        self._send = send
        self._about = {**about, "only": only}
        self._more = more
        self._counters = counters if counters is not None else Counters()
        # Jobs may wait until somebody has looked.
        self._jobs_waiting = intake
        self._burst = burst
        self._inbox = inbox
        self._life = life
        self._slot_exits: list[events.Lost] = []
        self._accepted: list[str] = []
        self._registry = SessionRegistry(files, clock, layout, worker, timing, log, send, only, self._counters)
        self._suggestions = Suggestions(clock, log, self._registry, send)
        self._manners = Manners(log)
        self._exchanges = Exchanges(
            self._registry, send, Fairness(worker.incarnation), LimitTable(limits or {}), labels or {}
        )
        self._halting = Halting(files, layout, log, self._registry, send, worker.worker_id)
        self._compactions = Compactions(clock, log, self._registry, send)
        self._work = self._registry.work
        self._counter = 0
        self._next_beat = 0.0
        self._next_scan = 0.0
        # What is claimed before a slot can run it would only keep other workers from it.
        self._slots_ready = 0
        self._draining = False
        self._state = "running"
        self._jobs_waiting_since_s: float | None = None
        self._jobs_rejected = self._jobs_queued = 0
        self._next_count_s = clock.monotonic_s() + COUNT_REJECTED_S
        self._trouble = ""
        self._trouble_pause_s = FIRST_TROUBLE_PAUSE_S
        self._ended = threading.Event()

    def post(self, event: events.Event) -> None:
        """Hand an event over; never blocks."""
        self._inbox.put(event)

    def run(self) -> None:
        """Work until finished; any error that is not the spool's trouble is fatal."""
        try:
            while not self._ended.is_set():
                self._turn()
        except Exception as error:
            self._send(events.Fatal(error))

    def _turn(self) -> None:
        self._listen()
        try:
            self._beat_if_due()
            self._handle_slot_exits()
            self._look_at_accepted()
            now = self._clock.monotonic_s()
            if now >= self._next_scan:
                self._halting.look()
                self._registry.look(self._beat_if_due)
                self._next_scan = now + self._timing.scan_s
            self._exchange()
            if now >= self._next_count_s:
                self._jobs_rejected = rejected_jobs(self._files, self._layout)
                self._jobs_queued = queued_jobs(self._files, self._layout)
                self._next_count_s = now + COUNT_REJECTED_S
            if self._works:
                self._suggestions.order_due(self._beat_if_due)
                self._compactions.order_due()
            self._registry.observe_slots(self._slots_ready)
            self._finish_if_done()
        except (OSError, TimeoutError) as error:
            self._in_trouble(error)
            self._counters.condition = self._condition()
            if self._draining and self._registry.is_idle():
                self._end(0, "drained")
        else:
            self._out_of_trouble()
            self._counters.condition = self._condition()

    def _listen(self) -> None:
        """Take all events, waiting for the first until something is due."""
        now = self._clock.monotonic_s()
        due = now + self._trouble_pause_s if self._trouble else min(self._next_beat, self._next_scan)
        if not self._draining and any(work.is_starved for work in self._registry.usable()):
            due = min(due, now + POLL_S)
        event = self._inbox.get(max(0.0, due - now))
        while event is not None:
            self._handle(event)
            event = self._inbox.get(0.0)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Wake():
                # Until a look succeeds.
                self._next_scan = 0.0
            case events.SlotReady(count):
                self._slots_ready = max(0, min(self._slots_ready + count, self._worker.slots))
            case events.Drain():
                self._draining = True
                self._state = "draining"
            case events.Reconfigured():
                self._reconfigure(event)
            case events.IntakeReported():
                self._intake_reported(event)
            case _:
                self._handle_session_event(event)

    def _handle_session_event(self, event: events.Event) -> None:
        match event:
            case events.Compacted():
                self._compactions.ended(event, self._timing.scan_s)
                self._next_scan = 0.0
            case events.SuggestionMade() | events.SuggestionFailed():
                self._suggestions.came_back(event)
            case events.Reported():
                self._reported(event)
            case events.Returned(task):
                self._work[task.session.name].returned(task)
            case events.Unloadable(task, reason):
                self._unloadable(task, reason)
            case events.Lost():
                self._died(event)

    def _reported(self, event: events.Reported) -> None:
        work = self._work[event.task.session.name]
        report, task = event.report, event.task
        rest = report.rest
        if rest is not None:
            task, rest = work.goes_on(task, rest)
        tripped = work.reported(task, report, event.occupied_s)
        if report.first_error:
            self._log.warning("iterations failed", session=work.session_id, first_error=report.first_error)
        if report.code_changed:
            work.cannot_go_on(report.code_changed)
            self._log.error(
                "this host cannot evaluate the session", session=work.session_id, reason=report.code_changed
            )
        self._manners.reported(work.session_id, report)
        self._say_tripped(work, tripped)
        if rest is not None and self._works and work.state.state == ledger.RUNNING and not work.state.over:
            self._send(events.Run(rest, work.limits))
        elif rest is not None:
            work.returned(rest)

    def _unloadable(self, task: ChunkTask, reason: str) -> None:
        work = self._work[task.session.name]
        if work.standing.reason != reason:
            self._log.error("this host cannot evaluate the session", session=work.session_id, reason=reason)
        work.unloadable(task, reason)

    def _died(self, event: events.Lost) -> None:
        self._counters.happened(SLOT_DIED)
        task, exit_report = event.task, event.exit_report
        # Which iteration it was on, where it was on one.
        on = {"iteration": exit_report.progress.first} if exit_report.progress.of_iterations else {}
        self._log.warning(
            "a slot died", session=task.session.name, slot=exit_report.setup.label, reason=exit_report.error(), **on
        )
        self._slot_exits.append(event)

    def _reconfigure(self, new: events.Reconfigured) -> None:
        self._timing = Timing(new.scan_s, new.beat_s, new.lease_s, new.chunk_target_s)
        self._registry.reconfigure(self._timing)
        self._exchanges.limits, self._exchanges.labels = LimitTable(new.limits), new.labels
        self._about["beat_s"] = new.beat_s
        self._next_beat = self._next_scan = 0.0

    def _handle_slot_exits(self) -> None:
        """Work out what the exits of slots cost. A segment that cannot be read now is read later."""
        for exited in list(self._slot_exits):
            work = self._work[exited.task.session.name]
            try:
                with self._registry.handling(work.session_id):
                    rest = work.lost(exited.task, exited.exit_report, exited.occupied_s)
            except BackingOffError:
                if not self._registry.is_lost(work.session_id):
                    continue
                work.returned(exited.task)
                rest = None
            self._slot_exits.remove(exited)
            if rest is not None and not self._works:
                work.returned(rest)
            elif rest is not None:
                self._send(events.Run(rest, work.limits))

    def _say_tripped(self, work: SessionState, reason: str) -> None:
        if reason:
            self._counters.happened(SESSION_PAUSED)
            self._log.error("this host pauses the session", session=work.session_id, reason=reason)

    def _beat_if_due(self) -> None:
        """Called between any two things that take their time: others judge this worker by its beats."""
        now = self._clock.monotonic_s()
        if now >= self._next_beat:
            self._beat()
            self._next_beat = now + self._timing.beat_s

    def _beat(self) -> None:
        if self._life.keep():
            self._counters.happened(LIFE_LOCK_RETAKEN)
            self._log.warning("the lock of this worker was lost, and is taken again; was the spool away?")
        self._counter += 1
        halt = self._halting.halt
        about = {
            **self._about,
            **self._more(),
            "busy": sum(len(work.tasks) for work in self._work.values()),
            "done": sum(self._counters.by_status.values()),
            "rate": sum(
                self._worker.slots / work.seconds_each
                for work in self._work.values()
                if work.tasks and work.seconds_each
            ),
            "sessions": sorted(name for name, work in self._work.items() if not work.is_idle),
            "blocked": self._registry.blocked(),
            "loading": self._counters.loading,
            "finishing": {name: work.compaction.reason for name, work in self._work.items() if work.compaction.reason},
            "trouble": self._trouble or next(iter(self._registry.reasons(Standing.BACKING_OFF).values()), ""),
            "waiting": self._registry.waiting(),
            "held": self._exchanges.held,
            "silent": self._registry.peers.silent(self._timing.beat_s),
            "labels": dict(self._exchanges.labels),
            "jobs_rejected": self._jobs_rejected,
            "jobs_queued": self._jobs_queued,
            "state": halt.what if halt is not None and self._state == "running" else self._state,
            **({"halted": halt.text()} if halt is not None else {}),
            "wall_ns": self._clock.wall_ns(),
        }
        self._counters.snapshot = snapshot_of(self._work, about, self._clock.monotonic_s())
        write_beat(
            self._files, self._layout, Beat(self._worker.worker_id, self._worker.incarnation, self._counter, about)
        )

    @property
    def _works(self) -> bool:
        return not self._draining and self._halting.halt is None

    def _condition(self) -> Condition:
        return condition_of(self._registry, self._trouble, self._jobs_waiting_since_s)

    def _intake_reported(self, event: events.IntakeReported) -> None:
        self._jobs_waiting = event.waiting
        if not event.waiting or event.outcomes:
            self._jobs_waiting_since_s = self._clock.monotonic_s() if event.waiting else None
        elif self._jobs_waiting_since_s is None:
            self._jobs_waiting_since_s = self._clock.monotonic_s()
        for outcome in event.outcomes:
            if isinstance(outcome, Accepted | AcceptedArray):
                self._counters.happened(JOB_ACCEPTED)
                self._log.info(outcome.EVENT, job=outcome.name, **outcome.told)
                self._accepted += outcome.session_ids
            elif isinstance(outcome, Stands):
                self._log.info("standing job", job=outcome.name, standing=outcome.standing, schedule=outcome.schedule)
            else:
                self._counters.happened(JOB_REJECTED)
                self._log.warning("job rejected", job=outcome.name, reason=outcome.reason)

    def _look_at_accepted(self) -> None:
        """At new sessions alone: there may be thousands of others."""
        while self._accepted:
            self._registry.accepted(self._accepted[0])
            del self._accepted[0]
            self._beat_if_due()

    def _exchange(self) -> None:
        """Record what is finished and claim what the slots can take."""
        slots = self._slots_ready if self._works else 0
        for work in self._registry.usable():
            if not work.demand(slots).room:
                self._say_tripped(work, work.settle())
        self._exchanges.run(slots, self._beat_if_due)

    def _finish_if_done(self) -> None:
        if self._draining and self._registry.is_idle():
            self._end(0, "drained")
        if self._draining or not self._burst or not self._registry.is_idle():
            return
        if self._jobs_waiting:
            return
        if self._registry.has_news():
            # Another worker made a session of the last job after our scan.
            self._next_scan = 0.0
            return
        stuck = {
            **self._registry.unable(starved=True),
            **self._registry.reasons(Standing.BLOCKED, Standing.UNREADABLE),
        }
        waiting = [
            work for name, work in self._work.items() if name not in stuck and work.state.state == ledger.RUNNING
        ]
        if waiting:
            return
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(stuck.items()))
        self._end(1 if stuck else 0, reasons or "nothing is left to do")

    def _end(self, exit_code: int, reason: str) -> None:
        self._ended.set()
        self._state = "ended"
        if not self._trouble:
            # Without it readers call the worker gone, as if it had died.
            with contextlib.suppress(OSError):
                self._beat()
        self._send(events.Finished(exit_code, reason))

    def _in_trouble(self, error: Exception) -> None:
        reason = str(error)
        if isinstance(error, FileNotFoundError):
            reason = f"{error.filename} is missing; is the spool mounted, was it removed?"
        if not self._trouble:
            self._counters.happened(SPOOL_TROUBLE)
            self._log.error("the spool is in trouble; nothing is lost, trying again", reason=reason)
        self._trouble = reason
        self._trouble_pause_s = min(2 * self._trouble_pause_s, LONGEST_TROUBLE_PAUSE_S)

    def _out_of_trouble(self) -> None:
        if self._trouble:
            self._log.info("the spool works again")
            self._trouble = ""
            self._trouble_pause_s = FIRST_TROUBLE_PAUSE_S
