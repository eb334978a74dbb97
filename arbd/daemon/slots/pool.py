"""The slots of this worker, seen from the parent: start, feed, watch, kill, replace.

A slot is a `ProcessPoolExecutor` of one process, so that a crash, an out-of-memory kill or a timeout costs
that slot alone. It is replaced as a whole: `max_tasks_per_child` makes pools hang (cpython#115634).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from arbd.daemon.forks import forking_context
from arbd.daemon.slots import process as slot_process
from arbd.daemon.slots.progress import AWAITING, COMPILING, EVALUATING, IDLE, LOADING, WAITING, Progress, ProgressPage
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup
from arbd.daemon.slots.states import LEGAL, SlotState
from arbd.objective.processes import is_running, kill_tree
from arbd.values import dataclass

OUTPUT_TAIL_BYTES = 2_000
LOAD_TIMEOUT_S = 600.0
# Where loading keeps all slots of a host from other sessions, it is ended sooner; each time for one session later.
LOAD_PATIENCE_S = 60.0
EXIT_TIMEOUT_S = 5.0
# A slot that was asked nothing for so long ends the programs that objectives keep.
REST_S = 60.0


@dataclass(frozen=True, slots=True)
class SlotEvent:
    """Something a slot came back with, for the main loop: which slot, which task, what."""

    slot: Slot
    task: ChunkTask
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the parent enforces on a session's iterations."""

    timeout_s: float | None
    retries: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """A slot that loads a session: since when, and since when it does not go on; it `waits` for another that converts."""

    since_s: float
    still_s: float
    waits: bool

    @property
    def idle_s(self) -> float:
        """For how long it did nothing that only it could do."""
        return self.since_s if self.waits else self.still_s


