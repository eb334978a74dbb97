"""Plays hostile cases, each from a seed and a number, and watches what they cost and what they touch."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import gc
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arbd.errors import DamageWarning
from tests.fuzz.corpus import Corpus, make_corpus
from tests.fuzz.one_duckdb import one_duckdb
from tests.fuzz.targets import TARGETS, Bench

# What a case may cost of the processor's time, and how long it may wait for anything but a processor or a disk.
MAX_CPU_S = 1.0
MAX_WAIT_S = 10.0
# A case that never comes back to the interpreter, where it could be told so, is ended with its process by the system.
MAX_DEAF_S = 60
# What a case may hold of memory beside what its process held before.
MAX_MEMORY_BYTES = 400 << 20
# Nobody else on the machine pays for a reader without bounds.
MAX_PROCESS_BYTES = 4 << 30
# A process that waits for something else is on its way to a processor for less of that time.
LEAST_ON_ITS_WAY_S = 0.5
# Cases that a process plays on one copy of the corpus.
PART = 5_000
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "os.spawn")


class HangError(BaseException):
    """A case took too long. No reader catches this one."""


class MemoryHeldError(BaseException):
    """A case held too much memory."""


class ForbiddenError(BaseException):
    """A case did something that no reader of data does."""


@dataclass(slots=True)
class Outcome:
    """What came of a range of cases."""

    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many were played."""
        return sum(self.words.values()) + len(self.failures)

    def add(self, other: Outcome) -> None:
        """Put two together."""
        self.words.update(other.words)
        self.failures += other.failures
        for name, found in other.slowest.items():
            self.slowest[name] = max(self.slowest.get(name, (0.0, 0)), found)


class Watch:
    """Looks at what the interpreter does for a case: files opened for writing, programs started, classes unpickled.

    One for the process: the interpreter never lets go of what looks on, and asks it thousands of times for each case.
    """

    def __init__(self) -> None:
        self._home = ""
        self._on = False
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def over(self, home: Path) -> Iterator[None]:
        """Nothing but `home` may be written to."""
        self._home, self._on = f"{home}/", True
        try:
            yield
        finally:
            self._on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in FORBIDDEN:
            self._on = False
            raise ForbiddenError(f"{event} {arguments!r}"[:300])
        if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/"):
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not path.startswith((self._home, "/dev/null")):
                self._on = False
                raise ForbiddenError(f"writes to {path}")


@functools.cache
def _watch() -> Watch:
    return Watch()


def _tasks() -> Iterator[Path]:
    """The threads of this process, and of all processes that it started."""
    left = ["self"]
    while left:
        with contextlib.suppress(OSError):
            for task in Path("/proc", left.pop(), "task").iterdir():
                yield task
                left += (task / "children").read_text().split()


def _on_its_way_s() -> float:
    """How long this process and those that it started ran, or waited for a processor or a disk, so far."""
    total_ns = 0
    for task in _tasks():
        with contextlib.suppress(OSError):
            total_ns += sum(map(int, (task / "schedstat").read_text().split()[:2]))
            # The disk that it waits for now: for how long is not told, so it gets one more limit.
            is_at_disk = (task / "stat").read_text().rpartition(")")[2].split()[0] == "D"
            total_ns += int(is_at_disk and LEAST_ON_ITS_WAY_S * 1e9)
    return total_ns / 1e9


