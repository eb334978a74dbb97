"""The worker's main loop: slots, deadlines, signals, systemd. It never touches the spool itself.

Signal handlers only enqueue. One loop drains what came in, hands tasks to free slots, kills what is overdue,
and tells systemd that it lives; file access is the coordinator's, in its own thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from arbd.daemon.core import events
from arbd.daemon.core.chunks import preempt
from arbd.daemon.core.coordinator import Coordinator
from arbd.daemon.core.counters import Counters, MeasuredFiles
from arbd.daemon.core.session_registry import Timing
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.host.notify import Notifier, watchdog_interval_s
from arbd.daemon.host.reload import reload
from arbd.daemon.host.watch import start_watching
from arbd.daemon.side.intake_supervisor import IntakeSupervisor
from arbd.daemon.side.services import LAST_SWEEPS_S, Companions
from arbd.daemon.side.suggester import SuggesterPool
from arbd.daemon.slots.pool import Limits, Slot, SlotEvent
from arbd.daemon.slots.protocol import ChunkTask, LoadFailure, StaleProcess
from arbd.daemon.startup import about_worker, run_folder, slot_setup, take_life
from arbd.errors import ArbdError, SpoolError, VersionError
from arbd.job.code import altered_since_build
from arbd.results.session_code import publish_engine
from arbd.spool.files import Files
from arbd.spool.held import Taker
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import Worker
from arbd.spool.submitters import Submitters
from arbd.spool.system import SystemClock

TICK_S = 0.1
KILL_AFTER_STOP_S = 1.0
LAST_WORDS_S = 10.0
STATUS_S = 2.0


@dataclass(frozen=True, slots=True)
class Mode:
    """How this worker runs: `only` one session; `intake` of dropped jobs or not; with `burst`, until idle."""

    only: str | None = None
    intake: bool = True
    burst: bool = False


@dataclass(frozen=True, slots=True)
class _Signal:
    number: int


_Event = (
    SlotEvent | _Signal | events.Run | events.Compact | events.Suggest | events.Stop | events.Finished | events.Fatal
)


class Service:
    """One run of a worker. `run` returns the exit code; errors that end the worker are raised.

    `reread` reads the settings anew on SIGHUP; without it, SIGHUP drains as SIGTERM does.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        mode: Mode = Mode(),
        on_tick: Callable[[], None] | None = None,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        self._config = config
        self._reread = reread
        self._log = log
        self._mode = mode
        self._on_tick = on_tick
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._ready: deque[events.Run | events.Compact] = deque()
        self._limits: dict[Path, Limits] = {}
        self._kill_at: dict[int, float] = {}
        self._slots: list[Slot] = []
        self._notifier = Notifier()
        self._interrupted = False
        self._drain_by_s: float | None = None
        self._highest_task = 0
        self._run_dir: Path | None = None
        self._disk_errors: set[int] = set()
        self._counters = Counters()
        self._claimed_s: dict[int, float] = {}
        self._refused_settings = ""
        self._suggester: SuggesterPool | None = None
        self._intake: IntakeSupervisor | None = None

    def run(self) -> int:
        """Work until drained, or with `burst` until nothing is left."""
        config = self._config
        layout = SpoolLayout(config.spool)
        layout.prepare()
        Submitters.of(config.allowed_submitters)
        files, clock = MeasuredFiles(layout.files(), self._counters.lock_wait), SystemClock()
        life = take_life(files, layout, config.worker_id)
        worker = Worker(config.worker_id, secrets.randbits(63), config.slots)
        self._tell_code(files, layout)
        companions = Companions(config, files, self._mode.only, self._counters, self._log)
        coordinator = Coordinator(
            files,
            clock,
            layout,
            worker,
            Timing(config.scan_s, config.beat_s, config.lease_s, config.chunk_target_s),
            self._log,
            self._events.put,
            about=about_worker(config),
            intake=self._mode.intake,
            inbox=events.QueueInbox(),
            life=life,
            only=self._mode.only,
            burst=self._mode.burst,
            more=companions.about,
            counters=self._counters,
        )
        try:
            with contextlib.ExitStack() as stack:
                run_dir = self._run_dir = stack.enter_context(run_folder())
                stack.enter_context(self._signals())
                stack.callback(self._stop_slots)
                self._suggester = SuggesterPool(coordinator.post)
                stack.callback(self._suggester.stop)
                for index in range(config.slots):
                    slot = Slot(
                        index,
                        slot_setup(config, worker),
                        run_dir,
                        self._events.put,
                        lambda: coordinator.post(events.SlotReady()),
                    )
                    self._slots.append(slot)
                threading.Thread(target=coordinator.run, name="coordinator", daemon=True).start()
                companions.start()
                stack.callback(companions.stop, config.drain_timeout_s if self._mode.burst else LAST_SWEEPS_S)
                if self._mode.intake:
                    taker = Taker(config.worker_id, worker.incarnation)
                    self._intake = IntakeSupervisor(config, taker, coordinator.post, self._log)
                    self._intake.start()
                    stack.callback(self._intake.stop)
                    observer = start_watching(
                        layout.incoming, config.watch, config.scan_s, self._intake.look, self._log
                    )
                    stack.callback(observer.stop)
                self._log.info(
                    "started", spool=config.spool, worker=config.worker_id, slots=config.slots, pid=os.getpid()
                )
                self._notifier.ready(f"working on {config.spool}")
                return self._loop(coordinator, companions)
        finally:
            life.release()

    def _tell_code(self, files: Files, layout: SpoolLayout) -> None:
        """Say which code of arbd's own this host has, and when it is not what was installed."""
        publish_engine(files, layout)
        if altered := altered_since_build():
            self._log.warning("arbd's own code is not what was installed", files=", ".join(altered[:5]))

    def _loop(self, coordinator: Coordinator, companions: Companions) -> int:
        watchdog_s = watchdog_interval_s()
        next_watchdog = next_status = 0.0
        while True:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=TICK_S)
                while True:
                    if isinstance(event, events.Finished):
                        return self._ended(event)
                    if event == _Signal(signal.SIGHUP) and self._reread is not None:
                        self._reload(self._reread, coordinator, companions)
                    else:
                        self._handle(event, coordinator)
                    event = self._events.get_nowait()
            self._assign()
            now = time.monotonic()
            self._enforce(now)
            if self._drain_by_s is not None and now > self._drain_by_s + LAST_WORDS_S:
                self._give_up()
            if watchdog_s is not None and now >= next_watchdog:
                self._notifier.send("WATCHDOG=1")
                next_watchdog = now + watchdog_s
            if now >= next_status:
                self._notifier.status(self._status())
                next_status = now + STATUS_S
            if self._on_tick is not None:
                self._on_tick()

    def _status(self) -> str:
        """For `systemctl status`."""
        about, busy = self._counters.snapshot.about, self._counters.slots_busy
        sessions = len(about.get("sessions", ()))
        parts = [f"{sessions} session{'' if sessions == 1 else 's'}, {busy} of {self._config.slots} slots busy"]
        parts += [f"{about['rate']:,.1f} iterations/s"] if about.get("rate") else []
        silent_s = self._counters.snapshot.age_s(time.monotonic())
        parts += [f"the spool has not answered for {silent_s:.0f} s"] if silent_s > LAST_WORDS_S else []
        parts += [f"trouble with the spool: {about['trouble']}"] if about.get("trouble") else []
        parts += ["Redis is down"] if about.get("mirror", {}).get("state") == "down" else []
        if self._drain_by_s is not None:
            return "draining: " + "; ".join(parts)
        return "; ".join([*parts, *([self._refused_settings] if self._refused_settings else [])])

    def _reload(self, read: Callable[[], Config], coordinator: Coordinator, companions: Companions) -> None:
        """Take the settings over as the file has them now, or say why not and keep those that are in force."""
        if self._drain_by_s is not None:
            return
        self._notifier.reloading()
        try:
            new = reload(self._config, read)
            Submitters.of(new.config.allowed_submitters)
            companions.reconfigure(new.config)
        except ArbdError as error:
            self._refused_settings = "the settings are wrong and the old ones stay in force, see the log"
            self._log.error("the settings are wrong; the old ones stay in force", reason=error)
        else:
            self._refused_settings = ""
            self._config = new.config
            self._log.configure(new.config.log_level, new.config.log_style)
            if {"allow", "objective_paths", "data_dirs"} & set(new.changed):
                for slot in self._slots:
                    slot.reconfigure(new.config.objective_paths, new.config.allow, new.config.data_dirs)
            if self._intake is not None:
                self._intake.reconfigure(new.config)
            timing = (new.config.scan_s, new.config.beat_s, new.config.lease_s, new.config.chunk_target_s)
            coordinator.post(events.Reconfigured(*timing))
            self._log.info("settings read", changed=",".join(new.changed) or "nothing")
            if new.after_restart:
                self._log.warning("settings that changed wait for a restart", settings=",".join(new.after_restart))
        self._notifier.ready(self._status())

    def _give_up(self) -> NoReturn:
        """The spool hangs, so nothing that waits for it can be waited for, not even at the end of a process."""
        self._log.error(
            "the spool does not answer; ending without it, unfinished work goes to other workers",
            spool=self._config.spool,
            within_s=LAST_WORDS_S,
        )
        for slot in self._slots:
            slot.kill("the daemon stops")
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
        os._exit(SpoolError.exit_code)

    def _ended(self, event: events.Finished) -> int:
        if event.exit_code:
            self._log.error("ended", reason=event.reason)
        else:
            self._log.info("ended", reason=event.reason)
        return 130 if self._interrupted else event.exit_code

    def _handle(self, event: _Event, coordinator: Coordinator) -> None:
        match event:
            case events.Run(task, limits):
                self._limits[task.session] = limits
                self._highest_task = max(self._highest_task, task.number)
                if self._drain_by_s is None:
                    self._claimed_s[task.number] = time.monotonic()
                    self._ready.append(event)
                else:
                    coordinator.post(events.Returned(task))
            case events.Compact():
                self._ready.append(event)
            case events.Suggest():
                assert self._suggester is not None
                self._suggester.submit(event)
            case events.Stop(session, kill):
                self._stop_session(session, kill, coordinator)
            case events.Fatal(error):
                raise error
            case _Signal(number):
                self._signalled(number, coordinator)
            case SlotEvent():
                self._slot_came_back(event, coordinator)

    def _slot_came_back(self, event: SlotEvent, coordinator: Coordinator) -> None:
        slot, task = event.slot, event.task
        if isinstance(task, ChunkTask):
            self._kill_at.pop(task.number, None)
        error = event.future.exception()
        if isinstance(error, BrokenProcessPool):
            exit_report = slot.exit_report()
            slot.restart()
            if isinstance(task, ChunkTask):
                coordinator.post(events.Lost(task, exit_report))
            else:
                coordinator.post(events.Compacted(task, exit_report.error()))
            return
        slot.task = None
        if not isinstance(task, ChunkTask):
            if error is None:
                report = event.future.result()
                coordinator.post(events.Compacted(task, damage=report.damage, busy=report.busy))
            else:
                other_version = isinstance(error, VersionError)
                reason = str(error) if other_version else f"{type(error).__name__}: {error}"
                coordinator.post(events.Compacted(task, reason, other_version=other_version))
        elif error is not None:
            # The slot could not write its results (disk full, mount gone): what it did not record runs again.
            coordinator.post(events.Unloadable(task, f"{type(error).__name__}: {error}"))
        else:
            result = event.future.result()
            if isinstance(result, StaleProcess):
                self._begin_anew(slot, task, result.reason, coordinator)
            elif isinstance(result, LoadFailure):
                coordinator.post(events.Unloadable(task, result.reason))
            else:
                coordinator.post(events.Reported(task, result))

    def _begin_anew(self, slot: Slot, task: ChunkTask, reason: str, coordinator: Coordinator) -> None:
        """The slot's process has loaded other code than the task needs: a fresh one does it, if it is wanted still."""
        wanted = not slot.progress.should_stop(task.number)
        self._log.info("a slot begins anew", session=task.session.name, slot=slot.index, reason=reason)
        slot.restart()
        if wanted:
            slot.submit(replace(task, fresh=True))
        else:
            coordinator.post(events.Returned(task))

    def _assign(self) -> None:
        """Waiting tasks to free slots, the urgent ones first; where none is free, less urgent work gives way."""
        free = [slot for slot in self._slots if slot.task is None]
        for slot in free:
            slot.renew()
        while self._ready and free:
            order = max(self._ready, key=_urgency)
            self._ready.remove(order)
            if isinstance(order, events.Run):
                self._counters.chunk_wait.observe(time.monotonic() - self._claimed_s.pop(order.task.number))
            slot = _best_slot(free, order)
            free.remove(slot)
            slot.submit(order.task if isinstance(order, events.Run) else order.session)
        if self._ready:
            busy = [slot for slot in self._slots if isinstance(slot.task, ChunkTask)]
            running = [(self._priority(slot.task), slot.is_preempted()) for slot in busy]
            waiting = [_priority_of(order) for order in self._ready]
            for index in preempt(waiting, running):
                busy[index].preempt()
        self._counters.slots_busy = sum(slot.task is not None for slot in self._slots)

    def _priority(self, task: object) -> int:
        return self._limits[task.session].priority if isinstance(task, ChunkTask) else 0

    def _enforce(self, now: float) -> None:
        now_ns = time.monotonic_ns()
        for slot in self._slots:
            reason = ""
            if isinstance(slot.task, ChunkTask):
                self._tell_disk_error(slot)
                reason = slot.overdue(self._limits[slot.task.session].timeout_s, now_ns)
                if not reason and now >= self._kill_at.get(slot.task.number, float("inf")):
                    reason = "the session was cancelled or removed"
            if not reason and slot.task is not None and self._drain_by_s is not None and now >= self._drain_by_s:
                # A compaction too: whoever compacts next begins anew.
                reason = "the daemon stops"
            if reason:
                slot.kill(reason)

    def _tell_disk_error(self, slot: Slot) -> None:
        error = slot.disk_error()
        if error and slot.index not in self._disk_errors:
            self._log.error(
                "a slot cannot write its results; it keeps them and tries again", slot=slot.index, reason=error
            )
            self._disk_errors.add(slot.index)
        elif not error:
            self._disk_errors.discard(slot.index)

    def _return_waiting(self, wanted: Callable[[ChunkTask], bool], coordinator: Coordinator) -> None:
        waiting = [order for order in self._ready if isinstance(order, events.Run) and wanted(order.task)]
        for order in waiting:
            self._ready.remove(order)
            del self._claimed_s[order.task.number]
            coordinator.post(events.Returned(order.task))

    def _stop_session(self, session: Path, kill: bool, coordinator: Coordinator) -> None:
        self._return_waiting(lambda task: task.session == session, coordinator)
        for slot in self._slots:
            if isinstance(slot.task, ChunkTask) and slot.task.session == session:
                slot.progress.stop_tasks_up_to(self._highest_task)
                if kill:
                    self._kill_at.setdefault(slot.task.number, time.monotonic() + KILL_AFTER_STOP_S)

    def _signalled(self, number: int, coordinator: Coordinator) -> None:
        name = signal.Signals(number).name
        if self._drain_by_s is not None:
            self._log.warning("stopping at once", signal=name)
            self._drain_by_s = min(self._drain_by_s, time.monotonic())
            return
        self._interrupted = number == signal.SIGINT
        self._log.info("draining", signal=name, within_s=self._config.drain_timeout_s)
        self._notifier.stopping("draining")
        self._drain_by_s = time.monotonic() + self._config.drain_timeout_s
        if self._intake is not None:
            self._intake.end()
        for slot in self._slots:
            slot.progress.stop_tasks_up_to(self._highest_task)
        for order in self._ready:
            if isinstance(order, events.Run):
                coordinator.post(events.Returned(order.task))
            else:
                coordinator.post(events.Compacted(order.session, "the daemon stops"))
        self._ready.clear()
        self._claimed_s.clear()
        coordinator.post(events.Drain())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, lambda received, _frame: self._events.put(_Signal(received)))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop_slots(self) -> None:
        for slot in self._slots:
            slot.stop()


def _best_slot(free: Sequence[Slot], order: events.Run | events.Compact) -> Slot:
    """One that has the session loaded, before others."""
    session = order.task.session if isinstance(order, events.Run) else order.session
    return next((slot for slot in free if slot.last_session == session), free[0])


def _priority_of(order: events.Run | events.Compact) -> int:
    return order.limits.priority if isinstance(order, events.Run) else order.priority


def _urgency(order: events.Run | events.Compact) -> tuple[int, bool]:
    # Among equals, a session that only waits to be compacted goes first.
    return _priority_of(order), isinstance(order, events.Compact)
