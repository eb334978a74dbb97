"""What iterations of one interpreter share beside the settings of its process: functions that were replaced, hooks, loops.

`foreign.py` loads it too: other interpreters run it, from Python 3.8 on, with nothing but their standard library. Keeps
I5: an objective that freezes the time, or patches a built-in, does so for its iteration alone.
"""

from __future__ import annotations

import builtins
import copy
import datetime
import faulthandler
import functools
import gc
import io
import json
import math
import operator
import os
import random
import re
import sys
import threading
import time
from types import ModuleType
from typing import Any, Callable, NamedTuple, Optional  # noqa: UP035 - an older Python runs it

# What objectives, and what evaluates them, call, and what people replace; others are looked at where they are loaded.
_SHARED = (
    builtins, time, datetime, os, os.path, io, json, json.decoder, json.encoder, math, random, threading, functools, operator,
    copy, re,
)  # fmt: skip
_SHARED_NAMES = ("numpy", "numpy.random", "numpy.linalg", "pandas")


class Aspect(NamedTuple):
    """One setting: its name, how it is read, how it is set, and where reading is dear, whether it differs from a value."""

    name: str
    look: Callable[[], Any]
    restore: Callable[[Any], Any]
    compare: Optional[Callable[[Any], bool]] = None  # noqa: UP045 - an older Python runs it

    def differs(self, value: Any) -> bool:
        """True when it is not what it was."""
        return self.compare(value) if self.compare is not None else bool(self.look() != value)


class Modules:
    """The names of modules that others share, and which modules there are."""

    def __init__(self) -> None:
        named = [sys.modules.get(name) for name in _SHARED_NAMES]
        modules = (*_SHARED, *(module for module in named if isinstance(module, ModuleType)))
        self._names = [(vars(module), vars(module).copy()) for module in modules]
        self._loaded = dict(sys.modules)
        self._shared = [(name, module) for name, module in self._loaded.items() if module in modules]

    def changed(self) -> bool:
        """True when a name stands for something else, or is gone. What was added is no change.

        Neither this nor `restore` calls a built-in: these are what may have been replaced.
        """
        modules = sys.modules
        if modules.__len__() < self._loaded.__len__():
            return True
        for name, module in self._shared:
            if modules.get(name) is not module:
                return True
        for now, before in self._names:  # noqa: SIM110 - see above
            # Equal as a whole is the quick answer, and the usual one.
            if now != before and _differ(now, before):
                return True
        return False

    def restore(self) -> None:
        """As they were; what was added stays, as it does in a module of the objective's own."""
        sys.modules.update(self._loaded)
        for names, before in self._names:
            names.update(before)


def _differ(now: dict[str, Any], before: dict[str, Any]) -> bool:
    # Not by equality, which may be an array's.
    for name, value in before.items():  # noqa: SIM110 - without a built-in, as `changed`
        if now.get(name, before) is not value:
            return True
    return False


def _hook_lists() -> tuple[list[Any], ...]:
    return sys.meta_path, sys.path_hooks, gc.callbacks


_OWN = {"arbd.objective.modules"}


class Hooks:
    """The interpreter's hooks, and which modules were there when they were looked at.

    A module that is imported in an iteration stays, and is not run again: so the hooks that it set meanwhile stay too, or
    what it imports later is found in that iteration alone. What it sets in later iterations is theirs.
    """

    def __init__(self) -> None:
        self._single = _single_hooks()
        self._lists = [list(hooks) for hooks in _hook_lists()]
        self._modules = set(sys.modules)

    def changed(self) -> bool:
        """True when they are others, but for those of modules that are new: these belong to it from now on."""
        lists = list(_hook_lists())
        if lists != self._lists or len(sys.modules) != len(self._modules):
            # What says which code ran is arbd's own, and begins after the first look: without it nobody would know.
            new = set(sys.modules) - self._modules | _OWN
            self._lists = [_with_those_of(new, old, now) for old, now in zip(self._lists, lists)]  # noqa: B905
            self._modules = set(sys.modules)
        return self._single != _single_hooks() or lists != self._lists

    def restore(self) -> None:
        """As they were."""
        sys.displayhook, sys.unraisablehook, sys.breakpointhook = self._single
        sys.meta_path[:], sys.path_hooks[:], gc.callbacks[:] = self._lists


