"""The process beside a cluster's worker that has the slots there: a daemon without a spool, which ends with its creator.

It is told chunks on its standard input and answers on its standard output. Workers of a cluster are often processes
that may have no children of `multiprocessing`, and objectives must not share one with them: here they have slots of
arbd's own, one for each chunk that runs at once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import BinaryIO

from arbd.daemon import forks
from arbd.daemon.executors.versions import unfitness
from arbd.daemon.remote.call import HOST, Call, Scratch
from arbd.daemon.remote.materials import Materials
from arbd.daemon.remote.messages import read_message, write_message
from arbd.daemon.remote.wire import Answer, Chunk, Job, Outcome, decode_chunk, decode_files, decode_job
from arbd.daemon.slots.pool import Slot, SlotEvent
from arbd.daemon.slots.protocol import SlotSetup
from arbd.daemon.startup import run_folder
from arbd.errors import ArbdError
from arbd.job.code import base_parts
from arbd.job.codec import read_job_spec
from arbd.job.spec import JobSpec
from arbd.objective.processes import adopt_orphans, end_orphans, is_adopting
from arbd.values import dataclass

TICK_S = 0.1
# Of so many sessions a slot keeps what it has open.
MAX_SCRATCHES = 8
SLOT_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `evaluate_chunk`: a number, and its arguments."""

    number: int
    job: bytes
    chunk: bytes
    attached: tuple[tuple[str, bytes], ...]


class _Slot:
    """A slot with what it has of sessions, and the call that it is at."""

    def __init__(self, slot: Slot, root: Path) -> None:
        self.slot = slot
        self.root = root
        self.call: Call | None = None
        self.number = 0
        self.rules: object = None
        self.scratches: dict[bytes, Scratch] = {}


class Agent:
    """See the module. One thread calls it; `inbox` may be put to by any."""

    def __init__(self, run_dir: Path, cache_dir: Path, output: BinaryIO) -> None:
        self.inbox: queue.SimpleQueue[Request | SlotEvent | None] = queue.SimpleQueue()
        self._run_dir = run_dir
        self._cache_dir = cache_dir
        self._output = output
        self._slots: list[_Slot] = []
        self._numbers = itertools.count(1)
        self._jobs: dict[bytes, tuple[Job, JobSpec]] = {}
        self._materials = Materials(cache_dir)

    def run(self) -> None:
        """Until nobody asks any more."""
        while True:
            with contextlib.suppress(queue.Empty):
                event = self.inbox.get(timeout=TICK_S)
                if event is None:
                    return
                if isinstance(event, SlotEvent):
                    self._came_back(event)
                else:
                    self._begin(event)
            now_ns = time.monotonic_ns()
            for each in self._slots:
                if each.call is not None:
                    each.call.enforce(now_ns)
                else:
                    each.slot.rest_if_idle()

    def end(self) -> None:
        """End the slots, whatever they do."""
        for each in self._slots:
            each.slot.ask_to_end()
        for each in self._slots:
            each.slot.end(SLOT_PATIENCE_S)
        forks.stop_server()

    def _begin(self, request: Request) -> None:
        try:
            refused = self._start(request)
        except Exception as error:
            # Whatever is wrong with this host or this job is said to who asked, and the next may be better.
            reason = str(error) if isinstance(error, ArbdError | OSError) else traceback.format_exc(limit=-3)
            refused = Answer(Outcome.UNLOADABLE, HOST, reason)
        if refused is not None:
            self._say(request.number, refused)

    def _start(self, request: Request) -> Answer | None:
        """Begin on a chunk; an answer when that cannot be."""
        job, spec = self._job(request.job)
        if unfit := unfitness(job.base, base_parts()):
            return Answer(Outcome.UNFIT, HOST, unfit)
        for name, files in request.attached:
            self._materials.keep(job, spec, name, decode_files(files))
        if wanted := self._materials.wanted(job, spec):
            return Answer(Outcome.MISSING, HOST, wanted=wanted)
        chunk: Chunk = decode_chunk(request.chunk)
        each = self._free_slot(request.job, job)
        if request.job not in each.scratches:
            while len(each.scratches) >= MAX_SCRATCHES:
                del each.scratches[next(iter(each.scratches))]
            root = each.root / str(next(self._numbers))
            each.scratches[request.job] = Scratch(root, job, self._materials.localised(spec))
        each.number = request.number
        each.call = Call(each.slot, each.scratches[request.job], chunk, self._numbers)
        return None

    def _job(self, encoded: bytes) -> tuple[Job, JobSpec]:
        if encoded not in self._jobs:
            job = decode_job(encoded)
            while len(self._jobs) >= MAX_SCRATCHES:
                del self._jobs[next(iter(self._jobs))]
            self._jobs[encoded] = (job, read_job_spec(job.spec))
        return self._jobs[encoded]

    def _free_slot(self, encoded: bytes, job: Job) -> _Slot:
        code = self._materials.code(job) if job.code else None
        search_paths = () if code is None else (code,)
        free = [each for each in self._slots if each.call is None]
        each = min(free, key=lambda one: encoded not in one.scratches) if free else self._new_slot(job, search_paths)
        rules = (search_paths, job.allow)
        if each.rules != rules:
            if each.rules is not None:
                each.slot.reconfigure(search_paths, job.allow, None)
                each.slot.renew()
            each.rules = rules
        return each

    def _new_slot(self, job: Job, search_paths: tuple[Path, ...]) -> _Slot:
        index, nowhere = len(self._slots), Path()
        root = self._run_dir / f"scratch-{index}"
        setup = SlotSetup(
            "", "remote", 1, os.getpid(), nowhere, nowhere, self._cache_dir, search_paths, job.allow, None
        )
        each = _Slot(Slot(index, setup, self._run_dir, self.inbox.put, lambda: None), root)
        each.rules = (search_paths, job.allow)
        self._slots.append(each)
        return each

    def _came_back(self, event: SlotEvent) -> None:
        each = self._slots[event.slot.index]
        assert each.call is not None, "a slot without a call came back"
        try:
            each.call.step(event)
            if is_adopting():
                end_orphans(except_for={pid for one in self._slots if (pid := one.slot.pid) is not None})
            answer = each.call.answer
        except OSError as error:
            answer = Answer(Outcome.UNLOADABLE, HOST, f"this host's disk: {error}")
            each.slot.restart()
        if answer is not None:
            each.call = None
            self._say(each.number, answer)

    def _say(self, number: int, answer: Answer) -> None:
        write_message(self._output, [number.to_bytes(8, "big"), answer.encode()])


def _listen(agent: Agent, source: BinaryIO) -> None:
    while (message := read_message(source)) is not None:
        number, job, chunk, *attached = message
        pairs = tuple((attached[i].decode(), attached[i + 1]) for i in range(0, len(attached), 2))
        agent.inbox.put(Request(int.from_bytes(number, "big"), job, chunk, pairs))
    agent.inbox.put(None)


def main() -> None:
    """Entry point: `python -m arbd.daemon.remote.agent CACHE_DIR`."""
    # What anything here prints must not stand between two answers.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    adopt_orphans()
    with run_folder() as run_dir:
        agent = Agent(run_dir, Path(sys.argv[1]), output)
        threading.Thread(target=_listen, args=(agent, source), name="listen", daemon=True).start()
        try:
            agent.run()
        finally:
            agent.end()


if __name__ == "__main__":
    main()
