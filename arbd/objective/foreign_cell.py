"""What iterations of one interpreter share whether they mean to or not: looked at after each, and put back.

Beside `foreign.py`, which loads it: other interpreters run it, from Python 3.8 on, with nothing but their standard library.
Keeps I5 as `arbd.daemon.slots.cell` does for slots: what an iteration changes it changes for itself alone. What cannot
be put back is a reason to replace the process.
"""

from __future__ import annotations

import decimal
import gc
import io
import locale
import os
import resource
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Callable, NamedTuple  # noqa: UP035 - an older Python runs it

# Threads and processes that are about to end are waited for so long.
GRACE_S = 0.05
# Background threads of libraries are no reason to replace a process; one more with every iteration is.
MAX_BACKGROUND_THREADS = 16
SIGNALS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
STREAMS = ("stdin", "stdout", "stderr")


class Aspect(NamedTuple):
    """One setting: its name, how it is read (a value that compares equal while nothing changed), how it is set."""

    name: str
    look: Callable[[], Any]
    restore: Callable[[Any], Any]

    def differs(self, value: Any) -> bool:
        """True when it is not what it was."""
        return bool(self.look() != value)


def _pairs(left: Any, right: Any) -> Any:
    """Of equally many; what would check that is not there before Python 3.10."""
    return zip(left, right)  # noqa: B905


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - after every iteration
    except FileNotFoundError:
        return ""


def _restore_limits(before: Any) -> None:
    for number, limit in _pairs(LIMITS, before):
        _try(resource.setrlimit, number, limit)


def _restore_handlers(before: Any) -> None:
    for number, handler in _pairs(SIGNALS, before):
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _stop_timers(before: Any) -> None:
    for timer, ran in _pairs(TIMERS, before):
        if not ran:
            signal.setitimer(timer, 0)


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)
    time.tzset()


def _restore_path(before: list[str]) -> None:
    sys.path[:] = before


def _restore_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


class Decimals:
    """The decimal context is mutable: what is put back is a copy."""

    def __init__(self) -> None:
        self.text, self.context = repr(decimal.getcontext()), decimal.getcontext().copy()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decimals) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


def _restore_tracing(before: Any) -> None:
    sys.settrace(before[0])
    sys.setprofile(before[1])
    sys.excepthook = before[2]


def _restore_collector(before: Any) -> None:
    (gc.enable if before[0] else gc.disable)()
    gc.set_threshold(*before[1])


def _schedule() -> Any:
    return os.getpriority(os.PRIO_PROCESS, 0), frozenset(os.sched_getaffinity(0))


def _restore_schedule(before: Any) -> None:
    _try(os.sched_setaffinity, 0, before[1])
    _try(os.setpriority, os.PRIO_PROCESS, 0, before[0])


def _numpy_errors() -> Any:
    numpy = sys.modules.get("numpy")
    return numpy.geterr() if numpy is not None else {}


def _restore_numpy_errors(before: Any) -> None:
    if before:
        sys.modules["numpy"].seterr(**before)


def _try(restore: Callable[..., Any], *arguments: Any) -> None:
    """Without privileges some changes last: that shows at the next look."""
    try:
        restore(*arguments)
    except (OSError, ValueError):
        return


