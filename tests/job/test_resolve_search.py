"""What a job says about its search is checked, each fault with its place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from arbd.errors import JobError
from arbd.job.codec import read_job_spec
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.search.generations import TrialHistory
from arbd.search.history import best_first
from arbd.search.problem import EarlierResult, StopRules
from arbd.search.space import FloatDimension

JOB = """
objective: {{python: "m:f"}}
metric: {metric}
tuning:
  method: {method}
  search_space:
    x: {{type: float, bounds: [0, 1]}}
    k: {{type: int, bounds: [1, 9], step: 2}}
    kind: {{type: choice, values: [a, b]}}
  max_iterations: 40
"""


def resolved(more: str, method: str = "tpe", metric: str = "value", past: Any = None) -> JobSpec:
    text = JOB.format(method=method, metric=metric) + more
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")], past=past)


def stored(plain: dict[str, Any]) -> JobSpec:
    return read_job_spec(bytes(msgpack.packb(plain)))


def test_everything_survives_the_plain_form_of_a_job() -> None:
    spec = resolved(
        "  generation_size: 8\n  constraints: ['x < k', 'value > 0']\n  enqueue: [{x: 0.5, kind: b}]\n"
        "  stop: {max_time_s: 60, no_improvement: 20, target: 9}\n  start_from: before\n",
        past=lambda source, folders: [EarlierResult({"x": 0.1, "k": 3, "kind": "a"}, {"value": 2.0})],
    )
    assert stored(spec.to_plain()) == spec
    assert (spec.generation_size, spec.generations, spec.constraints) == (8, 5, ("x < k", "value > 0"))
    assert spec.stop == StopRules(60.0, 20, 9.0)
    assert spec.past is not None
    assert spec.past.metrics == ((2.0,),)
    assert set(spec.sampler_versions) == {"arbd", "numpy", "method tpe"}


def test_a_job_of_the_first_version_is_read() -> None:
    plain = resolved("", "random").to_plain()
    new = ("generation_size", "constraints", "enqueue", "past", "stop", "min_budget", "sampler_versions")
    old = stored({name: value for name, value in plain.items() if name not in new})
    assert old == resolved("", "random")


@pytest.mark.parametrize(
    ("more", "method", "said"),
    [
        ("  constraints: ['x <']\n", "tpe", r"line 11: tuning.constraints.0: 'x <': not an inequality"),
        ("  enqueue: [{y: 1}]\n", "tpe", "tuning.enqueue.0.y: 'y' is not searched; searched are k, kind, x"),
        ("  enqueue: [{x: 2}]\n", "tpe", r"tuning.enqueue.0.x: x: 2 is not in \[0, 1\]"),
        ("  enqueue: [{k: 4}]\n", "tpe", "k: 4 is not a multiple of the step from 1"),
        ("  enqueue: [{kind: c}]\n", "random", "kind: 'c' is not one of"),
        ("  stop: {target: 1, patience: 3}\n", "tpe", "unknown field"),
        ("  generation_size: 2\n", "cmaes", "cmaes needs at least 4"),
        ("  start_from: other\n", "tpe", "there is no spool to look for it"),
        (
            "  constraints: ['kind < 3']\n",
            "tpe",
            "constraints.0: 'kind < 3': 'kind' has strings, which are compared by ==",
        ),
        ("  constraints: ['value > kind']\n", "tpe", "'kind' has strings"),
        ("  constraints: ['kind + 1 == 2']\n", "tpe", "'kind' has strings"),
        ("  constraints: [\"kind < 'b'\"]\n", "tpe", "texts are compared by == and != only"),
        ("  constraints: ['x > 2']\n", "sobol", "constraints: none of 4,096 random points keeps .* loosen them"),
        ("  constraints: ['x > 2']\n", "tpe", "constraints: none of 4,096 random points keeps .* loosen them"),
        ("  stop: {min_delta: 0.1}\n", "tpe", "stop.min_delta: says how much better counts for `no_improvement`"),
        ("  stop: {target: .nan}\n", "tpe", "stop.target: a target is a finite number, not nan"),
        (
            f"  start_from: {'z' * 300}.csv\n",
            "tpe",
            "tuning.start_from: a path that no filesystem takes, of 304 characters",
        ),
        ("  min_budget: 2\n", "successive_halving", "min_budget"),
        ("constraints: ['x < 1']\n", "tpe", "constraints: belongs under `tuning:`"),
    ],
)
def test_a_fault_is_told_with_its_place(more: str, method: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        resolved(more, method)


def test_a_name_that_no_constraint_can_hold_is_told() -> None:
    for name, text in (("stop-loss", "stop-loss < 0.5"), ("delay_\u00b5s", "delay_\u00b5s < 0.5")):
        job = (
            JOB.format(method="tpe", metric="value").replace("    x:", f"    {name}:") + f"  constraints: ['{text}']\n"
        )
        with pytest.raises(JobError, match=f"the name '{name}' cannot stand in a constraint"):
            resolve_job(parse_job(job, "job.yaml"), base_dirs=[Path("/nowhere")])


def test_a_name_near_a_known_one_is_pointed_out_as_a_metric() -> None:
    spec = resolved("  constraints: ['valeu > 0', 'trades > 30']\n")
    assert spec.notices == ("constraint 'valeu > 0': 'valeu' is taken for a metric; did you mean 'value'?",)


def test_a_metric_is_named_once_and_a_scale_is_either_logarithmic_or_of_steps() -> None:
    with pytest.raises(JobError, match="metric: names a metric twice"):
        resolved("", metric="[value, value]")
    text = JOB.format(method="tpe", metric="value").replace("bounds: [0, 1]", "bounds: [1, 9], log: true, step: 1")
    with pytest.raises(JobError, match="log and step exclude each other"):
        resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")])


def test_a_search_whose_generations_know_nothing_is_told_so() -> None:
    spec = resolved("  generation_size: 20\n")
    assert "tpe learns nothing: all 40 iterations are in the first 2 generations of 20" in spec.notices[0]
    assert resolved("  generation_size: 19\n").notices == ()


def test_methods_of_one_metric_refuse_several() -> None:
    for method in ("cmaes", "successive_halving"):
        with pytest.raises(JobError, match=f"{method} optimises one metric, not 2: use one of bayesian, nsga2, tpe"):
            resolved("", method, "[one, two]")
    with pytest.raises(JobError, match="a target is for one metric"):
        resolved("  stop: {target: 1}\n", "tpe", "[one, two]")
    assert len(resolved("", "nsga2", "[one, two]").metrics) == 2


def test_past_results_outside_of_the_space_are_left_out_and_counted() -> None:
    found = [
        EarlierResult({"x": 0.5, "k": 3, "kind": "a", "more": 1}, {"value": 1.0}),
        EarlierResult({"x": 1.5, "k": 3, "kind": "a"}, {"value": 1.0}),
        EarlierResult({"x": 0.5, "k": 3}, {"value": 1.0}),
        EarlierResult({"x": 0.5, "k": 3, "kind": "b"}, {"other": 1.0}),
        EarlierResult({"x": 0.7, "k": 5, "kind": "b"}, {}),
    ]
    spec = resolved("  start_from: before\n", past=lambda source, folders: found)
    assert spec.past is not None
    assert spec.past.points == ({"x": 0.5, "k": 3, "kind": "a"}, {"x": 0.7, "k": 5, "kind": "b"})
    assert spec.notices == ("starts from 2 results of before; 3 do not fit and are left out",)
    with pytest.raises(JobError, match="none of the 1 results of before"):
        resolved("  start_from: before\n", past=lambda source, folders: found[1:2])


def test_what_has_no_effect_is_said() -> None:
    spec = resolved("  generation_size: 8\n  acquisition_fn: ei\n  min_budget: 0.5\n  start_from: s\n", "sobol")
    assert spec.generation_size == 0
    assert spec.notices == (
        "acquisition_fn has no effect with method sobol",
        "min_budget has no effect with method sobol",
        "generation_size has no effect with method sobol",
        "start_from has no effect with method sobol, which does not learn",
    )
    assert resolved("  stop: {target: 1}\n", "sobol").generation_size == 4
    unlikely = resolved("  constraints: ['x == 0.5']\n  enqueue: [{x: 0.5, k: 3, kind: a}]\n", "sobol")
    assert (unlikely.refill, unlikely.notices) == (True, ())
    assert resolved("  stop: {no_improvement: 9, min_delta: 0.5}\n", "sobol").stop.min_delta == 0.5


def test_a_value_off_the_steps_is_refused_and_one_off_by_its_last_digits_taken() -> None:
    space = JOB.replace("bounds: [0, 1]}}", "bounds: [0, 1], step: 0.1}}")

    def stepped(more: str, past: Any = None) -> JobSpec:
        text = space.format(method="tpe", metric="value") + more
        return resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")], past=past)

    with pytest.raises(
        JobError, match=r"enqueue.0.x: x: 0.14 is not one of the steps of 0.1 from 0; the nearest is 0.1"
    ):
        stepped("  enqueue: [{x: 0.14}]\n")
    spec = stepped("  enqueue: [{x: 0.30000000000000004, k: 1, kind: a}, {x: 1}]\n")
    assert spec.space.dimensions[0].column([spec.enqueue[0]["x"], 1]).tolist() == [0.3, 1.0]
    found = [EarlierResult({"x": x, "k": 3, "kind": "a"}, {"value": 1.0}) for x in (0.14, 0.3)]
    spec = stepped("  start_from: before\n", lambda source, folders: found)
    assert spec.notices == ("starts from 1 results of before; 1 do not fit and are left out",)


@pytest.mark.parametrize("step", [0.1, 0.05, 1 / 3, 0.001, 2.5e-7, 1e-11])
def test_every_step_of_a_dimension_is_a_value_of_it(step: float) -> None:
    dimension = FloatDimension("x", -0.7, 1.3, step=step)
    values = dimension.from_unit(np.random.default_rng(1).random(500))
    assert dimension.column(values.tolist()).tolist() == values.tolist()


def past_of(more: str, found: list[EarlierResult], method: str = "tpe") -> JobSpec:
    return resolved("  start_from: before\n" + more, method, past=lambda source, folders: found)


def result(x: float, **metrics: float) -> EarlierResult:
    return EarlierResult({"x": x, "k": 3, "kind": "a"}, metrics, metrics.get("budget", 1.0))


def test_earlier_results_that_break_the_constraints_are_learnt_from_as_such() -> None:
    found = [
        result(0.1, value=9.0, trades=5.0),
        result(0.2, value=1.0, trades=50.0),
        result(0.9, value=8.0, trades=50.0),
    ]
    spec = past_of("  constraints: ['trades >= 30', 'x < 0.5']\n", [*found, result(0.3, value=7.0)])
    history = TrialHistory(spec).history(0, None)
    assert history.feasible.tolist() == [False, True, False, False]
    assert history.known.all()
    assert history.points[best_first(history)][0, 0] == 0.2
    assert spec.notices == ("starts from 4 results of before, 3 of which break the constraints",)
    assert stored(spec.to_plain()) == spec


def test_earlier_results_keep_their_budget_and_are_not_mixed_where_a_method_knows_of_none() -> None:
    found = [result(0.1, value=9.0, budget=1 / 9), result(0.2, value=1.0, budget=1.0), result(0.3, value=2.0)]
    spec = past_of("", found, "successive_halving")
    assert TrialHistory(spec).history(0, None).budget.tolist() == [1 / 9, 1.0, 1.0]
    assert spec.notices == ("starts from 3 results of before",)
    spec = past_of("", found)
    assert spec.past is not None
    assert spec.past.metrics == ((1.0,), (2.0,))
    assert spec.notices == ("starts from 2 results of before; 1 had a smaller budget and are left out",)


def test_earlier_results_beyond_the_most_are_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.job.resolve_warm_start.MOST_PAST", 2)
    found = [result(0.1, value=math.inf), result(0.2, value=1.0), result(0.3, value=2.0), result(0.4), result(4.0)]
    spec = past_of("", found)
    assert spec.past is not None
    assert [point["x"] for point in spec.past.points] == [0.1, 0.3]
    assert spec.notices == (
        "starts from 2 results of before; 1 do not fit and are left out; 2 beyond the best 2 are left out",
    )


def test_a_job_that_did_not_keep_what_earlier_results_broke_is_read() -> None:
    spec = past_of("", [result(0.1, value=9.0)])
    plain = spec.to_plain()
    del plain["past"]["violation"], plain["past"]["budget"]
    assert stored(plain) == spec
    plain["past"]["budget"] = [1.0, 1.0]
    with pytest.raises(ValueError, match="different lengths"):
        stored(plain)
