"""Parameters that exist only where others have certain values: what methods suggest, count and learn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.search.in_process import Search
from arbd.search.plan import NonAdaptivePlan
from arbd.search.samplers import built_in
from arbd.search.samplers.grid import ConditionalGrid, GridSampler, dimension_points, grid_size
from arbd.search.space import (
    ChoiceDimension,
    Columns,
    Condition,
    Dimension,
    FloatDimension,
    IntDimension,
    SearchSpace,
    Value,
)
from arbd.search.unit_view import UnitView
from tests.search.test_guided import Metrics, played, spec_of

ADAPTIVE, FIXED = built_in(learns=True), built_in(learns=False)
NESTED = SearchSpace(
    (
        FloatDimension("window", 0.0, 1.0),
        ChoiceDimension("strategy", ("plain", "mean", "band")),
        ChoiceDimension("side", ("both", "one")),
        IntDimension("venue", 1, 3),
    ),
    (
        Condition("window", "strategy", ("mean", "band")),
        Condition("side", "strategy", ("band",)),
        Condition("venue", "side", ("one",)),
    ),
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Up to five dimensions in any order, each with conditions on any of those that came before it, or with none."""
    made: list[Dimension] = []
    conditions: list[Condition] = []
    for number in range(draw(st.integers(2, 5))):
        name = f"p{number}"
        kind = draw(st.sampled_from(("choice", "int", "float")))
        for parent in made:
            if isinstance(parent, FloatDimension) or not draw(st.booleans()):
                continue
            values: tuple[Value, ...] = (
                parent.values if isinstance(parent, ChoiceDimension) else tuple(range(parent.low, parent.high + 1))
            )
            some = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
            conditions.append(Condition(name, parent.name, tuple(some)))
        if kind == "choice":
            made.append(ChoiceDimension(name, ("a", 2, True)[: draw(st.integers(1, 3))]))
        elif kind == "int":
            made.append(IntDimension(name, 1, draw(st.integers(1, 4))))
        else:
            made.append(FloatDimension(name, 0.0, 1.0, step=draw(st.sampled_from((None, 0.25)))))
    return SearchSpace(tuple(draw(st.permutations(made))), tuple(draw(st.permutations(conditions))))


def existing(space: SearchSpace, whole: Mapping[str, Any]) -> set[str]:
    """The parameters that a set with a value for every one of them has: the rule itself, one by one."""

    def exists(name: str) -> bool:
        return all(
            exists(c.parent) and any(type(v) is type(whole[c.parent]) and v == whole[c.parent] for v in c.values)
            for c in space.conditions
            if c.name == name
        )

    return {name for name in space.names if exists(name)}


def worth(params: Mapping[str, Any]) -> Metrics:
    return {"loss": sum((float(len(str(value))) - 0.4 * len(name)) ** 2 for name, value in params.items())}


def settled(space: SearchSpace, columns: Columns) -> bool:
    return all(np.array_equal(columns[name], column) for name, column in space.settled(columns).items())


