"""A study prunes: whoever asks and tells has the trial of an objective, and the rules of a job."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arbd
from arbd.errors import JobError, ObjectiveError, UsageError
from arbd.search.pruning import PruneRules
from arbd.search.samplers import built_in, default_budgets
from tests.search.test_pruning import pruned_by_optuna

METHODS = [name for name in (*built_in(learns=True), *built_in(learns=False)) if not default_budgets(name, 0.5)]
FIELDS: dict[str, Any] = {
    "search_space": {"x": {"type": "float", "bounds": [0, 1]}, "k": {"type": "int", "bounds": [1, 9]}},
    "metric": "loss", "direction": "minimize", "seed": 2,
}  # fmt: skip


def objective(params: Mapping[str, Any], trial: Any) -> dict[str, float]:
    """One that `arbd.tune` runs too."""
    noise, loss = random.Random(trial.seed), math.inf
    for step in range(1, 7):
        loss = (params["x"] - 0.3) ** 2 + params["k"] / 20 + noise.random() / step
        trial.report(step, loss)
    return {"loss": loss}


def played(study: arbd.Study, trial: Any) -> None:
    try:
        study.tell(trial, objective(trial.params, trial))
    except arbd.TrialPruned:
        assert trial.should_prune()
        study.tell(trial, None)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prune", [{"rule": "median", "startup_trials": 3}, {"rule": "patient", "patience": 1}])
def test_by_every_method_a_trial_is_pruned_as_optuna_would_by_what_was_told_before(
    method: str, prune: dict[str, Any]
) -> None:
    points = {"grid_points": 5} if method == "grid" else {}
    study = arbd.Study(**FIELDS, **points, method=method, prune=prune)
    rules, completed = PruneRules(**prune), list[dict[int, float]]()
    for _ in range(20):
        trial = study.ask()
        noise = random.Random(trial.seed)
        whole = {s: (trial.params["x"] - 0.3) ** 2 + trial.params["k"] / 20 + noise.random() / s for s in range(1, 7)}
        expected = pruned_by_optuna(rules, "minimize", completed, whole)
        played(study, trial)
        told = study.trials[-1]
        assert dict(told.trial.reports) == {step: v for step, v in whole.items() if step <= (expected or 6)}
        assert (told.metrics is None) == bool(told.pruned) == (expected is not None)
        completed += [] if told.pruned else [whole]
    assert any(told.pruned for told in study.trials) and not all(told.pruned for told in study.trials)
    assert study.trials[study._told_at(study.best)].pruned == ""


@settings(max_examples=15, deadline=None)
@given(
    method=st.sampled_from(["tpe", "random", "cmaes"]),
    asked=st.lists(st.integers(1, 4), min_size=2, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_what_was_told_after_a_trial_was_asked_for_decides_nothing_about_it(
    method: str, asked: Sequence[int], order: random.Random
) -> None:
    """Told in another order within a batch, every trial ends where it did."""
    fields = {**FIELDS, "method": method, "prune": {"rule": "median", "startup_trials": 2}}
    one, other = arbd.Study(**fields), arbd.Study(**fields)
    for count in asked:
        pairs = list(zip(one.ask(count), other.ask(count), strict=True))
        for first, second in pairs:
            with_reports = {step: first.params["x"] + step for step in (1, 2)}
            for trial in (first, second):
                try:
                    for step, value in with_reports.items():
                        trial.report(step, value)
                except arbd.TrialPruned:
                    continue
        assert [(a.reports, a.pruned) for a, _ in pairs] == [(b.reports, b.pruned) for _, b in pairs]
        for first, second in pairs:
            one.tell(first, first.params["x"])
            other.tell(second, second.params["x"])


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_study_that_grows_still_knows_what_its_trials_reported(method: str) -> None:
    def thresholds(study: arbd.Study) -> tuple[list[int], list[float]]:
        found = study._thresholds()
        return found.steps.tolist(), found.losses.tolist()

    study = arbd.Study(**FIELDS, method=method, prune={"rule": "median"})
    for _ in range(12):
        played(study, study.ask())
    before = thresholds(study)
    study._make_room(2_000)
    assert thresholds(study) == before and before[0]


@pytest.mark.parametrize("told", [None, 3.0, {"loss": 3.0}, {"other": 1.0}])
def test_whatever_is_told_of_a_pruned_trial_it_is_pruned(told: Any) -> None:
    study = arbd.Study(**FIELDS, method="tpe", prune={"rule": "patient", "patience": 1})
    trial = study.ask()
    with pytest.raises(arbd.TrialPruned, match="pruned at step 3: no improvement in 1 steps"):
        for step in range(1, 9):
            trial.report(step, float(step))
    study.tell(trial, told)
    assert study.trials[0].metrics is None and "step 3" in study.trials[0].pruned
    with pytest.raises(UsageError, match="no trial was told yet"):
        _ = study.best


def test_without_a_rule_intermediate_values_are_kept_and_nothing_ends() -> None:
    study = arbd.Study(**FIELDS, method="random")
    trial = study.ask()
    for step in range(5):
        trial.report(step, 9.0 - step)
    assert not trial.should_prune() and trial.reports == tuple((step, 9.0 - step) for step in range(5))
    with pytest.raises(ObjectiveError, match="as a step"):
        trial.report(0.5, 1.0)  # type: ignore[arg-type]
    study.tell(trial, 1.0)
    assert study.trials[0].pruned == "" and study.best is trial


def test_a_study_refuses_what_a_job_refuses() -> None:
    with pytest.raises(JobError, match="chooses what goes on by its budgets"):
        arbd.Study(**FIELDS, method="successive_halving", prune={"rule": "median"})
    with pytest.raises(JobError, match="patient needs a patience"):
        arbd.Study(**FIELDS, method="tpe", prune={"rule": "patient"})


@pytest.mark.parametrize("told", [np.float32(0.5), np.int64(1), {"loss": np.float64(2)}, {"loss": True}])
def test_numbers_of_every_kind_are_told(told: Any) -> None:
    study = arbd.Study(**FIELDS, method="random")
    study.tell(study.ask(), told)
    assert isinstance(study.best_metrics["loss"], float)


@pytest.mark.parametrize("told", ["0.5", [0.5], {}, {"loss": "0.5"}, {1: 2.0}, {"loss": None}, True, object()])
def test_what_is_no_result_is_refused_and_the_trial_can_still_be_told(told: Any) -> None:
    study = arbd.Study(**FIELDS, method="tpe")
    trial = study.ask()
    with pytest.raises(UsageError, match="^trial 1: "):
        study.tell(trial, told)
    study.tell(trial, 1.0)


@pytest.mark.parametrize("n", [0, -1, 2.5, "3", True])
def test_how_many_are_asked_for_is_an_integer_from_one(n: Any) -> None:
    for method in ("tpe", "random"):
        with pytest.raises(UsageError, match="an integer from 1"):
            arbd.Study(**FIELDS, method=method).ask(n)


@pytest.mark.parametrize("trial", ["1", None, {"x": 0.5}])
def test_what_is_no_trial_is_not_told_of(trial: Any) -> None:
    with pytest.raises(UsageError, match="takes a trial that ask gave"):
        arbd.Study(**FIELDS, method="tpe").tell(trial, 1.0)
