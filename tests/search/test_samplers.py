"""Samplers: parameters are a function of seed and iteration alone, and do what their name says."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from arbd.errors import UsageError
from arbd.search.samplers import built_in, make_sampler
from arbd.search.samplers.lhs import permuted
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from tests.conftest import REPOSITORY

SPACE = SearchSpace(
    (
        FloatDimension("real", -1.0, 2.0),
        FloatDimension("scale", 1e-4, 1.0, log=True),
        FloatDimension("step", 0.05, 0.5, step=0.01),
        IntDimension("count", 1, 30),
        IntDimension("octave", 1, 1000, log=True),
        IntDimension("even", 0, 20, step=2),
        ChoiceDimension("kind", ("a", "b", "c")),
    )
)
PLANNED = built_in(learns=False)
GOLDEN = REPOSITORY / "tests" / "golden" / "samplers.json"


def sampler(method: str, n: int = 10**6, seed: int = 42, space: SearchSpace = SPACE) -> Any:
    return make_sampler(method, space, seed, n, {})


@pytest.mark.parametrize("method", PLANNED)
@given(first=st.integers(1, 2000), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_a_range_alone_is_the_slice_of_the_whole(method: str, first: int, cuts: list[int]) -> None:
    whole = sampler(method).rows(first, sum(cuts))
    parts, at = [], first
    for count in cuts:
        parts.append(sampler(method).rows(at, count))
        at += count
    for name in SPACE.names:
        assert np.array_equal(whole[name], np.concatenate([part[name] for part in parts]))


@pytest.mark.parametrize("method", PLANNED)
def test_values_lie_where_the_space_says(method: str) -> None:
    columns = sampler(method, 2_000).rows(1, 2_000)
    rows = SPACE.rows(columns)
    for row in rows:
        assert -1 <= row["real"] <= 2
        assert 1e-4 <= row["scale"] <= 1
        assert row["step"] == round(row["step"], 2)
        assert 0.05 <= row["step"] <= 0.5
        assert 1 <= row["count"] <= 30
        assert 1 <= row["octave"] <= 1000
        assert row["even"] % 2 == 0
        assert row["kind"] in ("a", "b", "c")
    assert all(type(value) in (float, int, str) for value in rows[0].values())


@pytest.mark.parametrize("method", ["random", "sobol", "halton", "lhs"])
def test_every_value_of_small_dimensions_is_reached_evenly(method: str) -> None:
    columns = sampler(method, 3_000).rows(1, 3_000)
    for name, levels in (("kind", 3), ("count", 30), ("even", 11)):
        _, counts = np.unique(columns[name], return_counts=True)
        assert len(counts) == levels
        assert counts.min() > 0.5 * 3_000 / levels
    for name, low, high in (("scale", 1e-4, 1.0), ("octave", 0.5, 1000.5)):
        place = np.sort((np.log(columns[name]) - np.log(low)) / (np.log(high) - np.log(low)))
        # Kolmogorov-Smirnov distance to the uniform distribution; 0.05 is far beyond chance for 3,000 points.
        limit = 0.05 if name == "scale" else 0.2
        assert np.abs(place - np.arange(1, 3_001) / 3_000).max() < limit


@pytest.mark.parametrize("method", ["random", "sobol", "halton", "lhs"])
def test_another_seed_gives_other_points(method: str) -> None:
    assert not np.array_equal(sampler(method).rows(1, 50)["real"], sampler(method, seed=43).rows(1, 50)["real"])


def unit_points(method: str, n: int, dimensions: int) -> np.ndarray[Any, Any]:
    space = SearchSpace(tuple(FloatDimension(f"d{i}", 0.0, 1.0) for i in range(dimensions)))
    columns = make_sampler(method, space, 5, n, {}).rows(1, n)
    return np.column_stack(list(columns.values()))


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1_023, 5_000])
def test_a_latin_hypercube_hits_every_stratum_of_every_dimension_once(n: int) -> None:
    points = unit_points("lhs", n, 3)
    for column in points.T:
        assert sorted(np.minimum((column * n).astype(int), n - 1)) == list(range(n))


@given(n=st.integers(1, 3_000), key=st.integers(0, 2**62))
@settings(max_examples=40, deadline=None)
def test_the_keyed_permutation_is_one(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permuted(np.arange(n), n, key)), np.arange(n))


@pytest.mark.parametrize("method", ["sobol", "halton", "lhs"])
def test_space_filling_methods_fill_more_evenly_than_random(method: str) -> None:
    assert qmc.discrepancy(unit_points(method, 256, 2)) < 0.5 * qmc.discrepancy(unit_points("random", 256, 2))


def test_a_grid_is_every_combination_once_in_order() -> None:
    space = SearchSpace((IntDimension("a", 1, 3), ChoiceDimension("b", ("x", "y")), FloatDimension("c", 0.0, 1.0)))
    rows = space.rows(make_sampler("grid", space, 0, 18, {"a": 3, "c": 3}).rows(1, 18))
    expected = [{"a": a, "b": b, "c": c} for a in (1, 2, 3) for b in ("x", "y") for c in (0.0, 0.5, 1.0)]
    assert rows == expected


@pytest.mark.parametrize(
    ("dimension", "points", "values"),
    [
        (IntDimension("i", 1, 3), 5, [1, 2, 3]),
        (IntDimension("i", 1, 100, log=True), 3, [1, 10, 100]),
        (IntDimension("i", 1, 4, log=True), 9, [1, 2, 3, 4]),
        (IntDimension("i", 1, 9), 1, [5]),
        (IntDimension("i", 1, 100, log=True), 1, [10]),
        (FloatDimension("f", 0.0, 1.0), 5, [0, 0.25, 0.5, 0.75, 1.0]),
        (FloatDimension("f", 0.01, 1.0, log=True), 3, [0.01, 0.1, 1.0]),
        (FloatDimension("f", 0.0, 1.0), 1, [0.5]),
        (FloatDimension("f", 0.01, 1.0, log=True), 1, [0.1]),
        (FloatDimension("f", 0.05, 0.10, step=0.01), 3, [0.05, 0.07, 0.1]),
        (ChoiceDimension("c", ("a", "b")), 9, [0, 1]),
    ],
)
def test_grid_points_of_a_dimension(dimension: Any, points: int, values: list[float]) -> None:
    assert dimension.grid(points).tolist() == pytest.approx(values)


@pytest.mark.parametrize("step", [1e-300, 1e-15, 1.5e-5, 0.1, 1 / 3, 7.25, 1e300, 5e-324])
def test_a_step_of_any_size_gives_the_values_that_it_says(step: float) -> None:
    dimension = FloatDimension("x", 0.0, step * 7, step=step)
    values = dimension.grid(8)
    assert values.tolist() == pytest.approx([step * k for k in range(8)], rel=1e-12, abs=0)
    assert dimension.column(values.tolist()).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("low", "high", "step", "expected"),
    [
        (0.05, 0.12, 0.01, [0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.11, 0.12]),
        (-0.3, 0.3, 0.1, [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]),
        (1.5e-9, 6e-9, 1.5e-9, [1.5e-9, 3e-9, 4.5e-9, 6e-9]),
        # Within the tolerance of a float the last step is there, but never beyond the bound.
        (0.1, 0.7999999999999999, 0.1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7999999999999999]),
    ],
)
def test_steps_are_as_they_are_written_and_within_the_bounds(
    low: float, high: float, step: float, expected: list[float]
) -> None:
    assert FloatDimension("x", low, high, step=step).grid(100).tolist() == expected


def test_tiny_steps_stay_within_the_bounds() -> None:
    dimension = FloatDimension("x", 1e-25, 1e-23, step=3e-25)
    values = dimension.grid(100)
    assert len(values) == 34
    assert values.min() >= 1e-25
    assert values.max() <= 1e-23
    assert dimension.column(values.tolist()).tolist() == values.tolist()


def digest(columns: dict[str, Any]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(columns[name]).tobytes() for name in SPACE.names)).hexdigest()


@pytest.mark.parametrize("method", PLANNED)
def test_no_version_changes_what_a_seed_gives(method: str) -> None:
    assert digest(sampler(method).rows(1, 200)) == json.loads(GOLDEN.read_text())[method]


def test_a_method_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown method"):
        make_sampler("guess", SPACE, 1, 1, {})