class Slot:
    """One slot. Only the main thread calls it; `on_event` is called from the executor's thread."""

    def __init__(
        self,
        index: int,
        setup: SlotSetup,
        run_dir: Path,
        on_event: Callable[[SlotEvent], None],
        on_ready: Callable[[], None],
    ) -> None:
        self.index = index
        self._base = setup
        self._run_dir = run_dir
        self._on_event = on_event
        self._starts = itertools.count()
        self.task: ChunkTask | None = None
        self.last_session: Path | None = None
        self.state = SlotState.FREE
        self.kill_reason = ""
        self.is_fresh = True
        self._outdated = False
        self._rests_at = math.inf
        self._advanced = self._advanced_ns = 0
        self._context: multiprocessing.context.BaseContext = forking_context(
            engine=setup.may_run_engine, intake=setup.takes_jobs_up
        )
        self._server_pid: int | None = None
        self._start().add_done_callback(lambda _: on_ready())

    def _start(self) -> Future[int]:
        number = next(self._starts)
        label = f"{self.index}" if number == 0 else f"{self.index}r{number}"
        stem = self._run_dir / f"slot-{label}"
        self.setup = replace(
            self._base, label=label, progress=stem.with_suffix(".progress"), output=stem.with_suffix(".out")
        )
        self.progress = ProgressPage(self.setup.progress, create=True)
        self._executor = ProcessPoolExecutor(
            1, mp_context=self._context, initializer=slot_process.start, initargs=(self.setup,)
        )
        ready = self._executor.submit(slot_process.ready)
        ready.add_done_callback(self._note_server)
        # The pool does not tell how its process ended; the process object does, once it is gone.
        self._process = next(iter(self._executor._processes.values()))
        self._manager: Any = self._executor._executor_manager_thread
        self.kill_reason = ""
        self.is_fresh = True
        return ready

    def _note_server(self, ready: Future[int]) -> None:
        if not ready.cancelled() and ready.exception() is None:
            self._server_pid = ready.result()

    def _enter(self, state: SlotState) -> None:
        assert (self.state, state) in LEGAL, f"slot {self.index}: {self.state} to {state}"
        self.state = state

    def assert_consistent(self) -> None:
        """AssertionError when the parts of its state contradict each other."""
        assert (self.task is None) == (self.state in (SlotState.FREE, SlotState.ENDED)), (self.state, self.task)
        assert bool(self.kill_reason) == (self.state is SlotState.KILLED), (self.state, self.kill_reason)
        if self.state is SlotState.PREEMPTED:
            assert self.task is not None
            assert self.progress.should_stop(self.task.number)
        assert not self.is_fresh or self.task is None, "a process with a task is not fresh"

    def submit(self, task: ChunkTask) -> None:
        """Start on a chunk, in a process that evaluated nothing before if the task asks for one.

        The slot must be free. A process that is gone already shows as an event with a broken future.
        """
        if task.fresh and not self.is_fresh:
            self.restart()
        self._enter(SlotState.BUSY)
        self.task = task
        self.last_session = task.session
        self.is_fresh = False
        future: Future[Any]
        try:
            future = self._executor.submit(slot_process.run, task)
        except BrokenProcessPool as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._on_event(SlotEvent(self, task, done)))

    def kill(self, reason: str) -> None:
        """SIGKILL the process and everything that it started; its future breaks. The slot must have a task."""
        if self.state is not SlotState.KILLED:
            self._enter(SlotState.KILLED)
            self.kill_reason = reason
        self._kill_tree()

    def _kill_tree(self) -> None:
        pid = self._process.pid
        if pid is not None and not self._has_ended():
            # What it started may have sessions of its own, so that the group alone is not all of it.
            kill_tree(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)

    def overdue(self, timeout_s: float | None, now_ns: int) -> str:
        """Why the running task should be killed now, or ''."""
        look, task = self.progress.look(), self.task
        if task is None or task.number != look.task or look.phase == IDLE:
            return ""
        running_s = (now_ns - look.started_ns) / 1e9
        if look.of_loading:
            is_still = self._still_s(look, now_ns) > LOAD_TIMEOUT_S
            return f"loading did not go on for {LOAD_TIMEOUT_S:g} s" if is_still else ""
        if look.phase == EVALUATING and timeout_s is not None and running_s > timeout_s:
            return f"timed out after {timeout_s:g} s"
        return ""

    def loading(self, now_ns: int) -> Load | None:
        """How it is loading its session, but for compiling, which serves all; None when it does not."""
        look = self.progress.look()
        if self.task is None or self.task.number != look.task or look.phase not in (LOADING, AWAITING):
            return None
        return Load((now_ns - look.started_ns) / 1e9, self._still_s(look, now_ns), waits=look.phase == AWAITING)

    def _still_s(self, look: Progress, now_ns: int) -> float:
        """For how long it was not seen to go on with reading market data, since it began to load."""
        if look.advanced != self._advanced:
            self._advanced, self._advanced_ns = look.advanced, now_ns
        return (now_ns - max(look.started_ns, self._advanced_ns)) / 1e9

    def preempt(self) -> None:
        """Have the running task come back after the iteration that runs."""
        if self.state is SlotState.BUSY and self.task is not None:
            self.stop_tasks_up_to(self.task.number)

    def stop_tasks_up_to(self, number: int) -> None:
        """Have tasks with a number up to this come back after the iteration that runs, waiting ones at once."""
        self.progress.stop_tasks_up_to(number)
        if self.state is SlotState.BUSY and self.task is not None and self.task.number <= number:
            self._enter(SlotState.PREEMPTED)

    def is_preempted(self) -> bool:
        """True when the running task was asked to come back."""
        return self.state is SlotState.PREEMPTED

    def finished(self) -> None:
        """The task came back, and the process is fit for another."""
        self._enter(SlotState.FREE)
        self._rests_at = time.monotonic() + REST_S
        self.task, self.kill_reason = None, ""

    def disk_error(self) -> str:
        """Why the results of the running task cannot be written now, or ''."""
        look = self.progress.look()
        return os.strerror(look.first) if self.task is not None and look.phase == WAITING else ""

    def is_compiling(self) -> bool:
        """True while its task waits for the engine's machine code."""
        return self.task is not None and self.progress.look().phase == COMPILING

    def restart(self, *, from_disk: bool = False) -> None:
        """Replace the process, whatever is left of it, and forget its task.

        With `from_disk`, from now on by processes that import arbd's code as it is on the disk then.
        """
        if from_disk:
            self._context = multiprocessing.get_context("spawn")
        if self.state is not SlotState.FREE:
            self._enter(SlotState.FREE)
        self.task = None
        self._kill_tree()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._is_gone(EXIT_TIMEOUT_S)
        self.progress.close()
        # The folder is memory under systemd, and what was to be told of the process stands in its exit report.
        self.setup.progress.unlink(missing_ok=True)
        self.setup.output.unlink(missing_ok=True)
        self._start()

    def reconfigure(
        self, search_paths: tuple[Path, ...], allow: tuple[str, ...], data_dirs: tuple[Path, ...] | None
    ) -> None:
        """Evaluate under other rules from the next task on."""
        self._base = replace(self._base, search_paths=search_paths, allow=allow, data_dirs=data_dirs)
        self._outdated = True

    def renew(self) -> None:
        """Replace the process of a free slot if it still has the old rules."""
        if self._outdated and self.task is None:
            self._outdated = False
            self.restart()

    def rest_if_idle(self) -> None:
        """Once after a task that nothing followed for a while: have the process end what objectives keep."""
        if self.task is None and time.monotonic() >= self._rests_at:
            self._rests_at = math.inf
            # One that is gone shows with the next task.
            with contextlib.suppress(BrokenProcessPool):
                self._executor.submit(slot_process.rest)

    def ask_to_end(self) -> None:
        """Begin to end: a free process is asked to, one with a task is killed. What it recorded is not lost."""
        if self.task is not None:
            self.kill("the daemon stops")
        self._enter(SlotState.ENDED)
        self.task, self.kill_reason = None, ""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def end(self, within_s: float) -> bool:
        """End the process, which has so long to end by itself; False when the kernel does not let it go."""
        if self.state is not SlotState.ENDED:
            self.ask_to_end()
        if not self._is_gone(within_s):
            self._kill_tree()
        gone = self._is_gone(EXIT_TIMEOUT_S)
        self.progress.close()
        return gone

    def _is_gone(self, within_s: float) -> bool:
        """True once the process is no more, or only waits to be asked for its status."""
        give_up = time.monotonic() + within_s
        while not self._has_ended():
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                return False
            wait([self._process.sentinel], min(left_s, 0.05))
        return True

    def _has_ended(self) -> bool:
        # Its exit code is not asked for here, see `_exit_code`. What it left running may hold the sentinel open.
        return bool(wait([self._process.sentinel], 0)) or not is_running(self._process.pid)

    @property
    def pid(self) -> int | None:
        """The process."""
        return self._process.pid

    def exit_report(self) -> ExitReport:
        """After the future broke: what the process was doing and how it ended."""
        code = self._exit_code()
        if code is None:
            ending = "ended without an exit status"
        elif code < 0:
            ending = f"killed by {signal.Signals(-code).name}"
        else:
            ending = f"exited with status {code}"
        reason = self.kill_reason
        if not reason and self._server_pid is not None and not is_running(self._server_pid):
            reason = "the process that slots are copies of ended"
        return ExitReport(self.progress.look(), reason, ending, self._output_tail(), self.setup)

    def _exit_code(self) -> int | None:
        # A code can be asked for once, and the executor's thread asks as well: it goes first.
        self._manager.join(EXIT_TIMEOUT_S)
        return None if self._manager.is_alive() else self._process.exitcode

    def _output_tail(self) -> str:
        try:
            with self.setup.output.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - OUTPUT_TAIL_BYTES))
                return file.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""


@dataclass(frozen=True, slots=True)
class ExitReport:
    """A slot's process after its death."""

    progress: Progress
    kill_reason: str
    ending: str
    output: str
    setup: SlotSetup

    @property
    def timed_out(self) -> bool:
        """True when the parent killed it because an iteration took too long."""
        return self.kill_reason.startswith("timed out")

    @property
    def interrupted(self) -> bool:
        """True when the parent killed it for a reason that no iteration is to blame for."""
        return bool(self.kill_reason) and not self.timed_out

    def error(self) -> str:
        """The error of the iteration that was running."""
        if self.kill_reason:
            return self.kill_reason
        return self._with(self.output)

    def in_short(self) -> str:
        """The same in one line, for what is no iteration's fault: of what was printed the last line alone."""
        return self.kill_reason or self._with(next(iter(reversed(self.output.split("\n"))), "").strip())

    def _with(self, output: str) -> str:
        tail = f"; last output: {output}" if output else ""
        return f"the process was {self.ending}{tail}" if self.ending.startswith("killed") else self.ending + tail
