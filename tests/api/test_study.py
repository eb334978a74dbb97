"""Ask and tell: every method, batches, any order of results, the same each time."""

from __future__ import annotations

import itertools
import pickle
import random
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arbd
from arbd.errors import JobError, UsageError
from arbd.search.samplers import built_in

METHODS = (*built_in(learns=True), *built_in(learns=False))
SPACE: dict[str, Any] = {
    "x": {"type": "float", "bounds": [0, 1]},
    "k": {"type": "int", "bounds": [1, 50], "log": True},
    "kind": {"type": "choice", "values": ["a", 2, "c"]},
}


def loss_of(params: Mapping[str, Any]) -> dict[str, float]:
    return {"loss": (params["x"] - 0.3) ** 2 + abs(params["k"] - 20) / 50 + (params["kind"] != "c")}


def study_of(method: str, **changed: Any) -> arbd.Study:
    fields = {"search_space": SPACE, "method": method, "metric": "loss", "direction": "minimize", "seed": 3}
    return arbd.Study(**(fields | changed))


@pytest.mark.parametrize("is_below", [False, True], ids=["beside", "below tuning"])
@pytest.mark.parametrize("asked", [{"repeats": 3}, {"robust": {"over": "neighbourhood"}}])
def test_what_only_an_evaluation_can_do_is_refused(asked: dict[str, Any], is_below: bool) -> None:
    with pytest.raises(UsageError, match=rf"^{next(iter(asked))}: a study evaluates nothing itself: "):
        study_of("tpe", **({"tuning": asked} if is_below else asked))


@pytest.mark.parametrize(
    "more", [{"max_iterations": 3}, {"tuning": {"max_iterations": 3}}], ids=["beside", "below tuning"]
)
def test_no_more_are_given_than_were_to_be_asked_for(more: dict[str, Any]) -> None:
    study = study_of("random", **more)
    study.ask(3)
    with pytest.raises(UsageError, match="random has 3 points, and 3 were asked for"):
        study.ask()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_asked_and_told_and_finds_what_it_was_told(method: str) -> None:
    study = study_of(method)
    seen = []
    for number in range(1, 26):
        trial = study.ask()
        assert trial.number == number
        seen.append(loss_of(trial.params)["loss"])
        study.tell(trial, loss_of(trial.params))
    assert len(study.trials) == 25
    if all(told.trial.budget == 1.0 for told in study.trials):
        assert study.best_metrics["loss"] == min(seen)


@pytest.mark.parametrize("method", ["tpe", "bayesian", "cmaes"])
def test_what_was_told_is_learnt_from(method: str) -> None:
    space = {"x": SPACE["x"], "y": SPACE["x"]}

    def lowest(name: str, seed: int) -> float:
        study = study_of(name, search_space=space, seed=seed)
        for _ in range(15):
            for trial in study.ask(4):
                study.tell(trial, (trial.params["x"] - 0.31) ** 2 + (trial.params["y"] - 0.72) ** 2)
        return study.best_metrics["loss"]

    found, by_chance = (statistics.median(lowest(name, seed) for seed in range(3)) for name in (method, "random"))
    assert found < by_chance