@given(spaces(), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_rows_have_what_exists_and_go_to_columns_and_the_cube_and_back(space: SearchSpace, seed: int) -> None:
    points = np.random.default_rng(seed).random((20, len(space.dimensions)))
    whole = space.unconditional.rows(space.unconditional.from_unit(points))
    columns = space.from_unit(points)
    rows = space.rows(columns)
    assert [set(row) for row in rows] == [existing(space, each) for each in whole]
    assert settled(space, columns)
    back = space.encode([{**each, **row} for each, row in zip(whole, rows, strict=True)])
    assert all(np.array_equal(back[name], columns[name]) for name in space.names)
    view = UnitView.of(space)
    for seen in (space.from_unit(np.minimum(space.to_unit(columns), 1 - 1e-12)), view.from_unit(view.to_unit(columns))):
        assert [set(row) for row in space.rows(seen)] == [set(row) for row in rows]
        assert settled(space, seen)


@given(spaces(), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_what_stands_where_a_parameter_does_not_exist_reaches_no_method(space: SearchSpace, seed: int) -> None:
    points = np.random.default_rng(seed).random((20, len(space.dimensions)))
    columns = space.from_unit(points)
    other = space.unconditional.from_unit(np.random.default_rng(seed + 1).random(points.shape))
    exist = space.active(columns)
    noisy = {name: np.where(exist[name], c, other[name]) if name in exist else c for name, c in columns.items()}
    assert np.array_equal(UnitView.of(space).to_unit(noisy), UnitView.of(space).to_unit(columns))


@pytest.mark.parametrize("method", [*ADAPTIVE, *FIXED])
@given(space=spaces(), seed=st.integers(0, 2**32))
@settings(max_examples=3, deadline=None)
def test_no_method_proposes_what_does_not_exist_or_counts_it_as_a_difference(
    method: str, space: SearchSpace, seed: int
) -> None:
    size = {"generation_size": 4} if method in ADAPTIVE else {"generation_size": 0}
    n = min(16, grid_size(space, {})) if method == "grid" else 16
    spec = spec_of(method, n, space=space, seed=seed, **size)
    search, seen = Search(spec), dict[tuple[Any, ...], int]()
    for iteration in range(1, n + 1):
        row = search.row(iteration)
        assert row is not None
        assert settled(space, row.columns)
        params = space.rows(row.columns)[0]
        key = (*((name, type(value), value) for name, value in sorted(params.items())), str(row.budget))
        # A repeat is known as one, whatever stands in the columns of what it does not have.
        if method != "grid" and (space.size is not None or method in ADAPTIVE):
            assert (int(row.origin[0]) or iteration) == seen.setdefault(key, iteration)
        search.tell(iteration, worth(params))


@given(spaces(), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_grid_has_every_set_that_exists_once(space: SearchSpace, points: int) -> None:
    given_points = dict.fromkeys(space.names, points)
    each = [dimension_points(d, given_points) for d in space.dimensions]
    whole = GridSampler(space.names, tuple(each)).rows(1, int(np.prod([len(column) for column in each])))
    expected = {tuple(row.items()) for row in space.rows(space.settled(whole))}
    n = grid_size(space, given_points)
    plan = NonAdaptivePlan(spec_of("grid", n, space=space, generation_size=0, grid_points=given_points))
    found = [tuple(row.items()) for row in space.rows(plan.rows(1, n).columns)]
    assert len(found) == len(set(found)) == len(expected)
    assert set(found) == expected
    middle = plan.rows(1 + n // 3, n - n // 3)
    assert [tuple(row.items()) for row in space.rows(middle.columns)] == found[n // 3 :]


def test_a_grid_of_a_million_sets_makes_those_that_are_asked_for() -> None:
    space = SearchSpace(
        (*NESTED.dimensions, *(FloatDimension(f"w{i}", 0.0, 1.0) for i in range(4))),
        (*NESTED.conditions, Condition("w0", "strategy", ("band",))),
    )
    points = dict.fromkeys(space.names, 20)
    grid = ConditionalGrid.of(space, points)
    # plain; mean beside 20 windows; band beside 20 windows, 20 of w0, and one of both or the three venues of one.
    assert grid.size == 20**3 * (1 + 20 + 20 * 20 * (1 + 3))
    last = space.rows(grid.rows(grid.size, 1))[0]
    assert last == dict.fromkeys(("window", "w0", "w1", "w2", "w3"), 1.0) | {
        "strategy": "band", "side": "one", "venue": 3
    }  # fmt: skip


@pytest.mark.parametrize("method", [*ADAPTIVE, "random", "lhs"])
def test_points_to_try_first_are_filled_in_where_they_leave_open_what_exists(method: str) -> None:
    size = {"generation_size": 4} if method in ADAPTIVE else {"generation_size": 0}
    enqueue = ({"strategy": "band", "side": "one"}, {"strategy": "plain"}, {"strategy": "mean", "window": 0.25})
    spec = spec_of(method, 4, space=NESTED, enqueue=enqueue, **size)
    rows, _ = played(spec, worth)
    given_sets = [{name: row[name] for name in NESTED.names if name in row} for row in rows[:3]]
    assert {*given_sets[0]} == {"strategy", "side", "window", "venue"}
    assert given_sets[1] == {"strategy": "plain"}
    assert given_sets[2] == {"strategy": "mean", "window": 0.25}


@pytest.mark.parametrize("method", FIXED)
def test_points_to_try_first_are_the_same_whichever_range_is_asked_for(method: str) -> None:
    enqueue = ({"strategy": "band"}, {"strategy": "band"}, {"strategy": "band"})
    plan = NonAdaptivePlan(spec_of(method, 4, space=NESTED, enqueue=enqueue, generation_size=0))
    whole = plan.rows(1, 4).columns
    for first, count in itertools.combinations(range(1, 5), 2):
        part = plan.rows(first, 5 - count).columns if first + 4 - count <= 4 else plan.rows(first, 1).columns
        n = len(part["window"])
        assert all(np.array_equal(part[name], whole[name][first - 1 : first - 1 + n]) for name in whole)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_constraint_holds_where_a_parameter_that_it_names_does_not_exist(method: str) -> None:
    spec = spec_of(method, 24, space=NESTED, constraints=("window < 0.5", "loss + 0 * venue < 100"), generation_size=4)
    rows, _ = played(spec, lambda params: {"loss": params.get("window", 1.0) + (params["strategy"] != "plain")})
    assert all(row["origin"] >= 0 for row in rows)
    assert all(row.get("window", 0.0) < 0.5 for row in rows)
    assert any(row["strategy"] == "plain" for row in rows)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_winning_branch_and_its_own_parameter_are_found(method: str) -> None:
    def objective(params: Mapping[str, Any]) -> Metrics:
        if params["strategy"] != "band":
            return {"loss": 2.0 + params.get("window", 0.0)}
        return {"loss": (params["window"] - 0.3) ** 2 + (0.2 if params["side"] == "both" else 0.1 * params["venue"])}

    _, results = played(spec_of(method, 64, space=NESTED, generation_size=4), objective)
    assert min(found["loss"] for found in results if found is not None) < 0.2


def test_the_faults_of_conditions_name_what_is_wrong() -> None:
    def faults(*conditions: Condition) -> list[str]:
        return [f"{name}: {fault}" for name, fault in SearchSpace(NESTED.dimensions, conditions).faults()]

    assert faults(*NESTED.conditions) == []
    assert faults(Condition("side", "strategi", ("band",))) == [
        "side: 'strategi' is not searched; did you mean 'strategy'? searched are window, strategy, venue"
    ]
    assert faults(Condition("side", "strategy", ("bnd",))) == [
        "side: strategy: 'bnd' is not one of 'plain', 'mean', 'band'; did you mean 'band'?"
    ]
    assert "real number" in faults(Condition("side", "window", (0.5,)))[0]
    assert "[1, 3]" in faults(Condition("side", "venue", (4,)))[0]
    assert faults(Condition("side", "side", ("both",))) == ["side: conditions go round in a circle: side needs side"]
    circle = (Condition("strategy", "venue", (1,)), Condition("venue", "side", ("one",)), NESTED.conditions[1])
    assert "circle: strategy needs venue needs side needs strategy" in faults(*circle)[0]
