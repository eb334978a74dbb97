"""Intermediate values: told by a function, a program that is kept or a foreign interpreter, and what ends an iteration."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arbd
from arbd.errors import ObjectiveError
from arbd.job.spec import ObjectiveSpec
from arbd.objective.load import load_evaluator
from arbd.objective.program import CommandError
from arbd.objective.protocol import Evaluator, Trial
from arbd.search.pruning import MAX_REPORTS, Pruner, PruneRules, Thresholds
from tests.objective.test_objectives import SPEC

RULES = PruneRules(startup_trials=1)
# At step 2 half of what others had: what is below is pruned.
AT_2 = Thresholds(np.array([2]), np.array([-0.5]))
KINDS = ("python", "interpreter", "lines")
PROGRAM = """#!{python} -S
import json, os, sys
class TrialPruned(Exception):
    pass
class Trial:
    def report(self, step, value):
        print(json.dumps({{"id": q["id"], "step": step, "value": value}}), flush=True)
        if json.loads(sys.stdin.readline())["prune"]:
            raise TrialPruned
{function}
for line in sys.stdin:
    q = json.loads(line)
    try:
        answer = {{"metrics": f(q["params"], Trial())}}
    except TrialPruned as error:
        answer = {{"pruned": str(error)}}
    except Exception as error:
        answer = {{"error": f"{{type(error).__name__}}: {{error}}"}}
    print(json.dumps({{"id": q["id"], **answer}}), flush=True)
"""
Loaded = Callable[[str], Evaluator]


@pytest.fixture(params=KINDS)
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loaded]:
    """The same function by each of the ways."""
    # A process loads a module of one name once.
    module = f"of_{tmp_path.name}"
    opened: list[Evaluator] = []

    def of(function: str, prune: PruneRules | None = RULES) -> Evaluator:
        target = ObjectiveSpec("python", (f"{module}:f",))
        (tmp_path / f"{module}.py").write_text(f"class TrialPruned(Exception): pass\n{function}")
        if request.param == "interpreter":
            target = replace(target, interpreter=sys.executable)
        if request.param == "lines":
            program = tmp_path / "program"
            program.write_text(PROGRAM.format(python=sys.executable, function=function))
            program.chmod(0o755)
            target = ObjectiveSpec("command", (str(program),), "lines")
        opened.append(load_evaluator(replace(SPEC, objective=target, prune=prune), "s", None, [tmp_path]))
        return opened[-1]

    yield of
    for evaluator in opened:
        evaluator.close()
    sys.modules.pop(module, None)


def trial(iteration: int = 1, pruner: Pruner | None = None) -> Trial:
    return Trial(iteration, 7, "s", pruner=pruner)


def pruner() -> Pruner:
    return Pruner(RULES, -1.0, AT_2)


SERIES = """
def f(params, trial):
    for step in range(1, 5):
        trial.report(step, params["x"] * step / 4)
    return {"v": params["x"]}
"""


def test_an_iteration_ends_at_the_step_at_which_the_rule_says_so(load: Loaded) -> None:
    evaluator = load(SERIES)
    good = evaluator.evaluate({"x": 1.0}, trial(1, pruner()))
    assert (good.metrics, good.pruned, good.reports) == ({"v": 1.0}, "", ((1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)))
    bad = evaluator.evaluate({"x": 0.5}, trial(2, pruner()))
    assert (bad.metrics, bad.reports) == ({}, ((1, 0.125), (2, 0.25)))
    assert bad.pruned == "pruned at step 2: 0.25 is worse than 0.5, the median"
    # What pruned one leaves the next one alone.
    assert evaluator.evaluate({"x": 1.0}, trial(3, pruner())).metrics == {"v": 1.0}


def test_without_a_rule_values_are_kept_and_nothing_ends(load: Loaded) -> None:
    found = load(SERIES, None).evaluate({"x": 0.5}, trial())
    assert (found.metrics, len(found.reports), found.pruned) == ({"v": 0.5}, 4, "")


EXITS = {
    "goes on": "pass",
    "fails": "raise ValueError('in a hurry')",
    "returns something": "return {'v': 9.0}",
    "returns nonsense": "return {}",
}


@pytest.mark.parametrize("then", EXITS)
def test_what_is_pruned_is_pruned_whatever_it_does_then(load: Loaded, then: str) -> None:
    body = f"""
def f(params, trial):
    for step in range(1, 5):
        try:
            trial.report(step, params["x"] * step / 4)
        except Exception:
            {EXITS[then]}
    return {{"v": params["x"]}}
