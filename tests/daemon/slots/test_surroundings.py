"""Settings of a process that an objective changed are named and put back."""

from __future__ import annotations

import decimal
import gc
import importlib
import itertools
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.daemon.slots import surroundings
from arbd.daemon.slots.cell import Finding
from arbd.daemon.slots.tally import Tally

CHANGES: dict[str, Callable[[], object]] = {
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
    "timers": lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 3600),
    "signal handlers": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "the signal mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]),
    "resource limits": lambda: resource.setrlimit(
        resource.RLIMIT_CORE, (0 if resource.getrlimit(resource.RLIMIT_CORE)[0] else 1, resource.getrlimit(resource.RLIMIT_CORE)[1])
    ),
    "the umask": lambda: os.umask(os.umask(0) ^ 0o77),
    "the current folder": lambda: os.chdir("/proc"),
    "environment variables": lambda: os.environ.update({"ARBD_TEST_LEFT": "1"}),
    "sys.path": lambda: sys.path.append("/nowhere"),
    "warnings filters": lambda: warnings.simplefilter("ignore"),
    "the decimal context": lambda: setattr(decimal.getcontext(), "prec", decimal.getcontext().prec + 1),
    "NumPy's error handling": lambda: np.seterr(over="raise" if np.geterr()["over"] != "raise" else "ignore"),
    "the garbage collector": lambda: gc.set_threshold(gc.get_threshold()[0] + 1),
    "the switch interval": lambda: sys.setswitchinterval(sys.getswitchinterval() * 2),
}  # fmt: skip


def _differing(before: surroundings.Values) -> list[str]:
    return [
        aspect.name for aspect, value in zip(surroundings.ASPECTS, before, strict=True) if aspect.differs(value)
    ]  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_was_changed_is_named_and_put_back(name: str) -> None:
    before = surroundings.look()
    CHANGES[name]()
    assert _differing(before) == [name]
    assert surroundings.restore(before) == ([name], [])
    assert _differing(before) == []
    assert surroundings.restore(before) == ([], [])


def test_a_folder_that_is_gone_is_told_as_lasting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    before = surroundings.look()
    os.chdir("/")
    gone.rmdir()
    assert surroundings.restore(before) == (["the current folder"], ["the current folder"])


def test_what_libraries_change_when_they_are_imported_late_is_put_back_and_not_told() -> None:
    tally = Tally(set())
    tally.note(Finding(("warnings filters", "the umask"), ""))
    assert [note for note in tally.notes if "filters" in note] == []
    assert [note for note in tally.notes if "umask" in note]


HOOKS: dict[str, list[Any]] = {"meta_path": sys.meta_path, "path_hooks": sys.path_hooks, "callbacks": gc.callbacks}
# Of what is called with a folder alone, they say that it is not theirs; with a phase of a collection they do nothing.
KINDS = {
    "a class": """
class hook:
    find_spec = staticmethod(lambda *_: None)
    def __init__(self, *called):
        if len(called) == 1: raise ImportError
""",
    "a function": """
def hook(*called):
    if len(called) == 1: raise ImportError
hook.find_spec = lambda *_: None
""",
    "an object": """
class Hook:
    def find_spec(self, *_): return None
    def __call__(self, *called):
        if len(called) == 1: raise ImportError
hook = Hook()
""",
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Makes a module of a text, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)
    kept = [list(hooks) for hooks in HOOKS.values()]

    def imported(text: str) -> Any:
        (tmp_path / "arbd_test_late.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("arbd_test_late")

    yield imported
    sys.modules.pop("arbd_test_late", None)
    for hooks, before in zip(HOOKS.values(), kept, strict=True):
        hooks[:] = before


@pytest.mark.parametrize("at", [0, 100], ids=["first", "last"])
@pytest.mark.parametrize(("where", "kind"), [*itertools.product(HOOKS, KINDS)])
def test_hooks_that_a_library_sets_when_it_is_imported_late_stay_as_it_does(
    library: Callable[[str], Any], where: str, kind: str, at: int
) -> None:
    """What it, or anybody, sets in a later iteration is taken away, and what is missing is put back."""
    baselines, hooks = [surroundings.look(), surroundings.look()], HOOKS[where]
    before = list(hooks)
    late = library(KINDS[kind])
    hooks.insert(at, late.hook)
    expected = list(hooks)
    for baseline in (*baselines, surroundings.look(), *baselines):
        assert surroundings.restore(baseline) == ([], [])
        assert hooks == expected
        hooks.append(late.hook)
        assert surroundings.restore(baseline) == (["hooks of the interpreter"], [])
        hooks[:] = before
        assert surroundings.restore(baseline) == (["hooks of the interpreter"], [])
        assert hooks == expected
