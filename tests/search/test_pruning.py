"""Pruning: the rules are those of Optuna's pruners, and what they look at depends on what is known alone."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.generation import Generation, decode_generation
from arbd.search.generations import GenerationPlanner
from arbd.search.in_process import Search
from arbd.search.plan import PRUNED, RUN
from arbd.search.problem import MetricGoal
from arbd.search.pruning import (
    MAX_COMPARED,
    MAX_REPORTS,
    Pruner,
    PruneRules,
    Reported,
    ReportedHistory,
    Thresholds,
    learnt_from,
)
from arbd.search.samplers import built_in
from arbd.search.space import FloatDimension, IntDimension, SearchSpace

Values = Mapping[int, float]
# Few values, so that equals, NaN and infinite ones meet.
values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0, math.nan, math.inf, -math.inf])
steps = st.dictionaries(st.integers(0, 6), values, max_size=6)


def optunas(rules: PruneRules) -> optuna.pruners.BasePruner | None:
    found: optuna.pruners.BasePruner | None = None
    if rules.compares:
        found = optuna.pruners.PercentilePruner(
            rules.percentile,
            n_startup_trials=rules.startup_trials,
            n_warmup_steps=rules.warmup_steps,
            n_min_trials=rules.min_trials,
        )
    return found if not rules.patience else optuna.pruners.PatientPruner(found, rules.patience, rules.min_delta)


def pruned_by_optuna(rules: PruneRules, direction: str, completed: Sequence[Values], own: Values) -> int | None:
    """The first step at which Optuna prunes."""
    pruner = optunas(rules)
    assert pruner is not None
    study = optuna.create_study(direction=direction, pruner=pruner)
    for reported in completed:
        study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=dict(reported)))
    trial = study.ask()
    for step in sorted(own):
        trial.report(own[step], step)
        if trial.should_prune():
            return step
    return None


def pruned_here(rules: PruneRules, direction: str, completed: Sequence[Values], own: Values) -> int | None:
    sign = MetricGoal("m", direction).sign
    history = ReportedHistory(rules, sign)
    for iteration, reported in enumerate(completed, 1):
        history.learn(iteration, list(reported.items()))
    pruner = Pruner(rules, sign, history.thresholds(len(completed)))
    return next((step for step in sorted(own) if pruner.look(step, own[step])), None)


def finite(reported: Values) -> dict[int, float]:
    return {step: value for step, value in reported.items() if math.isfinite(value)}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@settings(max_examples=60)
@given(
    st.builds(
        PruneRules,
        rule=st.sampled_from(["median", "percentile", "patient"]),
        percentile=st.sampled_from([50.0, 25.0, 10.0, 100.0]),
        startup_trials=st.integers(0, 4),
        min_trials=st.integers(1, 3),
        patience=st.integers(0, 3),
        min_delta=st.sampled_from([0.0, 0.3]),
    ).filter(lambda rules: rules.compares or rules.patience > 0),
    st.sampled_from(["maximize", "minimize"]),
    st.lists(steps, max_size=7),
    steps,
)
def test_who_is_pruned_and_when_is_as_with_optunas_pruners(
    rules: PruneRules, direction: str, completed: list[Values], own: Values
) -> None:
    # Between infinite values Optuna's percentile is NaN where this one is either of them; NaN counts for its `min_trials`,
    # and ends an iteration at steps that nobody else reached.
    completed, own = [finite(reported) for reported in completed], finite(own)
    # Of Optuna's the first `patience` steps are those that were reported, and so are they here.
    assert pruned_here(rules, direction, completed, own) == pruned_by_optuna(rules, direction, completed, own)


def test_warmup_steps_are_looked_at_by_nobody() -> None:
    good, bad = dict.fromkeys(range(10), 1.0), dict.fromkeys(range(10), 0.0)
    for warmup, patience in itertools.product((0, 4), (0, 2)):
        rules = PruneRules(startup_trials=1, warmup_steps=warmup, patience=patience)
        # A constant series is not worse than it was, so that patience never ends.
        assert pruned_here(rules, "maximize", [good], bad) == (None if patience else warmup)


@given(st.lists(steps, max_size=8), st.randoms(use_true_random=False))
def test_thresholds_are_of_what_is_known_in_whatever_order_it_came(
    reported: list[Values], chance: random.Random
) -> None:
    rules, n = PruneRules(startup_trials=0), len(reported)
    expected, shuffled = ReportedHistory(rules, 1.0), ReportedHistory(rules, 1.0)
    for iteration, found in enumerate(reported[: n // 2], 1):
        expected.learn(iteration, list(found.items()))
    order = list(enumerate(reported, 1))
    chance.shuffle(order)
    for iteration, found in order:
        # A row that another took the place of says nothing.
        shuffled.learn(iteration, [(1, 77.0)])
        shuffled.learn(iteration, list(found.items()))
    one, other = expected.thresholds(n // 2), shuffled.thresholds(n // 2)
    assert one.to_plain() == other.to_plain()


def test_pruned_and_failed_iterations_are_not_compared_with() -> None:
    history = ReportedHistory(PruneRules(startup_trials=1), 1.0)
    history.learn(1, [(1, 1.0)])
    history.learn(2, None)
    assert history.thresholds(2).at(1) == 1.0
    history.learn(1, None)
    assert not len(history.thresholds(2).steps)


def test_only_the_newest_are_compared_with_so_that_memory_is_bounded() -> None:
    history = ReportedHistory(PruneRules(startup_trials=1), 1.0)
    for iteration in range(1, MAX_COMPARED + 3):
        history.learn(iteration, [(1, 0.0 if iteration < 3 else 1.0), (iteration, 0.0)])
    found = history.thresholds(MAX_COMPARED + 2)
    assert found.at(1) == 1.0
    assert (math.isnan(found.at(2)), found.at(3)) == (True, 0.0)


@given(st.integers(0, 12 * MAX_REPORTS))
@settings(max_examples=30)
def test_of_any_number_of_values_a_bounded_one_is_kept_evenly_and_the_last(count: int) -> None:
    reported = Reported()
    for step in range(count):
        reported.add(step, float(step))
    kept = [step for step, _ in reported.values()]
    assert len(kept) <= MAX_REPORTS
    if count:
        assert (kept[0], kept[-1]) == (0, count - 1)
        gaps = {b - a for a, b in itertools.pairwise(kept[:-1])}
        assert len(gaps) <= 1
        assert len(kept) >= min(count, MAX_REPORTS // 2)


@given(st.lists(values, min_size=1, max_size=20), st.lists(values, min_size=20, max_size=20))
def test_what_was_pruned_is_learnt_from_as_of_the_worse_half(losses: list[float], last: list[float]) -> None:
    given_, reported = np.array(losses), np.array(last[: len(losses)])
    found = learnt_from(given_, reported)
    completed = given_[np.isfinite(given_)]
    known = ~np.isnan(given_)
    assert np.array_equal(found[known], given_[known])
    learnt = found[~known & ~np.isnan(reported)]
    if len(completed):
        assert ((learnt >= np.median(completed)) & (learnt <= completed.max())).all()
    else:
        assert np.isnan(learnt).all()


def spec_of(method: str, n: int, **changed: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "objective": ObjectiveSpec("python", ("m:f",)),
        "space": SearchSpace((FloatDimension("x", -1.0, 2.0), IntDimension("k", 1, 9))),
        "seed": 3,
        "metrics": (MetricGoal("loss", "minimize"),),
        "generation_size": 4,
        "prune": PruneRules(startup_trials=4),
    }
    return JobSpec(method=method, n=n, **(fields | changed))


def played(spec: JobSpec) -> tuple[list[dict[str, Any]], set[int]]:
    """The parameters of each iteration, and which were pruned."""
    search, pruned, rows = Search(spec), set[int](), list[dict[str, Any]]()
    assert spec.prune is not None
    for iteration in range(1, spec.n + 1):
        row = search.row(iteration)
        assert row is not None
        params = spec.space.rows(row.columns)[0]
        rows.append(params)
        loss = (params["x"] - 0.7) ** 2 + (params["k"] - 3) ** 2
        pruner, reports = Pruner(spec.prune, 1.0, search.thresholds(iteration)), []
        for step in range(5):
            reports.append((step, loss + 1 / (1 + step)))
            if int(row.origin[0]) == RUN and pruner.look(*reports[-1]):
                pruned.add(iteration)
                break
        is_pruned = iteration in pruned
        search.tell(iteration, None if is_pruned else {"loss": loss}, reports, pruned=is_pruned)
    return rows, pruned


@pytest.mark.parametrize("method", [*(m for m in built_in(learns=True) if m != "successive_halving"), "random"])
def test_every_method_prunes_and_goes_on_learning(method: str) -> None:
    size = 8 if method == "cmaes" else 4
    rows, pruned = played(spec_of(method, 64, generation_size=size))
    assert (16 if method == "random" else 2) <= len(pruned) < 56
    losses = [(p["x"] - 0.7) ** 2 + (p["k"] - 3) ** 2 for p in rows]
    best = int(np.argmin(losses)) + 1
    assert best not in pruned
    assert (rows, pruned) == played(spec_of(method, 64, generation_size=size))
    if method == "tpe":
        # What pruned sets tell is used: the second half is better than the first.
        assert np.median(losses[32:]) < np.median(losses[:32])


def test_a_point_that_was_pruned_is_not_suggested_again() -> None:
    space = SearchSpace((IntDimension("k", 1, 40), IntDimension("x", 0, 1)))
    rows, pruned = played(spec_of("tpe", 40, space=space))
    assert pruned
    keys = [(p["k"], p["x"]) for p in rows]
    assert len(set(keys)) == len(keys)


def test_a_generation_in_its_file_has_the_thresholds_and_one_without_reads_as_before() -> None:
    planner = GenerationPlanner(spec_of("tpe", 64), {})
    generation = planner.generation(1, [])
    assert b"prune" not in generation.encode()
    found = Generation(1, 1, generation.rows, thresholds=Thresholds(np.array([2, 9]), np.array([0.5, math.inf])))
    again = decode_generation(found.encode(), 1, "f")
    assert [again.thresholds.at(step) for step in (2, 9)] == [0.5, math.inf]
    assert all(math.isnan(again.thresholds.at(step)) for step in (-1, 0, 3, 10))
    assert len(decode_generation(generation.encode(), 1, "f").thresholds.steps) == 0
    for steps, losses in (([1], [1.0, 2.0]), ([2, 1], [1.0, 2.0]), ([1, 1], [1.0, 2.0])):
        broken = Thresholds(np.array(steps), np.array(losses))
        with pytest.raises(ValueError, match="thresholds of pruning"):
            decode_generation(Generation(1, 1, generation.rows, thresholds=broken).encode(), 1, "f")


def test_a_pruned_row_is_no_row_of_a_plan() -> None:
    assert PRUNED not in GenerationPlanner(spec_of("tpe", 64), {}).generation(1, []).rows.origin
