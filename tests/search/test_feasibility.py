"""Constraints on metrics: how far from broken, a model for each, and searches that keep them more often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.arrays import Ints
from arbd.search.conditions import Condition
from arbd.search.constraints import parse_constraint
from arbd.search.generations import GenerationPlanner
from arbd.search.history import History
from arbd.search.models.feasibility import MOST_MODELS, Feasibility
from arbd.search.plan import HOLDS
from arbd.search.problem import WarmStart
from arbd.search.samplers import built_in
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.search.trial_history import TrialResults
from tests.search.test_guided import best, played, spec_of

SQUARE = SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 0.0, 1.0)))
KEPT = ("trades >= 30", "drawdown < 0.4")
TEXTS = st.sampled_from(
    [
        "a < b", "a <= b", "a > b", "a >= b", "a == b", "a != b", "a < b < c", "a < b and c > 1", "a < b or c > 1",
        "not a < b", "not (a < b or c == 2)", "abs(a) * 2 <= max(b, c)", "a < b and b < c and c < 3",
    ]
)  # fmt: skip
NUMBERS = st.sampled_from([math.nan, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 1e6])


def risky(params: Mapping[str, Any]) -> dict[str, float]:
    """The best lies where both constraints are broken."""
    return {
        "loss": (params["x"] - 0.9) ** 2 + (params["y"] - 0.9) ** 2,
        "trades": 100.0 * (1.0 - params["x"]),
        "drawdown": 0.5 * params["y"] + 0.2 * params["x"],
    }


def kept(result: Mapping[str, float] | None) -> bool:
    assert result is not None
    return result["trades"] >= 30 and result["drawdown"] < 0.4


@given(text=TEXTS, rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6))
def test_a_margin_is_above_zero_where_a_constraint_is_broken_and_unknown_where_that_is(
    text: str, rows: list[tuple[float, float, float]]
) -> None:
    constraint = parse_constraint(text)
    values = dict(zip("abc", np.array(rows).T, strict=True))
    margin, violation = constraint.margin(values, len(rows)), constraint.violation(values, len(rows))
    assert (violation[margin > 0] > 0).all()
    assert (violation[margin < 0] == 0).all()
    assert np.isinf(violation[np.isnan(margin)]).all()


def test_what_does_not_concern_a_set_is_kept_by_it_and_nothing_is_known_of_results_from_elsewhere() -> None:
    dimensions = ChoiceDimension("kind", ("a", "b")), FloatDimension("x", 0.0, 1.0)
    space = SearchSpace(dimensions, (Condition("x", "kind", ("b",)),))
    past = WarmStart("elsewhere", ({"kind": "b", "x": 0.5},), ((1.0,),))
    spec = spec_of("tpe", 20, space=space, constraints=("x < loss",), past=past)
    planner = GenerationPlanner(spec, {})
    columns = space.encode([{"kind": "a"}, {"kind": "b", "x": 0.75}])
    planner.learn(
        TrialResults(
            np.array([1, 2]), np.ones(2, dtype=bool), np.zeros(2, dtype=np.int64), columns, {"loss": np.full(2, 0.5)}
        )
    )
    margins = planner.trial_history.history(2, None).margins
    assert margins is not None
    assert math.isnan(margins[0, 0])
    assert margins[1:, 0].tolist() == [HOLDS, 0.25]


@pytest.mark.parametrize(("method", "near"), [("bayesian", 0.01), ("tpe", 0.06)])
def test_a_search_finds_the_best_that_keeps_its_constraints(method: str, near: float) -> None:
    spec = spec_of(method, 48, space=SQUARE, constraints=KEPT, generation_size=2)
    _, results = played(spec, risky)
    # At x = 0.7, y = 0.52.
    least = 0.04 + 0.38**2
    assert best([r for r in results if kept(r)]) < least + near
    if method == "bayesian":
        plain = played(spec_of("random", 48, space=SQUARE, generation_size=0), risky)[1]
        assert sum(map(kept, results[24:])) >= sum(map(kept, plain[24:]))


@pytest.mark.parametrize("method", built_in(learns=True))
def test_whoever_computes_a_generation_under_constraints_gets_the_same_bytes(method: str) -> None:
    spec = spec_of(method, 24, space=SQUARE, constraints=KEPT, generation_size=4)
    first, _ = played(spec, risky)
    again, _ = played(spec, risky)
    assert first == again


def _history(margins: np.ndarray[Any, Any]) -> History:
    n = len(margins)
    rng = np.random.default_rng(1)
    nothing = History.empty(2, 1)
    violation = np.nan_to_num(np.maximum(margins, 0.0)).sum(axis=1)
    return History(
        rng.random((n, 2)), rng.random((n, 1)), violation, np.ones(n), nothing.pending, nothing.pending_budget, margins
    )


def _feasibility(history: History) -> Feasibility:
    everything: Ints = np.arange(len(history))
    return Feasibility.of(history, everything, lambda among: everything[among], np.zeros(2, dtype=bool))


def test_a_constraint_that_all_keep_or_nobody_knows_needs_no_model() -> None:
    rng = np.random.default_rng(2)
    margins = np.column_stack([rng.random(12) - 2, np.full(12, np.nan), rng.random(12) - 0.5])
    assert len(_feasibility(_history(margins)).terms) == 1


@pytest.mark.parametrize("count", [1, MOST_MODELS, MOST_MODELS + 2])
def test_many_constraints_share_models_and_each_counts(count: int) -> None:
    margins = np.full((16, count), -1.0)
    history = _history(margins)
    for column in {0, count - 1}:
        broken = _history(np.where((np.arange(count) == column) & (history.points[:, :1] > 0.5), 1.0, margins))
        found = _feasibility(broken)
        assert len(found.terms) <= MOST_MODELS
        low, high = found.log_probability(np.array([[0.1, 0.5], [0.9, 0.5]]))
        assert low > high
