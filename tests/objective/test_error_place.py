"""Whoever reads why an objective failed reads where in their code: of whatever kind it is, wherever it is shown."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from arbd.errors import ObjectiveError
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.objective.error_place import describe
from arbd.objective.load import load_evaluator
from arbd.objective.modules import ObjectiveModules
from arbd.objective.program import CommandError
from arbd.objective.protocol import Evaluator, Trial
from arbd.search.problem import MetricGoal
from arbd.search.space import FloatDimension, SearchSpace
from tests.conftest import REPOSITORY, Arbctl, Daemons
from tests.jobs import write_job

# What is wrong, the line that it is on, and what is said beside the place; `helper.py` raises in its second line.
FAULTS = {
    "raise": ("raise ValueError('no quotes')", "{own}:{line}", "no quotes"),
    "several lines": ("raise ValueError('first\\nsecond')", "{own}:{line}", "first"),
    "no text": ("raise ValueError", "{own}:{line}", "ValueError"),
    "of a helper": ("import helper; helper.fall()", "helper.py:2", "fallen"),
    "of a library": ("import json; json.loads('{')", "{own}:{line}", "JSONDecodeError"),
    "of the machine": ("1 / 0", "{own}:{line}", "ZeroDivisionError"),
    "chained": ("\n    try: 1 / 0\n    except Exception as e: raise KeyError('x') from e", "{own}:{third}", "KeyError: 'x'"),
    "a module that is not there": ("import no_such_module", "{own}:{line}", "no_such_module"),
    "a way out": ("raise SystemExit('no more')", "{own}:{line}", "no more"),
    "an exception that says nothing": (
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "{own}:{line}", "Odd"
    ),
    "code of a string": ("exec('1 / 0')", "{own}:{line}", "ZeroDivisionError"),
    "a source that does not compile": ("import broken", "broken.py:3", "SyntaxError"),
    "a deep recursion": ("f = lambda: f(); f()", "{own}:{line}", "RecursionError"),
    "a long text": ("raise ValueError('x' * 100_000)", "{own}:{line}", "xxx"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "helper.py").write_text("def fall():\n    raise LookupError('fallen')\n")
    (tmp_path / "broken.py").write_text("x = 1\n\ndef (\n")
    finder = ObjectiveModules.of_this_process()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    finder.folders, finder.loaded, finder.refusal = (), {}, ""
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def load(folder: Path, module: str, interpreter: str) -> Evaluator:
    target = ObjectiveSpec("python", (f"{module}:f",), interpreter=interpreter)
    space = SearchSpace((FloatDimension("x", 0.0, 1.0),))
    spec = JobSpec(target, "random", space, 4, 1, (MetricGoal("value", "maximize"),))
    return load_evaluator(spec, "s", None, [folder], verify=False)


@pytest.mark.parametrize("interpreter", ["", sys.executable], ids=["own process", "interpreter"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_module_that_fails_at_import_is_named_with_file_and_line(
    folder: Path, fault: str, interpreter: str, request: pytest.FixtureRequest
) -> None:
    do, place, said = FAULTS[fault]
    (folder / "inner").mkdir()
    (folder / "inner" / "__init__.py").touch()
    own = f"loads{abs(hash(request.node.name))}"
    (folder / "inner" / f"{own}.py").write_text(f"import os\nif os.name:\n    {do}\ndef f(params): return 1.0\n")
    with pytest.raises(ObjectiveError) as raised:
        load(folder, f"inner.{own}", interpreter).close()
    message = str(raised.value)
    file = os.path.join("inner", f"{own}.py")  # noqa: PTH118
    assert f"({place.format(own=file, line=3, third=5)})" in message.partition("\n")[0]
    assert said in message
    assert f"the objective inner.{own}:f" in message


@pytest.mark.parametrize("fault", FAULTS)
def test_an_exception_is_told_with_the_innermost_line_of_the_persons_own_code(folder: Path, fault: str) -> None:
    do, place, said = FAULTS[fault]
    own = f"raises{abs(hash(fault))}"
    (folder / f"{own}.py").write_text(f"def f(params):\n    if params:\n      {do.replace(chr(10), chr(10) + '  ')}\n")
    with closing(load(folder, own, "")) as evaluator:
        try:
            evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))
        except BaseException as error:
            told = describe(error, [folder])
    assert f"({place.format(own=f'{own}.py', line=3, third=5)})" in told.partition("\n")[0]
    assert said in told
    assert len(told) <= 4_000
    with closing(load(folder, own, sys.executable)) as evaluator, pytest.raises(CommandError) as raised:
        evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))
    assert str(raised.value) == told


def test_code_that_is_in_no_folder_of_objectives_is_told_from_where_python_found_it() -> None:
    file = Path(__file__).relative_to(REPOSITORY)
    try:
        int("no number")
    except ValueError as error:
        assert re.search(rf": 'no number' \({re.escape(str(file))}:\d+\)$", describe(error))


def test_the_place_stands_where_failures_are_shown(
    arbctl: Arbctl, daemons: Daemons, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "falls.py").write_text("def objective(params):\n    raise ValueError('no quotes')\n")
    (objectives / "unloadable.py").write_text("def objective(params):\n    return 1.0\nraise ValueError('no key')\n")
    for name in ("falls", "unloadable"):
        arbctl("submit", write_job(tmp_path / "job.yaml", f"{name}:objective", 3), "--session-id", name)
    assert daemons.start("a", "--burst").wait(60) == 1
    export = ("export", "falls", "--format", "csv", "--output", "-")
    for command in (("summary", "falls"), ("summary", "falls", "--json"), export):
        assert "ValueError: no quotes (falls.py:2)" in arbctl(*command)[1], command
    told = "the objective unloadable:objective cannot be imported on this host: ValueError: no key (unloadable.py:3)"
    assert told in daemons.log()
    for more in ((), ("--json",)):
        assert told in arbctl("status", "unloadable", *more)[1]
