"""What a job's author chooses without a meaning changes nothing: names, the order of choices, units and zero of a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from arbd.search.samplers import built_in
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from tests.search.test_guided import Metrics, bowl, played, spec_of

ADAPTIVE = built_in(learns=True)
N = 48


def space(kinds: tuple[Any, ...] = ("a", "b", "c"), names: tuple[str, ...] = ("x", "k", "kind")) -> SearchSpace:
    return SearchSpace(
        (
            FloatDimension(names[0], -1.0, 2.0),
            IntDimension(names[1], 1, 100, log=True),
            ChoiceDimension(names[2], kinds),
        )
    )


def params(method: str, given: SearchSpace, objective: Callable[[Mapping[str, Any]], Metrics]) -> list[tuple[Any, ...]]:
    rows, _ = played(spec_of(method, N, space=given, generation_size=4), objective)
    return [(*(row[name] for name in given.names), row["origin"]) for row in rows]


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("order", [("c", "a", "b"), ("b", "a", "c"), ("c", "b", "a")])
def test_the_order_in_which_the_values_of_a_choice_are_written(method: str, order: tuple[str, ...]) -> None:
    assert params(method, space(order), bowl) == params(method, space(), bowl)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_order_of_numbers_booleans_and_texts_in_one_choice(method: str) -> None:
    values = (True, 1.5, "1", 2, "zero", False)
    worth = {value: float(at) for at, value in enumerate(values)}

    def objective(p: Mapping[str, Any]) -> Metrics:
        return {"loss": worth[p["kind"]] + p["x"]}

    assert params(method, space(values[::-1]), objective) == params(method, space(values), objective)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_names_of_parameters(method: str) -> None:
    names = ("z_first", "a_second", "m_third")

    def renamed(p: Mapping[str, Any]) -> Metrics:
        return bowl(dict(zip(("x", "k", "kind"), (p[name] for name in names), strict=True)))

    assert params(method, space(names=names), renamed) == params(method, space(), bowl)


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize(("factor", "zero"), [(1_000.0, 0.0), (1.0, 3.0), (0.001, -50.0), (1e9, 1e9)])
def test_the_unit_and_the_zero_of_a_metric(method: str, factor: float, zero: float) -> None:
    def other(p: Mapping[str, Any]) -> Metrics:
        return {"loss": factor * (bowl(p) or {})["loss"] + zero}

    assert params(method, space(), other) == params(method, space(), bowl)


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_losses_whose_differences_are_too_large_for_numbers(method: str) -> None:
    def huge(p: Mapping[str, Any]) -> Metrics:
        # From about the least to about the largest number there is: the losses of a bowl are 0 to 11.
        return {"loss": ((bowl(p) or {})["loss"] - 5.5) * 2.0**1021}

    def small(p: Mapping[str, Any]) -> Metrics:
        return {"loss": (bowl(p) or {})["loss"] - 5.5}

    assert params(method, space(), huge) == params(method, space(), small)
