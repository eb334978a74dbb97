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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from arbd.analysis.pace import rate_text
from arbd.daemon import forks
from arbd.daemon.core import events
from arbd.daemon.core.coordinator import Coordinator
from arbd.daemon.core.counters import Counters, MeasuredFiles
from arbd.daemon.core.session_registry import Timing
from arbd.daemon.host.config import Config
from arbd.daemon.host.logs import Log
from arbd.daemon.host.notify import Notifier, watchdog_interval_s
from arbd.daemon.host.reload import reload
from arbd.daemon.host.watch import start_watching
from arbd.daemon.remote.slot import RemoteEvent
from arbd.daemon.side.compactor import Compactor
from arbd.daemon.side.intake_supervisor import IntakeSupervisor
from arbd.daemon.side.services import LAST_SWEEPS_S, SideServices
from arbd.daemon.side.suggester import SuggesterPool
from arbd.daemon.slots.pool import SlotEvent
from arbd.daemon.startup import about_worker, drain_at_s, run_folder, slot_setup, take_life
from arbd.daemon.supervisor import Supervisor
from arbd.errors import ArbdError, SpoolError
from arbd.job.code import altered_since_build
from arbd.paper.market.retention import keep_within_bound, note_bound
from arbd.private_folder import private_folder
from arbd.results.session_code import publish_engine
from arbd.spool.files import Files
from arbd.spool.held import Taker
from arbd.spool.job_file import Submitters
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import LivenessLock
from arbd.spool.queue import Worker
from arbd.spool.system import SystemClock
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.daemon.remote.pool import RemotePool

TICK_S = 0.1
FINAL_PATIENCE_S = 10.0
STATUS_S = 2.0


@dataclass(frozen=True, slots=True)
class Mode:
    """How this worker runs: `only` one session; `intake` of dropped jobs or not; with `burst`, until idle.

    With `walltime_s`, it is ended by others then, and drains in time.
    """

    only: str | None = None
    intake: bool = True
    burst: bool = False
    walltime_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Signal:
    number: int


@dataclass(frozen=True, slots=True)
class _CompactionEnded:
    """The compactor is free for the next session."""


