"""`method: auto`: one policy, the same on every host, and never worse than random points."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.api.study import Study
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.search.samplers import adaptive, built_in
from tests.search.test_guided import bowl

SPACE = {
    "x": {"type": "float", "bounds": [-1.0, 2.0]},
    "k": {"type": "int", "bounds": [1, 100], "log": True},
    "kind": {"type": "choice", "values": ["a", "b", "c"]},
}


def resolved(method: str, n: int, metric: str = "value", slots: int = 4) -> JobSpec:
    text = (
        f"objective: {{python: 'm:f'}}\nmetric: {metric}\ntuning:\n  method: {method}\n  max_iterations: {n}\n"
        "  search_space: {x: {type: float, bounds: [0, 1]}}\n"
    )
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")], slots=lambda: slots)


@pytest.mark.parametrize(
    ("n", "metric", "method"),
    [
        (1, "value", "bayesian"),
        (2_000, "[a, b]", "bayesian"),
        (2_001, "value", "tpe"),
        (2_001, "[a]", "tpe"),
        (2_001, "[a, b]", "tpe"),
    ],
)
def test_it_is_the_same_job_as_one_that_names_the_method(n: int, metric: str, method: str) -> None:
    found, named = resolved("auto", n, metric), resolved(method, n, metric)
    assert found.notices[0].startswith(f"method auto is {method}: ")
    assert replace(found, notices=found.notices[1:]) == named


@given(iterations=st.integers(1, 10_000), metrics=st.integers(1, 6))
def test_one_method_suits_every_search_and_can_do_it(iterations: int, metrics: int) -> None:
    declared = [found for name in built_in(learns=True) if (found := adaptive(name)) is not None]
    (one,) = [found for found in declared if found.suits is not None and found.suits.has(iterations)]
    assert one.max_metrics is None or metrics <= one.max_metrics


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_the_slots_of_a_farm_do_not_change_it(slots: int) -> None:
    assert resolved("auto", 100, slots=slots).method == "bayesian"


def test_what_is_missing_is_told_all_the_same() -> None:
    text = "objective: {python: 'm:f'}\ntuning: {method: auto, search_space: {x: {type: float, bounds: [0, 1]}}}\n"
    with pytest.raises(Exception, match="max_iterations: is missing"):
        resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")])


def test_it_finds_more_than_random_points_do() -> None:
    def lowest(method: str, seed: int) -> float:
        study = Study(search_space=SPACE, method=method, metric="loss", direction="minimize", seed=seed)
        for _ in range(30):
            trial = study.ask()
            study.tell(trial, bowl(trial.params))
        return study.best_metrics["loss"]

    by_policy, by_chance = (statistics.median(lowest(m, seed) for seed in range(3)) for m in ("auto", "random"))
    assert by_policy < by_chance