ASPECTS = (
    # The first, because what follows may need more frames than an objective left room for.
    Aspect("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Aspect("tracing and hooks", lambda: (sys.gettrace(), sys.getprofile(), sys.excepthook), _restore_tracing),
    Aspect("timers", lambda: tuple(signal.getitimer(timer) != (0.0, 0.0) for timer in TIMERS), _stop_timers),
    Aspect("signal handlers", lambda: tuple(map(signal.getsignal, SIGNALS)), _restore_handlers),
    Aspect(
        "the signal mask",
        lambda: frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    Aspect("resource limits", lambda: tuple(map(resource.getrlimit, LIMITS)), _restore_limits),
    Aspect("the umask", _umask, os.umask),
    Aspect("the current folder", _folder, lambda path: _try(os.chdir, path)),
    Aspect("environment variables", lambda: dict(os.environ), _restore_environment),
    Aspect("sys.path", lambda: list(sys.path), _restore_path),
    Aspect(
        "the locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda name: locale.setlocale(locale.LC_ALL, name),
    ),
    Aspect("warnings filters", lambda: list(warnings.filters), _restore_filters),
    Aspect("the decimal context", Decimals, lambda before: decimal.setcontext(before.context.copy())),
    Aspect("NumPy's error handling", _numpy_errors, _restore_numpy_errors),
    Aspect("the garbage collector", lambda: (gc.isenabled(), gc.get_threshold()), _restore_collector),
    Aspect("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Aspect("processors and niceness", _schedule, _restore_schedule),
    Aspect("the default of threads' stacks", threading.stack_size, threading.stack_size),
)


class Cell:
    """The process as it was when the objective was loaded, and what is left of an iteration in it.

    The bound of memory is not the process's own affair: whoever asks it sets that for each question.
    """

    def __init__(self, more: tuple[Aspect, ...] = ()) -> None:
        # Modules before all others: what looks at the others uses them.
        self._aspects = (*more[:1], *ASPECTS, *more[1:])
        self.baseline = self._look()
        self._threads = set(threading.enumerate())
        self._children = children()
        self._copies = [os.dup(number) for number in range(3)]
        self._streams = [getattr(sys, name) for name in STREAMS]
        self._spares = _spares()

    def _look(self) -> tuple[Any, ...]:
        return tuple([aspect.look() for aspect in self._aspects])

    def begin(self) -> None:
        """An iteration begins: the limits that it has were set from outside."""
        at = [aspect.name for aspect in self._aspects].index("resource limits")
        self.baseline = (*self.baseline[:at], self._aspects[at].look(), *self.baseline[at + 1 :])

    def settle(self) -> dict[str, str]:
        """Put back what the iteration changed: why the process is to be replaced, or its next failure to be doubted."""
        for spare in self._spares:
            os.close(spare)
        retire = [f"{name} cannot be put back" for name in self._restored()]
        stain = self._standard_streams()
        retire += self._left_running()
        thread = self._threads_left(retire)
        if len(_names("/proc/self/fd")) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
            retire.append("descriptors are used up")
        self._spares = _spares()
        told = {"retire": "; ".join(retire), "stain": stain or thread}
        return {name: text for name, text in told.items() if text}

    def _restored(self) -> list[str]:
        lasting = []
        for aspect, value in _pairs(self._aspects, self.baseline):
            if aspect.differs(value):
                aspect.restore(value)
                if aspect.differs(value):
                    lasting.append(aspect.name)
        return lasting

    def _standard_streams(self) -> str:
        changed = []
        for number, copy in enumerate(self._copies):
            if _identity(number) != _identity(copy):
                os.dup2(copy, number)
                changed.append(f"descriptor {number}")
        for number, (name, stream) in enumerate(_pairs(STREAMS, self._streams)):
            if getattr(sys, name) is not stream or stream.closed:
                changed.append(f"sys.{name}")
                if stream.closed:
                    self._streams[number] = _stream_of(number)
                setattr(sys, name, self._streams[number])
        return "an earlier iteration replaced or closed " + ", ".join(changed) if changed else ""

    def _left_running(self) -> list[str]:
        give_up = time.monotonic() + GRACE_S
        while True:
            _reap()
            left = children() - self._children
            if not left:
                return []
            if time.monotonic() >= give_up:
                return [f"child processes were left running ({len(left)})"]
            time.sleep(0.002)

    def _threads_left(self, retire: list[str]) -> str:
        """The stain that a background thread is; others are added to `retire`."""
        left = [thread for thread in threading.enumerate() if thread not in self._threads]
        give_up = time.monotonic() + GRACE_S
        for thread in left:
            if not thread.daemon:
                thread.join(max(0.0, give_up - time.monotonic()))
        left = [thread for thread in left if thread.is_alive()]
        blocking = [thread for thread in left if not thread.daemon]
        if blocking:
            retire.append(f"threads were left running ({len(blocking)})")
        elif len(left) > MAX_BACKGROUND_THREADS:
            retire.append(f"background threads were left running ({len(left)})")
        return f"a background thread of an earlier iteration ({left[0].name}) runs on" if left else ""


def _stream_of(descriptor: int) -> Any:
    """A new one; the descriptor stays open when it is closed."""
    raw = io.FileIO(descriptor, "r" if descriptor == 0 else "w", closefd=False)
    return io.TextIOWrapper(io.BufferedReader(raw) if descriptor == 0 else io.BufferedWriter(raw), line_buffering=True)


def children() -> set[int]:
    """The child processes of this one."""
    found: set[int] = set()
    for task in _names("/proc/self/task"):
        try:
            found.update(map(int, Path(f"/proc/self/task/{task}/children").read_text().split()))
        except (FileNotFoundError, ProcessLookupError):
            # A thread that has ended meanwhile.
            continue
    return found


def _names(folder: str) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - after every iteration, and with few descriptors


def _spares() -> list[int]:
    """Descriptors for the look at a process that has used up all others."""
    return [os.dup(2) for _ in range(2)]


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _identity(descriptor: int) -> Any:
    try:
        return os.fstat(descriptor)[:3]
    except OSError:
        return None