_Event = (
    SlotEvent
    | RemoteEvent
    | _Signal
    | _CompactionEnded
    | events.Run
    | events.Compact
    | events.Suggest
    | events.Stop
    | events.Finished
    | events.Fatal
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
        # Made in `run`, which knows whom they speak to.
        self._supervisor: Supervisor
        self._suggester: SuggesterPool
        self._compactor: Compactor
        self._notifier = Notifier()
        self._interrupted = False
        self._drain_by_s: float | None = None
        self._drain_at_s = drain_at_s(config, mode.walltime_s)
        self._run_dir: Path | None = None
        self._counters = Counters()
        self._refused_settings = ""
        self._intake: IntakeSupervisor | None = None
        self._remote: RemotePool | None = None

    def run(self) -> int:
        """Work until drained, or with `burst` until nothing is left."""
        config = self._config
        layout = SpoolLayout(config.spool)
        layout.prepare()
        self._bound_cache(private_folder(config.cache_dir))
        Submitters.of(config.allowed_submitters)
        files = MeasuredFiles(layout.files(), self._counters.lock_wait)
        life = take_life(files, layout, config.worker_id)
        worker = Worker(config.worker_id, secrets.randbits(63), config.all_slots)
        self._tell_code(files, layout)
        side_services = SideServices(config, files, self._mode.only, self._counters, self._log)
        coordinator = self._coordinator(files, layout, worker, life, side_services)
        try:
            with contextlib.ExitStack() as stack:
                run_dir = self._run_dir = stack.enter_context(run_folder())
                stack.enter_context(self._signals())
                self._supervisor = Supervisor(self._log, self._counters, coordinator.post)
                # It would wait for the copies that cannot be killed, too.
                stack.callback(lambda: None if self._supervisor.is_stuck else forks.stop_server())
                stack.callback(self._supervisor.end)
                self._suggester = SuggesterPool(coordinator.post)
                stack.callback(self._suggester.stop)
                self._compactor = Compactor(coordinator.post, lambda: self._events.put(_CompactionEnded()))
                stack.callback(self._compactor.stop)
                setup = slot_setup(config, worker, intake=self._mode.intake)
                self._supervisor.start(setup, config.slots, run_dir, self._events.put)
                self._start_remote(layout, worker, coordinator)
                self._compactor.warm_up()
                threading.Thread(target=coordinator.run, name="coordinator", daemon=True).start()
                side_services.start()
                stack.callback(side_services.stop, config.drain_timeout_s if self._mode.burst else LAST_SWEEPS_S)
                if self._mode.intake:
                    taker = Taker(config.worker_id, worker.incarnation)
                    self._intake = IntakeSupervisor(
                        config, taker, coordinator.post, self._log, self._counters.standing_seen
                    )
                    self._intake.start()
                    stack.callback(self._intake.stop)
                    observer = start_watching(
                        layout.incoming, config.watch, config.scan_s, self._intake.look, self._log
                    )
                    stack.callback(observer.stop)
                self._log.info(
                    "started", spool=config.spool, worker=config.worker_id, slots=config.all_slots, pid=os.getpid()
                )
                self._notifier.ready(f"working on {config.spool}")
                code = self._loop(coordinator, side_services)
        finally:
            life.release()
        if self._supervisor.is_stuck:
            # The interpreter's end would wait for the process that cannot be killed.
            os._exit(code)
        return code

    def _coordinator(
        self, files: Files, layout: SpoolLayout, worker: Worker, life: LivenessLock, side_services: SideServices
    ) -> Coordinator:
        config = self._config
        return Coordinator(
            files,
            SystemClock(),
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
            more=lambda: {**side_services.about(), **self._about_executor()},
            counters=self._counters,
            limits=config.limits,
            labels=config.labels,
        )

    def _start_remote(self, layout: SpoolLayout, worker: Worker, coordinator: Coordinator) -> None:
        """Slots of somebody else, where the settings name any."""
        if not self._config.executor.kind:
            return
        from arbd.daemon.remote.start import remote_slots  # noqa: PLC0415 - NumPy, which no other main loop needs

        def ready(count: int) -> None:
            coordinator.post(events.SlotReady(count))

        def fatal(error: Exception) -> None:
            self._events.put(events.Fatal(error))

        pool, slots = remote_slots(self._config, layout.files(), worker, self._log, self._events.put, ready, fatal)
        self._remote = pool
        self._supervisor.start_remote(pool, slots)

    def _about_executor(self) -> dict[str, Any]:
        pool = self._remote
        return {} if pool is None else {"executor": pool.about()}

    def _bound_cache(self, cache_dir: Path) -> None:
        """Note how large the cache may be, for all who add to it, and make room."""
        note_bound(cache_dir, self._config.cache_max_gb * 1e9)
        for gone in keep_within_bound(cache_dir):
            self._log.info("cached data removed", entry=gone.name, mb=round(gone.size / 1e6, 1))

    def _tell_code(self, files: Files, layout: SpoolLayout) -> None:
        """Say which code of arbd's own this host has, and when it is not what was installed."""
        publish_engine(files, layout)
        if altered := altered_since_build():
            self._log.warning("arbd's own code is not what was installed", files=", ".join(altered[:5]))

    def _loop(self, coordinator: Coordinator, side_services: SideServices) -> int:
        watchdog_s = watchdog_interval_s()
        next_watchdog = next_status = 0.0
        while True:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=TICK_S)
                while True:
                    if isinstance(event, events.Finished):
                        return self._ended(event)
                    if event == _Signal(signal.SIGHUP) and self._reread is not None:
                        self._reload(self._reread, coordinator, side_services)
                    else:
                        self._handle(event, coordinator)
                    event = self._events.get_nowait()
            self._supervisor.assign()
            now = time.monotonic()
            self._supervisor.enforce(now, self._drain_by_s)
            self._keep_time(now, coordinator)
            if watchdog_s is not None and now >= next_watchdog:
                self._notifier.send("WATCHDOG=1")
                next_watchdog = now + watchdog_s
            if now >= next_status:
                self._notifier.status(self._status())
                next_status = now + STATUS_S
            if self._on_tick is not None:
                self._on_tick()

    def _keep_time(self, now: float, coordinator: Coordinator) -> None:
        if self._drain_by_s is None:
            if now >= self._drain_at_s:
                self._drain("the walltime", coordinator)
            return
        if now >= self._drain_by_s:
            # Whoever compacts next begins anew.
            self._compactor.stop()
        if now > self._drain_by_s + FINAL_PATIENCE_S:
            self._give_up()

    def _status(self) -> str:
        """For `systemctl status`."""
        about, busy = self._counters.snapshot.about, self._counters.slots_busy
        sessions = len(about.get("sessions", ()))
        parts = [f"{sessions} session{'' if sessions == 1 else 's'}, {busy} of {self._config.all_slots} slots busy"]
        parts += [f"{rate_text(about['rate'])} iterations/s"] if about.get("rate") else []
        parts += [f"works on nothing: {about['halted']}"] if about.get("halted") else []
        silent_s = self._counters.snapshot.age_s(time.monotonic())
        parts += [f"the spool has not answered for {silent_s:.0f} s"] if silent_s > FINAL_PATIENCE_S else []
        trouble = self._counters.condition.spool_trouble or about.get("trouble")
        parts += [f"trouble with the spool: {trouble}"] if trouble else []
        waits_for = self._remote.view.waits_for if self._remote is not None else ""
        parts += [f"waits for {waits_for}"] if waits_for else []
        parts += ["Redis is down"] if about.get("mirror", {}).get("state") == "down" else []
        parts += [f"{name} cannot be told" for name, told in about.get("notify", {}).items() if told["error"]]
        parts += ["retention fails"] if about.get("retention", {}).get("troubles") else []
        if self._drain_by_s is not None:
            return "draining: " + "; ".join(parts)
        return "; ".join([*parts, *([self._refused_settings] if self._refused_settings else [])])

    def _reload(self, read: Callable[[], Config], coordinator: Coordinator, side_services: SideServices) -> None:
        """Take the settings over as the file has them now, or say why not and keep those that are in force."""
        if self._drain_by_s is not None:
            return
        self._notifier.reloading()
        try:
            new = reload(self._config, read)
            Submitters.of(new.config.allowed_submitters)
            side_services.reconfigure(new.config)
        except ArbdError as error:
            self._refused_settings = "the settings are wrong and the old ones stay in force, see the log"
            self._log.error("the settings are wrong; the old ones stay in force", reason=error)
        else:
            self._refused_settings = ""
            self._config = new.config
            self._log.configure(new.config.log_level, new.config.log_style)
            if {"allow", "objective_paths", "data_dirs"} & set(new.changed):
                self._supervisor.reconfigure(new.config)
            if self._intake is not None:
                self._intake.reconfigure(new.config)
            if "cache_max_gb" in new.changed:
                self._bound_cache(new.config.cache_dir)
            timing = (new.config.scan_s, new.config.beat_s, new.config.lease_s, new.config.chunk_target_s)
            coordinator.post(events.Reconfigured(*timing, new.config.limits, new.config.labels))
            self._log.info("settings read", changed=",".join(new.changed) or "nothing")
            if new.after_restart:
                self._log.warning("settings that changed wait for a restart", settings=",".join(new.after_restart))
        self._notifier.ready(self._status())

    def _give_up(self) -> NoReturn:
        """The spool hangs, so nothing that waits for it can be waited for, not even at the end of a process."""
        self._log.error(
            "the spool does not answer; ending without it, unfinished work goes to other workers",
            spool=self._config.spool,
            within_s=FINAL_PATIENCE_S,
        )
        self._supervisor.kill("the daemon stops")
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
            case events.Run():
                self._supervisor.run(event)
            case events.Compact():
                self._compactor.submit(event)
            case _CompactionEnded():
                self._compactor.step()
            case events.Suggest():
                self._suggester.submit(event)
            case events.Stop(session, kill):
                self._supervisor.stop_session(session, kill)
            case events.Fatal(error):
                raise error
            case _Signal(number):
                self._signalled(number, coordinator)
            case SlotEvent():
                self._supervisor.came_back(event)
            case RemoteEvent():
                self._supervisor.remote_came_back(event)

    def _signalled(self, number: int, coordinator: Coordinator) -> None:
        name = signal.Signals(number).name
        if self._drain_by_s is not None:
            self._log.warning("stopping at once", signal=name)
            self._drain_by_s = min(self._drain_by_s, time.monotonic())
            return
        self._interrupted = number == signal.SIGINT
        self._drain(name, coordinator)

    def _drain(self, why: str, coordinator: Coordinator) -> None:
        self._log.info("draining", signal=why, within_s=self._config.drain_timeout_s)
        self._notifier.stopping("draining")
        self._drain_by_s = time.monotonic() + self._config.drain_timeout_s
        if self._intake is not None:
            self._intake.end()
        self._supervisor.drain()
        self._compactor.drop_waiting()
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
