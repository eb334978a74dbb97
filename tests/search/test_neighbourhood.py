"""Neighbours of a set: one number a little more or less, everything else to the bit, and nothing that may not run."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.arrays import Mask
from arbd.search.neighbourhood import NEAR, most_neighbours, near_of, with_neighbours
from arbd.search.space import (
    ChoiceDimension,
    Columns,
    Condition,
    Dimension,
    FloatDimension,
    IntDimension,
    SearchSpace,
)

KINDS: list[Dimension] = [
    FloatDimension("f", -2.0, 3.0),
    FloatDimension("log_f", 1e-3, 50.0, log=True),
    FloatDimension("stepped", 0.05, 0.5, step=0.15),
    FloatDimension("fine", 0.0, 1.0, step=0.001),
    FloatDimension("one", 2.0, 2.0),
    IntDimension("i", -3, 4),
    IntDimension("log_i", 1, 5_000, log=True),
    IntDimension("third", 1, 100, step=3),
    IntDimension("single", 7, 7),
    ChoiceDimension("c", ("a", 2, None, True)),
]


def everything(_columns: Columns, n: int) -> Mask:
    return np.ones(n, dtype=bool)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    dimensions = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6, unique_by=lambda d: d.name))
    names = {d.name for d in dimensions}
    conditions = [Condition("f", "c", ("a", None)), Condition("third", "i", (0, 1, 2, 3))]
    return SearchSpace(
        tuple(dimensions), tuple(c for c in conditions if {c.name, c.parent} <= names and draw(st.booleans()))
    )


@settings(max_examples=150, deadline=None)
@given(spaces(), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_neighbour_differs_in_one_number_within_its_bounds_and_has_the_same_parameters(
    space: SearchSpace, n: int, seed: int
) -> None:
    points = np.random.default_rng(seed).random((n, len(space.dimensions)))
    sets = space.from_unit(points)
    found, owners = with_neighbours(space, sets, everything)
    assert owners[:n].tolist() == list(range(n))
    assert len(owners) <= n * (1 + most_neighbours(space))
    rows = space.rows(found)
    # What a row has survives the way that every iteration's parameters go.
    assert all(np.array_equal(column, found[name]) for name, column in space.encode(rows).items())
    for row, owner in list(enumerate(owners.tolist()))[n:]:
        own = rows[owner]
        assert rows[row].keys() == own.keys()
        (changed,) = [
            name for name in own if rows[row][name] != own[name] or type(rows[row][name]) is not type(own[name])
        ]
        dimension = next(d for d in space.dimensions if d.name == changed)
        assert not isinstance(dimension, ChoiceDimension)
        assert dimension.low <= rows[row][changed] <= dimension.high
        places = dimension.to_unit(np.array([own[changed], rows[row][changed]]))
        coarse = isinstance(dimension, IntDimension) and dimension.log
        assert abs(places[1] - places[0]) <= 1.5 * near_of(dimension) + 1e-9 or (
            coarse and abs(own[changed] - rows[row][changed]) == dimension.step
        )


@settings(max_examples=100, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_a_set_by_itself_has_the_neighbours_that_it_has_among_others_to_the_bit(space: SearchSpace, seed: int) -> None:
    sets = space.from_unit(np.random.default_rng(seed).random((7, len(space.dimensions))))
    together, owners = with_neighbours(space, sets, everything)
    for at in range(7):
        alone, _ = with_neighbours(space, {name: column[at : at + 1] for name, column in sets.items()}, everything)
        for name, column in alone.items():
            assert column.tobytes() == together[name][owners == at].tobytes()


def test_every_number_in_the_middle_has_a_neighbour_on_either_side_and_at_a_bound_on_one() -> None:
    for dimension in (d for d in KINDS if near_of(d)):
        space = SearchSpace((dimension,))
        for place, count in ((0.5, 2), (0.0, 1), (np.nextafter(1.0, 0.0), 1)):
            found, owners = with_neighbours(space, space.from_unit(np.array([[place]])), everything)
            if dimension.name == "one":
                assert len(owners) == 1
                continue
            assert len(owners) == 1 + count, (dimension, place)
            values = found[dimension.name]
            assert count == 1 or values[1] < values[0] < values[2]


def test_what_may_not_run_is_no_neighbour() -> None:
    space = SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 0.0, 1.0)))
    found, owners = with_neighbours(
        space, {"x": np.array([0.5]), "y": np.array([0.5])}, lambda columns, n: columns["x"] <= columns["y"]
    )
    assert sorted(zip(found["x"].tolist(), found["y"].tolist(), strict=True)) == [
        (0.5 - NEAR, 0.5), (0.5, 0.5), (0.5, 0.5 + NEAR),
    ]  # fmt: skip
    assert owners.tolist() == [0, 0, 0]


@st.composite
def dimensions(draw: st.DrawFn) -> Dimension:
    low = draw(st.floats(1e-3, 1e3))
    high = low * draw(st.sampled_from([1.0, 1.01, 1.7, 2.9, 1e4]))
    kind = draw(st.sampled_from(["linear", "log", "step", "int", "log_int"]))
    if kind == "step":
        return FloatDimension("x", low, high, step=max(high - low, low) / draw(st.integers(1, 70)))
    if kind in ("linear", "log"):
        return FloatDimension("x", low, high, log=kind == "log")
    log = kind == "log_int"
    return IntDimension(
        "x", max(1, int(low)), max(1, int(low), int(high)), log=log, step=1 if log else draw(st.integers(1, 3))
    )


@settings(max_examples=300, deadline=None)
@given(dimensions(), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5))
def test_no_neighbour_is_the_set_but_for_rounding_or_twice_there_or_out_of_bounds(
    dimension: Dimension, places: list[float]
) -> None:
    assert not isinstance(dimension, ChoiceDimension)
    top = dimension.high if isinstance(dimension, FloatDimension) and dimension.step is None else dimension.low
    values = np.concatenate(
        [dimension.from_unit(np.array([*places, 0.0, np.nextafter(1.0, 0.0)])), [dimension.low, top]]
    )
    found, owners = with_neighbours(SearchSpace((dimension,)), {"x": values}, everything)
    column = found["x"].astype(np.float64)
    assert np.isfinite(column).all()
    assert ((dimension.low <= column) & (column <= dimension.high)).all()
    for row in range(len(values)):
        own, *others = column[owners == row].tolist()
        assert len(others) <= most_neighbours(SearchSpace((dimension,)))
        for one in range(len(others)):
            for other in (own, *others[:one]):
                assert abs(others[one] - other) > 1e-12 * abs(other), (own, others)
        if dimension.low < dimension.high and (not isinstance(dimension, IntDimension) or dimension.levels > 1):
            assert others or near_of(dimension) == 0
