"""Python objectives in an interpreter of their own: the same protocol, the same care, another Python."""

from __future__ import annotations

import re
import sys
import venv
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.errors import ObjectiveError
from arbd.job.policy import ObjectivePolicy, patterns_of
from arbd.job.spec import ObjectiveSpec
from arbd.objective.interpreter import InterpreterEvaluator
from arbd.objective.load import load_evaluator
from arbd.objective.program import CommandError
from arbd.objective.protocol import Trial
from tests.objective.test_objectives import SPEC


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without any package."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def load(folder: Path, interpreter: Path, body: str, **changed: Any) -> InterpreterEvaluator:
    (folder / "own.py").write_text(body)
    spec = replace(SPEC, objective=ObjectiveSpec("python", ("own:f",), interpreter=str(interpreter)), **changed)
    evaluator = load_evaluator(spec, "s", None, [folder])
    assert isinstance(evaluator, InterpreterEvaluator)
    return evaluator


def metrics(evaluator: InterpreterEvaluator, iteration: int = 1) -> Mapping[str, float]:
    return evaluator.evaluate({"x": 0.5}, Trial(iteration, 7, "s")).metrics


def test_it_runs_in_the_environment_named_with_the_standard_library_alone(tmp_path: Path, interpreter: Path) -> None:
    body = """import sys
def f(params, trial):
    print('noise on standard output')
    try:
        import numpy
    except ImportError:
        found = 0
    else:
        found = 1
    trial.report(3, 0.25)
    return {'x': params['x'] + params['c'], 'here': sys.prefix == %r, 'numpy': found, 'seed': trial.seed, 'arbd': 'arbd' in sys.modules}
""" % str(interpreter.parents[1])  # fmt: skip
    with closing(load(tmp_path, interpreter, body, fixed={"c": 2})) as evaluator:
        found = evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))
        assert found.metrics == {"x": 2.5, "here": 1.0, "numpy": 0.0, "seed": 7.0, "arbd": 0.0}
        assert found.reports == ((3, 0.25),)
        assert evaluator.code.versions == {"python": f"CPython {sys.version.split()[0]}"}


EXITS = {
    "exception": ("raise ValueError('no fills')", CommandError, r"^ValueError: no fills \(own\.py:3\)$"),
    "exit": ("sys.exit('no quotes')", CommandError, r"^SystemExit: no quotes \(own\.py:3\)$"),
    "interrupt": ("raise KeyboardInterrupt", CommandError, "^KeyboardInterrupt"),
    "hard exit": ("os._exit(3)", CommandError, "exited with status 3"),
    "killed": ("os.kill(os.getpid(), 9)", CommandError, "was killed by SIGKILL"),
    "nothing": ("return None", ObjectiveError, "returned NoneType None; expected a"),
    "a text": ("return {'v': 'a'}", ObjectiveError, "returned str 'a' as a metric"),
    "no metric": ("return {}", ObjectiveError, "no metric at all"),
    "closed descriptors": ("os.closerange(0, 4096)", CommandError, "exited with status"),
    "a forked child": ("os.fork() or 1 / 0", None, ""),
    "a child that returns": ("\n        if not os.fork(): return {'v': -1.0}", None, ""),
}


@pytest.mark.parametrize("what", EXITS)
def test_each_way_out_is_the_iterations_own(tmp_path: Path, interpreter: Path, what: str) -> None:
    do, kind, message = EXITS[what]
    body = f"import os, sys\ndef f(params, trial):\n    if trial.iteration == 2: {do}\n    return {{'v': trial.iteration}}\n"
    with closing(load(tmp_path, interpreter, body)) as evaluator:
        assert metrics(evaluator, 1) == {"v": 1.0}
        if kind is None:
            assert metrics(evaluator, 2) == {"v": 2.0}
        else:
            with pytest.raises(kind) as raised:
                metrics(evaluator, 2)
            assert re.search(message, str(raised.value))
        assert metrics(evaluator, 3) == {"v": 3.0}


def test_a_number_alone_is_the_metric_of_a_job_that_has_one(tmp_path: Path, interpreter: Path) -> None:
    body = (
        "def f(params, trial):\n    trial.report(1, 2)\n    return True if trial.iteration == 2 else params['x'] * 2\n"
    )
    with closing(load(tmp_path, interpreter, body)) as evaluator:
        found = evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))
        assert (list(found.metrics.values()), found.reports) == ([1.0], ((1, 2.0),))
        with pytest.raises(ObjectiveError, match="returned bool True; expected a"):
            metrics(evaluator, 2)