def _single_hooks() -> tuple[Any, ...]:
    return sys.displayhook, sys.unraisablehook, sys.breakpointhook


def _with_those_of(modules: set[str], before: list[Any], now: list[Any]) -> list[Any]:
    """`before` with what such modules added, each ahead of what it is to be asked ahead of."""
    found, known = list(before), {id(hook) for hook in before}
    behind = len(found)
    for hook in reversed(now):
        if id(hook) in known:
            behind = next(at for at, other in enumerate(found) if other is hook)
        elif _module_of(hook) in modules:
            found.insert(behind, hook)
    return found


def _module_of(hook: Any) -> str:
    """Where a function or a class, or the class of an object, is defined."""
    found = getattr(hook, "__module__", None)
    return found if isinstance(found, str) else ""


def _restore_arguments(before: list[str]) -> None:
    sys.argv[:] = before


def _digits() -> int:
    # Not there before Python 3.8.14, 3.9.14 and 3.10.7.
    return int(getattr(sys, "get_int_max_str_digits", int)())


def _restore_digits(before: int) -> None:
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(before)


def _event_loops() -> tuple[Any, dict[str, Any]]:
    """Who gives a thread its event loop, and which this thread has."""
    events = sys.modules.get("asyncio.events")
    policy = getattr(events, "_event_loop_policy", None)
    return policy, dict(vars(getattr(policy, "_local", None)) if hasattr(policy, "_local") else {})


def _restore_event_loops(before: tuple[Any, dict[str, Any]]) -> None:
    events = sys.modules.get("asyncio.events")
    if events is None:
        return
    policy, local = before
    events._event_loop_policy = policy  # type: ignore[attr-defined]
    if hasattr(policy, "_local"):
        names = vars(policy._local)
        names.clear()
        names.update(local)


def _starting() -> Any:
    """How this interpreter starts processes: the context that `multiprocessing` took, or nothing where none was asked for."""
    context = sys.modules.get("multiprocessing.context")
    return getattr(getattr(context, "_default_context", None), "_actual_context", None)


def _restore_starting(before: Any) -> None:
    context = sys.modules.get("multiprocessing.context")
    if context is not None:
        context._default_context._actual_context = before


def _timeout() -> Any:
    socket = sys.modules.get("socket")
    return socket.getdefaulttimeout() if socket is not None else None


def _restore_timeout(before: Any) -> None:
    if "socket" in sys.modules:
        sys.modules["socket"].setdefaulttimeout(before)


def _user() -> tuple[Any, Any]:
    return os.getresuid(), os.getresgid()


def _restore_user(before: tuple[Any, Any]) -> None:
    try:
        os.setresuid(*before[0])
        os.setresgid(*before[1])
    except OSError:
        # It shows at the next look.
        return


def _no_watchdog() -> None:
    """There is no way to see whether one runs, which would end the process later, in the midst of another iteration."""
    faulthandler.cancel_dump_traceback_later()


ASPECTS = (
    Aspect("modules that others use too", Modules, lambda before: before.restore(), lambda before: before.changed()),
    Aspect("hooks of the interpreter", Hooks, lambda before: before.restore(), lambda before: before.changed()),
    Aspect("sys.argv", lambda: list(sys.argv), _restore_arguments),
    Aspect("the digits of integers", _digits, _restore_digits),
    Aspect("event loops", _event_loops, _restore_event_loops),
    Aspect("how processes are started", _starting, _restore_starting),
    Aspect("the timeout of sockets", _timeout, _restore_timeout),
    Aspect("the user", _user, _restore_user),
    Aspect("the watchdog of faulthandler", _no_watchdog, lambda before: None),
)
