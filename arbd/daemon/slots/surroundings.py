"""What iterations of one process share whether they mean to or not: settings of the process, looked at and put back.

Keeps I5: an iteration that changes the umask, the current folder or a signal handler changes it for itself alone. What
a module sets up when it is imported belongs to its session: surroundings are noted after the objective is loaded.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import decimal
import gc
import locale
import os
import resource
import signal
import sys
import threading
import time
import warnings
from typing import Any

import numpy as np

from arbd.objective import interpreter_state
from arbd.objective.interpreter_state import Aspect

_RLIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
_SIGNALS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_DECIMALS = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "flags", "traps")
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

Values = tuple[Any, ...]


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - several times as fast, and asked for after every iteration
    except FileNotFoundError:
        return ""


def _restore_folder(path: str) -> None:
    # One that is gone cannot be gone back to; that it differs still shows at the next look.
    with contextlib.suppress(OSError):
        os.chdir(path)


def _limits() -> tuple[tuple[int, int], ...]:
    return tuple(map(resource.getrlimit, _RLIMITS))


def _restore_limits(limits: tuple[tuple[int, int], ...]) -> None:
    for number, limit in zip(_RLIMITS, limits, strict=True):
        # A hard limit that was lowered stays low without privileges.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(number, limit)


def _handlers() -> tuple[Any, ...]:
    # signal.getsignal makes an enum of each answer, which takes ten times as long.
    return tuple(map(_signal.getsignal, _SIGNALS))


def _restore_handlers(handlers: tuple[Any, ...]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and _signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _mask() -> frozenset[int]:
    return frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _timers() -> tuple[bool, ...]:
    return tuple(signal.getitimer(timer) != (0.0, 0.0) for timer in _TIMERS)


def _stop_timers(before: tuple[bool, ...]) -> None:
    for timer, ran in zip(_TIMERS, before, strict=True):
        if not ran:
            signal.setitimer(timer, 0)


def _environment() -> dict[bytes, bytes]:
    # As the module keeps it: decoding all of it takes longer than everything else here.
    return dict(os.environ._data)  # type: ignore[attr-defined]


def _restore_environment(before: dict[bytes, bytes]) -> None:
    for name in set(os.environb) - set(before):
        del os.environb[name]
    os.environb.update(before)
    time.tzset()


def _restore_path(before: list[str]) -> None:
    sys.path[:] = before


def _filters() -> list[Any]:
    return list(warnings.filters)


def _restore_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    # Each module remembers what it warned of already, until filters change.
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _decimals_differ(before: decimal.Context) -> bool:
    # A context has no equality, and its text takes longer than everything else here.
    now = decimal.getcontext()
    return any(getattr(now, name) != getattr(before, name) for name in _DECIMALS)


def _tracing() -> tuple[Any, Any, Any]:
    return sys.gettrace(), sys.getprofile(), sys.excepthook


def _restore_tracing(before: tuple[Any, Any, Any]) -> None:
    sys.settrace(before[0])
    sys.setprofile(before[1])
    sys.excepthook = before[2]


def _collector() -> tuple[bool, tuple[int, int, int]]:
    return gc.isenabled(), gc.get_threshold()


def _restore_collector(before: tuple[bool, tuple[int, int, int]]) -> None:
    (gc.enable if before[0] else gc.disable)()
    gc.set_threshold(*before[1])


def _schedule() -> tuple[int, frozenset[int]]:
    return os.getpriority(os.PRIO_PROCESS, 0), frozenset(os.sched_getaffinity(0))


def _restore_schedule(before: tuple[int, frozenset[int]]) -> None:
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, before[1])
        os.setpriority(os.PRIO_PROCESS, 0, before[0])


_PROCESS = (
    # The first, because what follows may need more frames than an objective left room for.
    Aspect("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Aspect("tracing and hooks", _tracing, _restore_tracing),
    Aspect("timers", _timers, _stop_timers),
    Aspect("signal handlers", _handlers, _restore_handlers),
    Aspect("the signal mask", _mask, lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask)),
    Aspect("resource limits", _limits, _restore_limits),
    Aspect("the umask", _umask, os.umask),
    Aspect("the current folder", _folder, _restore_folder),
    Aspect("environment variables", _environment, _restore_environment),
    Aspect("sys.path", lambda: list(sys.path), _restore_path),
    Aspect(
        "the locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda name: locale.setlocale(locale.LC_ALL, name),
    ),
    Aspect("warnings filters", _filters, _restore_filters),
    # It is mutable: what is noted and put back are copies.
    Aspect(
        "the decimal context",
        lambda: decimal.getcontext().copy(),
        lambda before: decimal.setcontext(before.copy()),
        _decimals_differ,
    ),
    Aspect("NumPy's error handling", np.geterr, lambda before: np.seterr(**before)),
    Aspect("the garbage collector", _collector, _restore_collector),
    Aspect("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Aspect("processors and niceness", _schedule, _restore_schedule),
    Aspect("the default of threads' stacks", threading.stack_size, threading.stack_size),
)
# Modules before all others: what looks at the others uses them.
ASPECTS = (*interpreter_state.ASPECTS[:1], *_PROCESS, *interpreter_state.ASPECTS[1:])


# Libraries that an objective imports late change these, and no result depends on them: nobody needs to hear of it.
NOT_TOLD = frozenset({"warnings filters", "event loops", "how processes are started"})


def look() -> Values:
    """All settings as they are now."""
    return tuple([aspect.look() for aspect in ASPECTS])


def restore(before: Values) -> tuple[list[str], list[str]]:
    """Set back what differs from `before`; the names of what did, and of those what does so still."""
    changed: list[str] = []
    lasting: list[str] = []
    # Before anything here calls a built-in, which may have been replaced.
    _put_back(ASPECTS[0], before[0], changed, lasting)
    for aspect, value in zip(ASPECTS[1:], before[1:], strict=True):
        _put_back(aspect, value, changed, lasting)
    return changed, lasting


def _put_back(aspect: Aspect, value: Any, changed: list[str], lasting: list[str]) -> None:
    if aspect.differs(value):
        changed.append(aspect.name)
        aspect.restore(value)
        if aspect.differs(value):
            lasting.append(aspect.name)