class Patience:
    """Ends what computes or waits for too long. That others have the processors is not its fault: it gets more time."""

    def __init__(self) -> None:
        self._on_its_way_s = 0.0

    def begin(self) -> None:
        """A case begins."""
        self._on_its_way_s = _on_its_way_s()
        used_s = resource.getrusage(resource.RUSAGE_SELF)
        deaf_s = math.ceil(used_s.ru_utime + used_s.ru_stime) + MAX_DEAF_S
        resource.setrlimit(resource.RLIMIT_CPU, (deaf_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        # With itself as its interval, from which `cleanly` knows the limit.
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S, MAX_CPU_S)
        signal.setitimer(signal.ITIMER_REAL, MAX_WAIT_S)

    def end(self) -> None:
        """It is over."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def expired(self, number: int, _frame: object) -> None:
        """The handler of both timers."""
        if number == signal.SIGPROF:
            raise HangError(f"took longer than {MAX_CPU_S:g} s of processor time")
        before_s, self._on_its_way_s = self._on_its_way_s, _on_its_way_s()
        if self._on_its_way_s - before_s < LEAST_ON_ITS_WAY_S:
            raise HangError(f"took longer than {MAX_WAIT_S:g} s")
        signal.setitimer(signal.ITIMER_REAL, MAX_WAIT_S)


@dataclass(frozen=True, slots=True)
class Memory:
    """What this process held at most since `of_now`, in bytes."""

    before: int

    @classmethod
    def of_now(cls) -> Memory:
        """From here on."""
        # The system counts the most anew.
        Path("/proc/self/clear_refs").write_text("5")
        return cls(cls._most())

    @staticmethod
    def _most() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) << 10

    def check(self) -> None:
        """Raises where it was too much."""
        if (held := self._most() - self.before) > MAX_MEMORY_BYTES:
            raise MemoryHeldError(f"held {held >> 20} MiB")


def play(
    bench: Bench, watch: Watch, patience: Patience, seed: int, number: int, targets: Sequence[str]
) -> tuple[str, str]:
    """One case of one of `targets`: which, and a word for what came of it. Raises what the fuzzer looks for."""
    rng = random.Random(f"{seed}/{number}")
    name = rng.choices(targets, [TARGETS[each][1] for each in targets])[0]
    memory = Memory.of_now()
    patience.begin()
    try:
        with watch.over(bench.corpus.folder):
            word = TARGETS[name][0](bench, rng)
    finally:
        patience.end()
    memory.check()
    bench.check_outside()
    return name, word


def play_range(
    folder: Path, seed: int, numbers: Sequence[int], targets: Sequence[str] = tuple(TARGETS), *, show: bool = False
) -> Outcome:
    """Many cases on a copy of the corpus in `folder`."""
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_PROCESS_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    warnings.simplefilter("error")
    # Readers say with it what they did without: that is the clean answer to damage.
    warnings.simplefilter("ignore", DamageWarning)
    with tempfile.TemporaryDirectory(prefix="arbd-fuzz-") as temporary, one_duckdb():
        home = Path(temporary) / "c"
        shutil.copytree(folder, home)
        bench, watch, patience, outcome = Bench(Corpus(home)), _watch(), Patience(), Outcome()
        before = {number: signal.signal(number, patience.expired) for number in (signal.SIGPROF, signal.SIGALRM)}
        bench.restore()
        bench.warm_up()
        for number in numbers:
            (folder.parent / f"case-{os.getpid()}").write_text(str(number))
            started = time.process_time()
            try:
                name, word = play(bench, watch, patience, seed, number, targets)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                outcome.failures.append(
                    (number, _printable(f"{type(error).__name__}: {error}"[:500]), _printable(traceback.format_exc()))
                )
                shutil.rmtree(bench.outside, ignore_errors=True)
                bench = Bench(Corpus(home)) if not _restored(bench, folder) else bench
                continue
            took = time.process_time() - started
            outcome.words[name, word] += 1
            outcome.slowest[name] = max(outcome.slowest.get(name, (0.0, 0)), (took, number))
            if show:
                print(f"case {number}: {name}: {word}, {took * 1000:.1f} ms")
        for number, handler in before.items():
            signal.signal(number, handler)
        gc.collect()
    return outcome


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _restored(bench: Bench, folder: Path) -> bool:
    bench.outside.mkdir(exist_ok=True)
    (bench.outside / "secret").write_bytes(b"not for you")
    bench.restore()
    return folder.is_dir()


def play_all(
    seed: int,
    cases: int,
    jobs: int,
    folder: Path,
    tell: Callable[[Outcome, Outcome], None],
    targets: Sequence[str] = tuple(TARGETS),
) -> Outcome:
    """All cases, in several processes. `folder` gets the corpus; `tell` is called with what a part gave, and all so far."""
    corpus = make_corpus(folder)
    parts = [range(start, min(start + PART, cases)) for start in range(0, cases, PART)]
    total = Outcome()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(_played_apart, corpus.folder, seed, part, targets) for part in parts]
        for done in concurrent.futures.as_completed(waiting):
            total.add(done.result())
            tell(done.result(), total)
    return total


def _played_apart(folder: Path, seed: int, part: Sequence[int], targets: Sequence[str]) -> Outcome:
    """A part in a process of its own; where that does not live to its end, the cases behind the one that ended it in another."""
    total, left = Outcome(), part
    while left:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pid = pool.submit(os.getpid).result()
            try:
                total.add(pool.submit(play_range, folder, seed, left, targets).result())
            except concurrent.futures.process.BrokenProcessPool:
                number = int((folder.parent / f"case-{pid}").read_text())
                total.failures.append((number, "its process ended: killed, crashed, or deaf for too long", ""))
                left = range(number + 1, left[-1] + 1)
            else:
                left = ()
    return total
