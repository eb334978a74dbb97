"""All remote slots of a daemon: tasks to an executor, answers to a segment of the daemon's own, in a thread of its own.

Keeps I1 and I2: a task that gets no answer is asked for again, of several answers the first is taken, and a report is
made only after its rows are synced. The main loop never waits for it.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from arbd.daemon.executors import EXECUTORS
from arbd.daemon.executors.protocol import ChunkExecutor, ExecutorAwayError, ExecutorView, Loss
from arbd.daemon.executors.settings import ExecutorSettings
from arbd.daemon.host.logs import Log
from arbd.daemon.remote.evaluate import evaluate_chunk
from arbd.daemon.remote.patient import PatientExecutor, SentChunk
from arbd.daemon.remote.runs import Answered, GiveBack, Run, Submitted
from arbd.daemon.remote.session import HostRules, ShippedSession
from arbd.daemon.remote.slot import RemoteEvent, RemoteSlot
from arbd.daemon.remote.wire import Answer, Outcome, decode_answer
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, TaskReturned
from arbd.daemon.slots.shipped_plan import spans_of_task
from arbd.errors import ArbdError, ObjectiveError
from arbd.spool.files import Files
from arbd.spool.queue import Worker
from arbd.spool.system import Clock

LOOK_S = 0.5
MAX_OPEN_SESSIONS = 32
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
MAX_DOUBLINGS = 6
# A task that the executor does not take for so long goes back, for others to claim.
AWAY_PATIENCE_S = 5.0
# Workers that may be lost on one task, one after the other, before it goes back.
MAX_LOSSES = 8
# Answers of workers that compute with other versions, before this host says that it has no better ones.
MAX_UNFIT = 20
# Refused workers that a heartbeat names.
MOST_TOLD = 20


class RemotePool:
    """See the module. `submit`, `cancel` and `abandon` may be called by any thread; `on_event` is called from its own."""

    def __init__(
        self,
        executor: ChunkExecutor,
        settings: ExecutorSettings,
        files: Files,
        clock: Clock,
        worker: Worker,
        rules: HostRules,
        log: Log,
        on_event: Callable[[RemoteEvent], None],
        on_ready: Callable[[int], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._executor = PatientExecutor(executor, LOOK_S)
        self._settings = settings
        self._files, self._clock, self._worker, self._rules = files, clock, worker, rules
        self._log = log
        self._on_event = on_event
        self._on_ready = on_ready
        self._on_fatal = on_fatal
        self._inbox: queue.SimpleQueue[Submitted | Answered | GiveBack | HostRules | None] = queue.SimpleQueue()
        self._runs: dict[int, Run] = {}
        self._waiting: list[Run] = []
        self._sessions: dict[Path, tuple[Any, ShippedSession]] = {}
        self._opened = 0
        self._said = ""
        self._refused: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="remote-slots", daemon=True)
        self._ending = threading.Event()
        self.view = ExecutorView(0)
        self.disk_trouble = ""

    def about(self) -> dict[str, Any]:
        """For people, in the heartbeat."""
        view, out = self.view, [run for run in list(self._runs.values()) if run.future and not run.future.done()]
        return {
            "kind": self._settings.kind,
            "address": EXECUTORS.get(self._settings.kind).address(self._settings),
            "slots": self._settings.slots,
            "ready": self.ready,
            "busy": len(out),
            "oldest_s": round(max((time.monotonic() - run.sent_s for run in out), default=0.0), 1),
            "workers": view.workers,
            "waits_for": view.waits_for or (f"the disk: {self.disk_trouble}" if self.disk_trouble else ""),
            "refused": dict(itertools.islice(view.refused.items(), MOST_TOLD)),
        }

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def submit(self, slot: RemoteSlot, task: ChunkTask) -> None:
        """See `TaskRunner`."""
        self._inbox.put(Submitted(Run(slot, task)))

    def cancel(self, task: ChunkTask) -> None:
        """See `TaskRunner`."""
        self._inbox.put(GiveBack(task.number, "", running=False))

    def abandon(self, task: ChunkTask, reason: str) -> None:
        """See `TaskRunner`."""
        self._inbox.put(GiveBack(task.number, reason, running=True))

    def reconfigure(
        self, allow: tuple[str, ...], data_dirs: tuple[Path, ...] | None, search_paths: tuple[Path, ...]
    ) -> None:
        """Ask under other rules from the next session on."""
        self._inbox.put(HostRules(allow, data_dirs, search_paths))

    @property
    def ready(self) -> int:
        """How many chunks may be out now."""
        return min(self.view.ready, self._settings.slots)

    def end(self, within_s: float) -> bool:
        """Let go of the executor; False when its thread waits for something that does not come."""
        self._ending.set()
        self._inbox.put(None)
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # Without its slots this worker must not seem to work.
            self._on_fatal(error)
        finally:
            self._executor.close()
            for _, session in self._sessions.values():
                session.close()

    def _serve(self) -> None:
        next_look_s = 0.0
        while True:
            now_s = time.monotonic()
            if now_s >= next_look_s:
                self._look()
                next_look_s = time.monotonic() + LOOK_S
            wait_s = max(0.0, next_look_s - time.monotonic())
            if self._waiting:
                wait_s = min(wait_s, max(0.01, min(run.not_before_s for run in self._waiting) - time.monotonic()))
            arrived = self._drain(wait_s)
            if None in arrived:
                return
            self._handle(arrived)

    def _drain(self, wait_s: float) -> list[Any]:
        """All that came, after the first or after `wait_s`."""
        arrived: list[Any] = []
        try:
            arrived.append(self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait())
            while len(arrived) < 1_000:
                arrived.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return arrived

    def _handle(self, arrived: Sequence[Any]) -> None:
        reports: list[tuple[Run, ChunkReport]] = []
        for event in arrived:
            match event:
                case Submitted(run):
                    self._runs[run.task.number] = run
                    self._waiting.append(run)
                case Answered(number, future):
                    found = self._runs.get(number)
                    # A second answer, or one of a task that was given up, is nobody's.
                    if found is not None and found.future is future:
                        self._answered(found, future, reports)
                case GiveBack():
                    self._give_back(event)
                case HostRules():
                    self._rules = event
                    self._close_sessions()
        if reports:
            self._record(reports)
        self._submit_waiting()

    def _look(self) -> None:
        view = self._executor.look()
        for worker, reason in view.refused.items():
            if self._refused.get(worker) != reason:
                self._log.error("a worker of the executor is refused", worker=worker, reason=reason)
        self._refused = dict(view.refused)
        before, self.view = self.ready, view
        if view.waits_for != self._said:
            if view.waits_for:
                self._log.warning("waits for the executor's workers", reason=view.waits_for)
            else:
                self._log.info("the executor's workers are there", ready=self.ready)
            self._said = view.waits_for
        if self.ready != before:
            self._on_ready(self.ready - before)
        if self._executor.is_stuck:
            may_take = self._executor.may_take
            for run in list(self._runs.values()):
                # What it was not asked for yet; the one that it may be about to take waits for it, for much longer.
                if run.future is not None and run.future.source is None and run.future is not may_take:
                    self._give_back(GiveBack(run.task.number, view.waits_for, running=False))

    def _submit_waiting(self) -> None:
        now_s = time.monotonic()
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            if run.task.number not in self._runs:
                continue
            if run.not_before_s > now_s:
                self._waiting.append(run)
                continue
            try:
                self._submit(run)
            except (ArbdError, OSError) as error:
                self._send(run, LoadFailure(str(error)))

    def _wait(self, run: Run, reason: str) -> None:
        """The executor takes nothing now: try again, for a while."""
        now_s = time.monotonic()
        run.waits_since_s = now_s if run.waits_since_s is None else run.waits_since_s
        run.not_before_s = now_s + LOOK_S
        if now_s - run.waits_since_s > AWAY_PATIENCE_S:
            self._send(run, TaskReturned(reason))
        else:
            self._waiting.append(run)

    def _submit(self, run: Run) -> None:
        if run.session is None:
            last = max(span.first + span.count - 1 for span in spans_of_task(run.task))
            run.session = self._open(run.task.session, last)
        session, number = run.session, run.task.number
        future = self._executor.submit(evaluate_chunk, session.job(), session.chunk(run.task), run.attached)
        run.future, run.sent_s = future, time.monotonic()
        future.add_done_callback(lambda done: self._inbox.put(Answered(number, future)))

    def _open(self, folder: Path, last: int) -> ShippedSession:
        identity = self._files.look(folder / "spec.msgpack")
        known, session = self._sessions.pop(folder, (None, None))
        if session is not None and (known != identity or session.spec.n < last):
            session.close()
            session = None
        if session is None:
            self._opened += 1
            label = f"x{self._opened}"
            session = ShippedSession(self._files, self._clock, folder, label, self._worker, self._rules)
            if session.spec.n < last:
                session.close()
                raise ObjectiveError(f"{session.paths.spec} is not shown here yet as it was extended")
            while len(self._sessions) >= MAX_OPEN_SESSIONS:
                in_use = {run.task.session for run in self._runs.values()}
                idle = next((known for known in self._sessions if known not in in_use), None)
                if idle is None:
                    break
                self._sessions.pop(idle)[1].close()
        self._sessions[folder] = (identity, session)
        return session

    def _close_sessions(self) -> None:
        """Those in use are closed by who is opened next."""
        in_use = {run.task.session for run in self._runs.values() if run.session is not None}
        for folder in [folder for folder in self._sessions if folder not in in_use]:
            self._sessions.pop(folder)[1].close()

    def _answered(self, run: Run, future: SentChunk, reports: list[tuple[Run, ChunkReport]]) -> None:
        """One future is done. What is evaluated goes into `reports`, after its rows were written."""
        run.future = None
        if future.refused is not None:
            self._not_taken(run, future.refused)
            return
        run.waits_since_s = None
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or error is not None:
            self._lost(run, error, future.loss)
            return
        session = run.session
        assert session is not None, "an answer to what was not sent"
        try:
            answer = decode_answer(future.result())
            if answer.outcome is Outcome.EVALUATED:
                reports.append((run, session.take(run.task, answer)))
            else:
                self._not_evaluated(run, future, answer)
        except (ValueError, TypeError) as unreadable:
            # Executors of somebody else's making return what they like.
            self._send(run, LoadFailure(f"an answer cannot be taken: {unreadable}"))
        except (ArbdError, OSError) as failed:
            self._send(run, LoadFailure(str(failed)))

    def _not_evaluated(self, run: Run, future: SentChunk, answer: Answer) -> None:
        session = run.session
        assert session is not None
        if answer.outcome is Outcome.UNLOADABLE:
            self._send(run, LoadFailure(f"{answer.host}: {answer.reason}"))
        elif answer.outcome is Outcome.MISSING:
            run.attached = {name: session.files_of(name) for name in answer.wanted}
            self._waiting.append(run)
        else:
            self._executor.refuse(future, f"{answer.host}: {answer.reason}")
            self._unfit(run, f"{answer.host}: {answer.reason}")

    def _unfit(self, run: Run, reason: str) -> None:
        run.unfit += 1
        if run.unfit > MAX_UNFIT:
            self._send(run, LoadFailure(f"no worker of the executor is fit: {reason}"))
        else:
            self._again(run)

    def _lost(self, run: Run, error: BaseException | None, loss: Loss) -> None:
        what = "cancelled" if error is None else f"{type(error).__name__}: {error}"
        self._log.warning("a chunk was lost, and is asked for again", session=run.task.session.name, reason=what)
        if loss is Loss.UNFIT:
            self._unfit(run, what)
            return
        run.losses += loss is Loss.WORKER
        if run.losses > MAX_LOSSES:
            self._send(run, LoadFailure(f"workers of the executor end on it, {run.losses} times: {what}"))
        else:
            self._again(run)

    def _not_taken(self, run: Run, why: Exception) -> None:
        match why:
            case ExecutorAwayError():
                self._wait(run, str(why))
            case ArbdError() | OSError():
                self._send(run, LoadFailure(str(why)))
            case _:
                raise why

    def _again(self, run: Run) -> None:
        # What an executor loses again and again (one that cancels whatever it gets) waits ever longer.
        run.not_before_s = time.monotonic() + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(run.times, MAX_DOUBLINGS))
        run.times += 1
        self._waiting.append(run)

    def _give_back(self, event: GiveBack) -> None:
        run = self._runs.get(event.number)
        if run is None:
            return
        future = run.future
        if event.running or future is None or future.cancel():
            self._send(run, TaskReturned(event.reason))
            if future is not None:
                self._executor.forget(future)

    def _record(self, reports: Sequence[tuple[Run, ChunkReport]]) -> None:
        """Sync what was written, then report it. While the disk fails, it is kept and tried again."""
        sessions = {id(run.session): run.session for run, _ in reports}
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                for session in sessions.values():
                    assert session is not None
                    session.sync()
                break
            except OSError as error:
                if not self.disk_trouble:
                    self._log.error("results cannot be written; they are kept and written again", reason=error)
                self.disk_trouble = str(error)
                if self._ending.wait(pause_s):
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self.disk_trouble = ""
        for run, report in reports:
            self._send(run, report)

    def _send(self, run: Run, result: ChunkReport | LoadFailure | TaskReturned) -> None:
        if self._runs.pop(run.task.number, None) is None:
            return
        self._on_event(RemoteEvent(run.slot, run.task, result))