"""
    found = load(body).evaluate({"x": 0.5}, trial(1, pruner()))
    assert (found.metrics, found.reports) == ({}, ((1, 0.125), (2, 0.25)))
    assert found.pruned.startswith("pruned at step 2")


def test_an_objective_may_prune_for_reasons_of_its_own(load: Loaded) -> None:
    body = "def f(params, trial):\n    trial.report(1, 3.0)\n    raise TrialPruned('no market')\n"
    found = load(body, None).evaluate({"x": 0.5}, trial())
    assert (found.metrics, found.reports, found.pruned) == ({}, ((1, 3.0),), "pruned by the objective: no market")


def test_the_name_for_that_is_arbds() -> None:
    found = trial()
    assert found.ended_by(arbd.TrialPruned("why"))
    assert found.pruned == "pruned by the objective: why"
    assert not trial().ended_by(ValueError("why"))


def test_many_values_are_kept_evenly(load: Loaded) -> None:
    body = f"""
def f(params, trial):
    for step in range({2 * MAX_REPORTS}):
        trial.report(step, 1.0)
    return {{"v": 1.0}}
"""
    found = load(body, None).evaluate({"x": 0.5}, trial()).reports
    assert len(found) <= MAX_REPORTS
    assert (found[0], found[-1]) == ((0, 1.0), (2 * MAX_REPORTS - 1, 1.0))


@pytest.mark.parametrize("step", ["'a'", "None", "1e300", "0.5", "float('nan')"])
def test_what_is_no_step_is_an_error_of_its_iteration(load: Loaded, step: str) -> None:
    body = f"def f(params, trial):\n    trial.report({step}, 1.0)\n    return {{'v': 1.0}}\n"
    evaluator = load(body, None)
    with pytest.raises((ObjectiveError, CommandError), match=r"as a step|float\(\)|int\(\)|convert|integer|not JSON"):
        evaluator.evaluate({"x": 0.5}, trial())


def test_a_second_attempt_reports_anew() -> None:
    first = trial(1, pruner())
    first.report(1, 0.125)
    second = first.again()
    assert (list(second.reports), second.pruned) == ([], "")
    second.report(1, 0.5)
    second.report(2, 0.5)
    assert len(first.reports) == 1


def test_a_program_that_does_not_read_what_it_is_told_is_told_of_that(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable} -S\nimport json, sys\nfor line in sys.stdin:\n    q = json.loads(line)\n"
        '    print(json.dumps({"id": q["id"], "step": 1, "value": 1}) + "\\n" + json.dumps({"id": q["id"], "metrics": {"v": 1}}), flush=True)\n'
    )
    program.chmod(0o755)
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program),), "lines"))
    with (
        closing(load_evaluator(spec, "s", None, [])) as evaluator,
        pytest.raises(ObjectiveError, match="did not read what was said to its intermediate value"),
    ):
        evaluator.evaluate({"x": 1.0}, trial())


@pytest.mark.parametrize("value", ['"a"', "true", "null", "[1]"])
def test_an_intermediate_value_of_a_program_is_a_number(tmp_path: Path, value: str) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable} -S\nimport sys\nfor line in sys.stdin:\n"
        f'    print(\'{{"id": 1, "step": 1, "value": {value}}}\', flush=True)\n'
    )
    program.chmod(0o755)
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program),), "lines"))
    with closing(load_evaluator(spec, "s", None, [])) as evaluator, pytest.raises(ObjectiveError, match="a number"):
        evaluator.evaluate({"x": 1.0}, trial())


@pytest.mark.parametrize("interpreter", ["", sys.executable])
def test_a_function_that_takes_no_trial_is_refused_where_a_job_prunes(tmp_path: Path, interpreter: str) -> None:
    (tmp_path / "plain_one.py").write_text("def f(params):\n    return {'v': 1.0}\n")
    target = ObjectiveSpec("python", ("plain_one:f",), interpreter=interpreter)
    with pytest.raises(ObjectiveError, match="takes no trial, which `prune` needs"):
        load_evaluator(replace(SPEC, objective=target, prune=RULES), "s", None, [tmp_path])
    load_evaluator(replace(SPEC, objective=target), "s", None, [tmp_path]).close()


def test_nan_is_a_value_and_as_the_best_so_far_is_worse_than_any() -> None:
    found: Any = trial(1, pruner())
    found.report(1, math.nan)
    with pytest.raises(arbd.TrialPruned, match="nan is worse than 0.5"):
        found.report(2, math.nan)
