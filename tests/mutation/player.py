"""Plays mutants of one file, each in a fork of one process that has loaded the libraries and nothing of the package.

The current folder is a copy of the checkout, whose file is changed.
The tests beside the file run once unchanged, which tells which of them run which lines, and what each costs. Then a
mutant meets the tests that run its line, the cheapest first, up to the first that fails. A mutant of what runs at import
meets all.
Tests that start processes are among them always: lines that run there are not seen.

    python -m tests.mutation.player     reads a JSON object from standard input (file, tests, options, indices), and writes
                                        one for each mutant
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import numba  # noqa: F401 - what most tests load, loaded once
import pytest

from tests.mutation.operators import Mutant, mutants_of

# Beside what the tests take: imports, and a machine that is slow today.
SPARE_CPU_S, SPARE_S = 5.0, 90.0
TIMES_CPU, TIMES = 2.0, 20.0
MEMORY_BYTES = 6 << 30
NOTHING_COLLECTED = 5
STARTS_PROCESSES = ("subprocess.Popen", "os.fork", "os.posix_spawn")
OPTIONS = (
    "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not bed", "--timeout=0", "--hypothesis-seed=0",
    "--hypothesis-profile=mutation", "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip


@dataclass
class Test:
    """What one test costs, which lines of the file it runs, and whether other processes may run more."""

    cpu_s: float = 0.0
    lines: set[int] = field(default_factory=set)
    starts_processes: bool = False


class Recorder:
    """A pytest plugin that notes each test's `Test`."""

    def __init__(self, path: Path, *, traces: bool) -> None:
        self._traces = traces
        self.tests: dict[str, Test] = {}
        self._path = str(path)
        self._now = Test()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event in STARTS_PROCESSES:
            self._now.starts_processes = True

    def _call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        del event, argument
        if frame.f_code.co_filename != self._path:
            return None
        lines = self._now.lines
        lines.add(frame.f_lineno)

        def within(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            del event, argument
            lines.add(frame.f_lineno)
            return within

        return within

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._now = self.tests.setdefault(item.nodeid, Test())
        before = _cpu_s()
        if self._traces:
            threading.settrace(self._call)
            sys.settrace(self._call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self._now.cpu_s = _cpu_s() - before
            self._now = Test()


class Chosen:
    """A pytest plugin: only these tests, in this order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._places), key=lambda item: self._places[item.nodeid]
        )


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def play(
    file: Path,
    arguments: Sequence[str],
    indices: Iterable[int],
    say: Callable[[dict[str, object]], None],
    *,
    traces: bool,
) -> None:
    """Say of each mutant whether it was killed. `arguments` name the tests, and what else pytest is to know.

    RuntimeError when the tests fail before anything is changed.
    """
    original = file.read_text()
    mutants = mutants_of(original)
    statements = _statements(original)
    known = _recorded(file, arguments, traces=traces)
    try:
        for number, index in enumerate(indices):
            mutant = mutants[index]
            names = _meeting(known, statements, mutant)
            _write(file, mutant.text, number)
            usual_s = sum(known[name].cpu_s for name in names)
            begun_s = _cpu_s()
            status = _forked(functools.partial(_run, arguments, names), usual_s)
            killed = status not in (0, NOTHING_COLLECTED)
            say({"index": index, "killed": killed, "tests": len(names), "cpu_s": round(_cpu_s() - begun_s, 1)})
    finally:
        file.write_text(original)


def _write(file: Path, text: str, number: int) -> None:
    """Bytecode is known by its time in seconds and its size, which no two mutants may share."""
    file.write_text(text)
    time_s = 1_000_000_000 + number
    os.utime(file, (time_s, time_s))


def _statements(source: str) -> list[range]:
    """Lines of each simple statement, and of each head of a compound one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            assert node.end_lineno is not None
            end = body[0].lineno if body else node.end_lineno + 1
            found.append(range(node.lineno, max(end, node.lineno + 1)))
    return found


def _meeting(known: dict[str, Test], statements: Iterable[range], mutant: Mutant) -> list[str]:
    """The tests that can tell this mutant, the cheapest first."""
    around = max((lines for lines in statements if mutant.line in lines), key=lambda lines: lines.start)
    running = [name for name, test in known.items() if test.lines.intersection(around)]
    # What no test runs, runs at import; and a function's head (with its defaults) does so as well.
    chosen: Collection[str] = running if running and not _is_head(mutant) else list(known)
    chosen = {*chosen, *(name for name, test in known.items() if test.starts_processes)}
    return sorted(chosen, key=lambda name: (known[name].cpu_s, name))


def _is_head(mutant: Mutant) -> bool:
    return mutant.was.startswith(("def ", "class "))


def _recorded(file: Path, arguments: Sequence[str], *, traces: bool) -> dict[str, Test]:
    with tempfile.NamedTemporaryFile("r", suffix=".json") as told:

        def record() -> int:
            recorder = Recorder(file.resolve(), traces=traces)
            status = int(pytest.main([*OPTIONS, *arguments], plugins=[recorder]))
            found = {n: [t.cpu_s, sorted(t.lines), t.starts_processes] for n, t in recorder.tests.items()}
            Path(told.name).write_text(json.dumps(found))
            return status

        status = _forked(record, 600.0, sys.stderr.fileno())
        if status:
            raise RuntimeError(f"the tests beside {file} fail before anything is changed")
        found = json.loads(Path(told.name).read_text())
    return {name: Test(cpu_s, set(lines), starts) for name, (cpu_s, lines, starts) in found.items()}


def _run(arguments: Sequence[str], names: Sequence[str]) -> int:
    # Machine code of mutants is nobody else's.
    with tempfile.TemporaryDirectory(prefix="arbd-numba-") as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        return int(pytest.main([*OPTIONS, *arguments], plugins=[Chosen(names)]))


def _forked(work: Callable[[], int], usual_s: float, output: int | None = None) -> int:
    """What `work` returns in a fork that may use so much CPU and no more; not 0 when it ends otherwise."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _within(work, int(SPARE_CPU_S + TIMES_CPU * usual_s), output)
    ended = os.pidfd_open(child)
    try:
        select.select([ended], [], [], SPARE_S + TIMES * usual_s)
    finally:
        os.close(ended)
        # Whatever the tests started, and a change kept them from stopping.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _within(work: Callable[[], int], cpu_s: int, output: int | None) -> None:
    status = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere if output is None or stream == 0 else output, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Read what to play, play it."""
    hypothesis.settings.register_profile(
        "mutation", deadline=None, suppress_health_check=list(hypothesis.HealthCheck), database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )  # fmt: skip
    given = json.loads(sys.stdin.readline())

    def say(told: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    play(Path(given["file"]), given["arguments"], given["indices"], say, traces=given["traces"])


if __name__ == "__main__":
    main()
