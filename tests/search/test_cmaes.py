"""CMA-ES: strategies that take turns, runs that follow one another, parameters of few values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.search.history import History
from arbd.search.models.distributions import Mixed, Numbers, has_shares
from arbd.search.models.evolution import Chain, beginning
from arbd.search.samplers import make_adaptive
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace, Unit
from arbd.search.trial_history import TrialHistory
from tests.search.test_conditions import NESTED
from tests.search.test_guided import SPACE, TINY, everywhere, played, spec_of

REAL = SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 0.0, 1.0)))
SPACES = {
    "real": REAL,
    "one": SearchSpace((FloatDimension("x", 0.0, 1.0),)),
    "mixed": SPACE,
    "coarse": SearchSpace((IntDimension("k", 0, 20), FloatDimension("s", 0.0, 1.0, step=0.05))),
    "choices": SearchSpace(tuple(ChoiceDimension(name, ("a", "b", "c")) for name in "pq")),
    "fixed": SearchSpace((FloatDimension("x", 0.0, 1.0), ChoiceDimension("only", ("a",)), IntDimension("one", 3, 3))),
    "tiny": TINY,
    "nested": NESTED,
}


def history_of(points: Unit, losses: npt.NDArray[np.float64], pending: int = 0) -> History:
    n = len(points) - pending
    shares = np.ones(pending)
    return History(points[:n], losses[:n, None], np.zeros(n), np.ones(n), points[n:], shares)


def asked(space: SearchSpace, points: Unit, losses: npt.NDArray[np.float64], lag: int, size: int = 4) -> Unit:
    """The generation after so many results, of which the last `lag` - 1 generations are pending."""
    spec = spec_of("cmaes", 400, space=space, generation_size=size, generation_lag=lag)
    found = make_adaptive(spec).suggest(1, size, history_of(points, losses, (lag - 1) * size), everywhere)
    return found.points


@given(lag=st.integers(1, 4), generations=st.integers(4, 9), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_a_strategy_sees_its_own_generations_alone(lag: int, generations: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, losses = rng.random((generations * 4, 2)), rng.random(generations * 4)
    mine = np.arange(generations) % lag == generations % lag
    others = np.repeat(~mine, 4)
    moved, worse = points.copy(), losses.copy()
    moved[others] = rng.random((int(others.sum()), 2))
    worse[others] = rng.random(int(others.sum()))
    assert np.array_equal(asked(REAL, points, losses, lag), asked(REAL, moved, worse, lag))
    if mine[: generations - lag + 1].any():
        first = int(np.flatnonzero(mine)[0]) * 4
        swapped = losses.copy()
        swapped[first : first + 4] = losses[first : first + 4][::-1]
        assert not np.array_equal(asked(REAL, points, losses, lag), asked(REAL, points, swapped, lag))


def told(chain: Chain, loss: Callable[[Unit, int], float], populations: int) -> list[int]:
    """The sizes of the populations of a chain, each told as it was drawn."""
    sizes: list[int] = []
    losses: list[float] = []
    for number in range(populations):
        chain.reseed(number)
        drawn = [chain.run.draw() for _ in range(chain.size)]
        rows = np.arange(number * chain.size, (number + 1) * chain.size)
        losses += [loss(point, int(row)) for row, (point, _) in zip(rows, drawn, strict=True)]
        sizes.append(chain._parts)
        places = np.argsort(np.argsort(np.array(losses), kind="stable")).astype(np.float64)
        chain.tell(np.array([draw for _, draw in drawn]), rows, np.ones(chain.size, dtype=bool), places)
    return sizes


@pytest.mark.parametrize("name", SPACES)
def test_a_run_that_finds_nothing_better_is_followed_by_larger_and_smaller_ones(name: str) -> None:
    space = SPACES[name]
    chain = Chain(space, 1, 0, 6, beginning(len(space.dimensions), np.empty((0, len(space.dimensions))), []))
    first = chain.run
    sizes = told(chain, lambda point, row: float(row), 250)
    assert chain.run is not first
    assert sizes[0] == 1
    # The first after it has twice the population; what it had is then given to small ones.
    assert next(size for size in sizes if size > 1) == 2
    assert 1 in sizes[sizes.index(2) :]
    assert max(sizes) >= 4


def test_a_run_that_finds_better_points_goes_on() -> None:
    chain = Chain(REAL, 1, 0, 6, beginning(2, np.empty((0, 2)), []))
    first = chain.run
    told(chain, lambda point, row: float(((point - 0.3) ** 2).sum()), 40)
    assert chain.run is first


def test_runs_begin_in_different_places_and_the_first_in_the_middle() -> None:
    chain = Chain(REAL, 1, 0, 6, beginning(2, np.empty((0, 2)), []))
    assert chain.run.neutral().tolist() == [0.5, 0.5]
    told(chain, lambda point, row: float(row), 60)
    other = Chain(REAL, 1, 1, 6, beginning(2, np.empty((0, 2)), []))
    told(other, lambda point, row: float(row), 60)
    means = [chain.run.neutral().tolist(), other.run.neutral().tolist()]
    assert [0.5, 0.5] not in means
    assert means[0] != means[1]


@pytest.mark.parametrize("name", SPACES)
def test_a_draw_leads_back_to_its_point(name: str) -> None:
    space = SPACES[name]
    chain = Chain(space, 3, 0, 4, beginning(len(space.dimensions), np.empty((0, len(space.dimensions))), []))
    assert isinstance(chain.run, Mixed if has_shares(space) else Numbers)
    for _ in range(20):
        point, draw = chain.run.draw()
        (again,) = chain.run.draws_of(point[None, :])
        assert again.shape == draw.shape == chain.run.neutral().shape
        exist = np.ones((1, len(point)), dtype=bool)
        assert chain.run.parts(exist).shape == (1, len(draw))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("lag", [1, 2])
def test_it_learns_in_every_kind_of_space_where_all_or_most_iterations_fail(name: str, lag: int) -> None:
    space = SPACES[name]
    at = np.full(len(space.dimensions), 0.3)

    def failing(share: float) -> Callable[[Mapping[str, Any]], dict[str, float] | None]:
        rng = np.random.default_rng(5)
        spec = spec_of("cmaes", 60, space=space)
        view = TrialHistory(spec).view

        def objective(params: Mapping[str, Any]) -> dict[str, float] | None:
            if rng.random() < share:
                return None
            point = view.to_unit(space.encode([dict(params)]))[0]
            return {"loss": float(((point - at) ** 2).sum())}

        return objective

    for share in (1.0, 0.7):
        rows, _ = played(spec_of("cmaes", 60, space=space, generation_size=5, generation_lag=lag), failing(share))
        assert len(rows) == 60


def test_a_number_of_few_values_keeps_a_share_for_those_beside_the_best() -> None:
    """Told the values themselves, it would never leave the one that all of a generation have."""
    space = SearchSpace((IntDimension("k", 0, 20), FloatDimension("x", 0.0, 1.0)))

    def objective(params: Mapping[str, Any]) -> dict[str, float]:
        # Everything pulls to 10 at first, as long as x is far from its place.
        near = abs(params["x"] - 0.8) < 0.02
        return {"loss": abs(params["x"] - 0.8) + abs(params["k"] - (12 if near else 10)) * 0.01}

    rows, _ = played(spec_of("cmaes", 240, space=space, generation_size=8, generation_lag=1), objective)
    last = [row["k"] for row in rows[160:]]
    assert len(set(last)) > 1
    assert max(set(last), key=last.count) == 12


def test_points_of_the_job_are_learnt_from_as_others_are() -> None:
    def corner(params: Mapping[str, Any]) -> dict[str, float]:
        return {"loss": 2.0 - params["x"] - params["y"]}

    def reached(enqueue: tuple[Mapping[str, float], ...]) -> float:
        spec = spec_of("cmaes", 24, space=REAL, generation_size=8, generation_lag=1, enqueue=enqueue)
        rows, _ = played(spec, corner)
        return float(np.mean([row["x"] + row["y"] for row in rows[8:16]]))

    assert reached(({"x": 0.95, "y": 0.95},) * 3) > reached(()) + 0.2