@pytest.mark.parametrize("half", ["0.5", "decimal.Decimal('0.5')", "fractions.Fraction(1, 2)", "Tensor()"])
@pytest.mark.parametrize("alone", [True, False])
def test_one_number_is_a_number_of_whichever_kind(tmp_path: Path, interpreter: Path, half: str, alone: bool) -> None:
    body = (
        "import decimal, fractions\nclass Tensor:\n    ndim = 0\n    def __float__(self): return 0.5\n"
        f"def f(*params):\n    half = {half}\n    return {'half' if alone else 'dict(value=half)'}\n"
    )
    with closing(load(tmp_path, interpreter, body)) as evaluator:
        assert list(metrics(evaluator).values()) == [0.5]


def test_random_numbers_are_those_of_the_iteration_and_blocks_come_through(tmp_path: Path, interpreter: Path) -> None:
    body = """import random
class Result:
    blocks = [[1, 2], [3, 4]]
    def __init__(self): self.metrics = {'v': random.random()}
def f(params): return Result()
"""
    with closing(load(tmp_path, interpreter, body)) as evaluator:
        first, again = (evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s")) for _ in range(2))
    assert first.metrics == again.metrics
    assert first.blocks is not None
    assert np.array_equal(first.blocks, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("def f(", "cannot be loaded: SyntaxError"),
        ("g = 1", "has no function 'f'"),
        ("def f(): pass", "takes 0 parameters"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit"),
        ("import os; os._exit(3)", "exited with status 3"),
    ],
)
def test_what_cannot_be_loaded_is_told_before_any_iteration(
    tmp_path: Path, interpreter: Path, body: str, message: str
) -> None:
    with pytest.raises(ObjectiveError, match=message):
        load(tmp_path, interpreter, body)


def test_the_code_that_ran_there_is_known_and_other_code_is_refused(tmp_path: Path, interpreter: Path) -> None:
    (tmp_path / "late.py").write_text("A = 1\n")
    body = "def f(params):\n    import late\n    return {'v': late.A}\n"
    with closing(load(tmp_path, interpreter, body)) as evaluator:
        assert set(evaluator.code.loaded) == {"own"}
        metrics(evaluator)
        assert set(evaluator.code.loaded) == {"own", "late"}
        assert set(evaluator.code.parts()) == {"python:own", "python:late", "interpreter python"}
    assert not list(tmp_path.rglob("*.pyc"))
    with pytest.raises(ObjectiveError, match="is not the file that the job was accepted with"):
        load(tmp_path, interpreter, body, digests={"python:own": "0" * 64})
    with closing(load(tmp_path, interpreter, body, digests={"python:late": "0" * 64})) as evaluator:
        with pytest.raises(CommandError, match="is not the file that the job was accepted with"):
            metrics(evaluator)
        assert "is not the file" in evaluator.code.refusal


def test_the_list_names_interpreters_by_their_own_path(tmp_path: Path, interpreter: Path) -> None:
    objective = ObjectiveSpec("python", ("own:f",), interpreter=str(interpreter))
    assert patterns_of(objective) == ("python:own:f", f"interpreter:{interpreter}")
    real = interpreter.parent.resolve()
    for allow in (patterns_of(objective), ("*",), ("python:*", "interpreter:*"), ("python:*", f"interpreter:{real.parents[1]}/*/bin/python")):  # fmt: skip
        assert ObjectivePolicy(allow).check(objective) is None
    for allow in (("python:*",), ("python:*", f"interpreter:{sys.executable}"), (f"interpreter:{interpreter}",)):
        assert "is not allowed on this host" in str(ObjectivePolicy(allow).check(objective))
    link = tmp_path / "elsewhere"
    link.symlink_to(real)
    strange = replace(objective, interpreter=str(link / "python"))
    assert ObjectivePolicy(("python:*", f"interpreter:{link}/*")).check(strange) is not None


def test_an_interpreter_that_is_none_is_told_as_such(tmp_path: Path) -> None:
    for path, message in (("/nowhere/python", "is no program on this host"), ("/bin/true", "ended without an answer")):
        with pytest.raises(ObjectiveError, match=message):
            load(tmp_path, Path(path), "def f(p): return {'v': 1}")


@pytest.mark.parametrize(
    "takes",
    ["params, window", "params, *, window", "params, budget, trial", "params, *, trial", "params, trial, window=None"],
)
def test_trial_budget_and_window_come_by_their_names(tmp_path: Path, interpreter: Path, takes: str) -> None:
    body = (
        f"def f({takes}):\n    given = dict(locals())\n    fits = given.get('window') is None and given.get('budget', 1) == 1\n"
        "    fits = fits and ('trial' not in given or given['trial'].iteration == 1)\n    return {'v': float(fits)}"
    )
    with closing(load(tmp_path, interpreter, body)) as evaluator:
        assert dict(evaluator.evaluate({"x": 0.5}, Trial(1, 1, "s")).metrics) == {"v": 1.0}