@given(
    method=st.sampled_from(("tpe", "bayesian", "cmaes", "nsga2", "successive_halving", "sobol")),
    steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_the_same_questions_and_answers_give_the_same_points(
    method: str, steps: list[tuple[int, int]], order: random.Random
) -> None:
    """Whatever is told late, out of order, or never."""
    one, other = study_of(method), study_of(method)
    open_trials: list[tuple[Any, Any]] = []
    for ask, tell in steps:
        pairs = list(zip(one.ask(ask), other.ask(ask), strict=True))
        assert [a.params for a, _ in pairs] == [b.params for _, b in pairs]
        open_trials += pairs
        order.shuffle(open_trials)
        for first, second in itertools.islice(open_trials, tell):
            one.tell(first, loss_of(first.params))
            other.tell(second, loss_of(second.params))
        del open_trials[:tell]


def test_a_study_grows_past_its_first_size() -> None:
    study = study_of("random")
    trials = study.ask(1_030)
    assert len({trial.params["x"] for trial in trials}) == 1_030
    learns = study_of("tpe")
    for trial in learns.ask(20):
        learns.tell(trial, loss_of(trial.params))
    before = [told.trial.params for told in learns.trials]
    learns._make_room(2_000)
    assert [told.trial.params for told in learns.trials] == before
    assert learns.ask().number == 21


def test_failed_trials_and_broken_constraints_are_never_the_best() -> None:
    study = study_of("tpe", constraints=["x > 0.1", "size >= 2"])
    for at in range(24):
        trial = study.ask()
        assert trial.params["x"] > 0.1
        study.tell(trial, None if at % 3 == 0 else {**loss_of(trial.params), "size": float(at % 5)})
    assert study.trials[study._told_at(study.best)].metrics["size"] >= 2  # type: ignore[index]


def test_a_front_is_what_nothing_dominates() -> None:
    study = study_of("nsga2", metric=["a", "b"], direction=["maximize", "minimize"])
    for _ in range(24):
        trial = study.ask()
        study.tell(trial, {"a": trial.params["x"], "b": trial.params["x"] ** 2 + trial.params["k"] / 100})
    points = [(told.metrics["a"], told.metrics["b"]) for told in study.front() if told.metrics]
    assert points
    for a, b in points:
        assert not any(c >= a and d <= b and (c, d) != (a, b) for c, d in points)


def test_mistakes_are_told() -> None:
    with pytest.raises(UsageError, match="did you mean 'search_space'"):
        arbd.Study(serch_space=SPACE, method="tpe")
    with pytest.raises(JobError, match="unknown method 'tpee'"):
        study_of("tpee")
    study = study_of("tpe")
    with pytest.raises(UsageError, match="no trial was told yet"):
        _ = study.best
    trial = study.ask()
    with pytest.raises(UsageError, match="no metric 'loss'; told are los"):
        study.tell(trial, {"los": 1.0})
    study.tell(trial, 1.0)
    with pytest.raises(UsageError, match="trial 1 was told already"):
        study.tell(trial, 1.0)
    grid = study_of("grid", grid_points=2)
    grid.ask(12)
    with pytest.raises(UsageError, match="grid has 12 points, and 12 were asked for"):
        grid.ask()
    few = study_of("tpe", max_iterations=2)
    few.ask(2)
    with pytest.raises(UsageError, match="tpe has 2 points"):
        few.ask()


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_threads_ask_and_tell_one_study(method: str) -> None:
    study = arbd.Study(search_space=SPACE, method=method, metric="loss", direction="minimize", seed=1)

    def work(_: int) -> list[int]:
        numbers = []
        for _ in range(15):
            trial = study.ask()
            study.tell(trial, float(trial.number))
            numbers.append(trial.number)
        return numbers

    with ThreadPoolExecutor(4) as pool:
        told = [number for numbers in pool.map(work, range(4)) for number in numbers]
    assert sorted(told) == list(range(1, 61))
    assert sorted(each.trial.number for each in study.trials) == sorted(told)
    assert study.best.number == 1


@pytest.mark.parametrize("told_as", ["itself", "copy", "number", "a number of NumPy"])
def test_a_trial_is_told_as_itself_as_a_copy_of_another_process_or_by_its_number(told_as: str) -> None:
    study = arbd.Study(search_space=SPACE, method="random", metric="loss", direction="minimize", seed=1)
    trial = study.ask(2)[1]
    given = {"itself": trial, "copy": pickle.loads(pickle.dumps(trial)), "number": 2, "a number of NumPy": np.int64(2)}[
        told_as
    ]
    study.tell(given, 3.0)
    assert (study.best.number, study.best.params, study.best_metrics) == (2, trial.params, {"loss": 3.0})
    assert "1 told, 1 asked for and not told" in repr(study)
    with pytest.raises(UsageError, match="trial 2 was told already"):
        study.tell(given, 3.0)
    other = arbd.Study(search_space=SPACE, method="random", metric="loss", direction="minimize", seed=2).ask()
    for wrong in (other, 3, 0, -1):
        with pytest.raises(UsageError, match="is none of this study"):
            study.tell(wrong, 1.0)
    for wrong in (True, "1", 1.0, None):
        with pytest.raises(UsageError, match="tell takes a trial that ask gave, or its number"):
            study.tell(wrong, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_a_study_goes_on_from_a_pickle_as_it_would_have(method: str) -> None:
    study = study_of(method)
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, float(trial.number % 5))
    again = pickle.loads(pickle.dumps(study))
    assert [again.ask().params for _ in range(3)] == [study.ask().params for _ in range(3)]
