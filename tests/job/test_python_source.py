"""What is wrong with a Python objective, told from its source alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.job.python_source import fault_of

GOOD = """
import os
from functools import lru_cache, partial as partly
raise RuntimeError("whoever runs this is wrong")
def plain(params): ...
def with_trial(params, trial): ...
def with_any_second(params, context): ...
def with_budget(params, *, budget=1.0): ...
def with_default(params, scale=2.0): ...
def with_trial_default(params, trial=None): ...
@lru_cache
def decorated(a, b, c, d): ...
def starred(*everything): ...
assigned = partly(plain)
if os.name == "posix":
    def conditional(params): ...
try:
    from elsewhere import borrowed
except ImportError:
    borrowed = plain
class Callable:
    def __call__(self, params): ...
"""
NAMES = [
    "plain", "with_trial", "with_any_second", "with_budget", "with_default", "with_trial_default", "decorated", "starred",
    "assigned", "conditional", "borrowed", "Callable",
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "objective.py"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_whatever_can_be_called_is_left_to_the_worker(source: Path, name: str) -> None:
    assert fault_of(source, name, needs_budget="") is None


def test_what_a_module_only_imports_is_told_before_anything_runs(source: Path) -> None:
    fault = fault_of(source, "partly", needs_budget="")
    assert fault is not None
    assert "line 3: 'partly' is imported there" in fault


@pytest.mark.parametrize(
    ("name", "can"),
    [
        ("plain", False), ("with_trial", True), ("with_any_second", True), ("with_budget", True), ("with_default", False),
        ("with_trial_default", True), ("decorated", True), ("starred", True), ("conditional", False), ("borrowed", True),
    ],
)  # fmt: skip
def test_shares_of_the_data_need_a_budget(source: Path, name: str, can: bool) -> None:
    fault = fault_of(source, name, needs_budget="successive_halving")
    assert (fault is None) == can
    assert can or "takes no budget, which successive_halving needs" in str(fault)


def test_a_function_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("def first(params): ...\ndef second(params): ...\n")
    assert fault_of(path, "frist", needs_budget="") == (
        f"{path} has no function 'frist'; its functions are first, second"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "line 1: is not Python"),
        ("def f(): ...\n", "takes 0 parameters; expected (params) or (params, trial)"),
        ("def f(a, b, c): ...\n", "takes 3 parameters"),
        ("async def f(params): ...\n", "is a coroutine"),
    ],
)
def test_what_cannot_be_called_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "m.py"
    path.write_text(text)
    assert told in str(fault_of(path, "f", needs_budget=""))


@pytest.mark.parametrize("text", ["from other import *\n", "def __getattr__(name): ...\n", "x = " + "(" * 5_000, "\0"])
def test_what_only_running_would_tell_is_no_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.py"
    path.write_text(text)
    fault = fault_of(path, "f", needs_budget="successive_halving")
    assert fault is None or "is not Python" in fault
