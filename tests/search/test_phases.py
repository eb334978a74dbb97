"""Where everything of a session stands: each iteration in one place, and no generation needs what comes behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.job.validation import Change, FoldWindows, Stress, ValidationSpec
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner
from arbd.search.neighbourhood import NEAR
from arbd.search.phase_planner import PhasePlanner
from arbd.search.phases import SEARCHES, Counts, Layout, Phase
from arbd.search.plan import RUN, SKIPPED
from arbd.search.problem import MetricGoal, StopRules
from arbd.search.samplers import METHODS, adaptive
from arbd.search.schedule import Schedule
from arbd.search.space import ChoiceDimension, FloatDimension, SearchSpace
from arbd.search.trial_history import TrialResults
from arbd.search.versions import sampler_versions

COUNTS = st.builds(
    Counts,
    folds=st.integers(0, 3),
    tests=st.just(()),
    finalists=st.integers(0, 7),
    neighbours=st.integers(0, 9),
    stresses=st.integers(0, 3),
    null_searches=st.integers(0, 3),
)
SCHEDULES = st.builds(Schedule, st.integers(1, 12), st.integers(1, 4))
LAYOUTS = st.builds(Layout.of, st.integers(1, 40), SCHEDULES, COUNTS)
SPACE = SearchSpace((FloatDimension("x", 0.0, 1.0), ChoiceDimension("kind", ("up", "down"))))


@given(LAYOUTS)
def test_every_iteration_is_in_one_generation_and_one_stretch(layout: Layout) -> None:
    firsts = [layout.last_of(number - 1) + 1 for number in range(1, layout.generations + 1)]
    numbers = np.searchsorted(firsts, np.arange(1, layout.n + 1), side="right")
    assert [layout.number_of(i) for i in range(1, layout.n + 1)] == numbers.tolist()
    assert layout.last_of(layout.generations) == layout.n
    index = layout.indices(np.arange(1, layout.n + 1))
    assert [layout.at(i) for i in range(1, layout.n + 1)] == [layout.stretches[at] for at in index.tolist()]
    assert sum(stretch.count for stretch in layout.stretches) == layout.n


@given(LAYOUTS)
def test_a_generation_depends_on_earlier_iterations_alone(layout: Layout) -> None:
    for number in range(1, layout.generations + 1):
        assert 0 <= layout.known_before(number) <= layout.last_of(number - 1)


@given(LAYOUTS)
def test_what_judges_waits_for_every_search_and_a_null_search_for_none(layout: Layout) -> None:
    searched = max(stretch.last for stretch in layout.stretches if stretch.phase is Phase.SEARCH)
    for number in range(1, layout.generations + 1):
        stretch, own = layout.generation(number)
        if stretch.phase in (Phase.TEST, Phase.NEIGHBOUR, Phase.STRESS):
            assert layout.known_before(number) == searched
        elif own <= stretch.schedule.lag:
            assert layout.known_before(number) == 0


def _spec(method: str = "tpe", n: int = 24, **changed: Any) -> JobSpec:
    whole = ((0, 100),)
    given_: dict[str, Any] = {
        "scheme": "walk_forward",
        "folds": (FoldWindows((whole,)), *(FoldWindows((((0, at),),), (((at, at + 9),),)) for at in (20, 40))),
        "finalists": 4,
        "neighbours": 6,
        "stresses": (Stress("worse", (Change("x", "x", 2.0),)),),
        "null_searches": 2,
        **changed.pop("validation", {}),
    }
    validation = ValidationSpec(n, **given_)
    spec = JobSpec(
        objective=ObjectiveSpec("python", ("m:f",)), method=method, space=SPACE, n=n, seed=5,
        metrics=(MetricGoal("value", "maximize"),), generation_size=8, validation=validation, **changed,
    )  # fmt: skip
    return JobSpec(**{**{name: getattr(spec, name) for name in spec.__dataclass_fields__}, "n": spec.layout.n})


def _value(spec: JobSpec, iteration: int, x: float, poison: float = 0.0) -> float:
    stretch = spec.layout.at(iteration)
    return -((x - 0.1 * stretch.fold - 0.3) ** 2) + (poison if stretch.phase is Phase.TEST else 0.0)


def _run(spec: JobSpec, *, poison: float = 0.0) -> list[Generation]:
    """Everything, one generation after the other."""
    planner = PhasePlanner(spec, sampler_versions(spec.method))
    made: list[Generation] = []
    for number in range(1, spec.layout.generations + 1):
        assert not planner.missing(number)
        generation = planner.generation(number, [made[at - 1] for at in planner.pending(number)])
        made.append(generation)
        iterations = np.arange(generation.first, generation.first + len(generation.rows))
        xs = generation.rows.columns["x"].tolist()
        values = np.array([_value(spec, i, x, poison) for i, x in zip(iterations.tolist(), xs, strict=True)])
        completed = np.ones(len(iterations), dtype=bool)
        planner.learn(
            TrialResults(iterations, completed, generation.rows.origin, generation.rows.columns, {"value": values})
        )
    return made


def _of(spec: JobSpec, made: list[Generation], phase: Phase, fold: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    stretch = spec.layout.find(phase, fold)
    assert stretch is not None
    parts = [g.rows for g in made if stretch.first <= g.first <= stretch.last]
    found = {name: np.concatenate([part.columns[name] for part in parts]) for name in SPACE.names}
    return {**found, "origin": np.concatenate([part.origin for part in parts])}


def test_finalists_are_the_best_of_their_own_fold() -> None:
    spec = _spec()
    made = _run(spec)
    for fold in (1, 2):
        searched, tested = _of(spec, made, Phase.SEARCH, fold), _of(spec, made, Phase.TEST, fold)
        first = spec.layout.find(Phase.SEARCH, fold).first  # type: ignore[union-attr]
        values = [_value(spec, first, x) for x in searched["x"].tolist()]
        best = np.argsort(-np.array(values), kind="stable")[:4]
        assert tested["x"].tolist() == searched["x"][best].tolist()
        assert tested["kind"].tolist() == searched["kind"][best].tolist()
    own, stressed = _of(spec, made, Phase.SEARCH), _of(spec, made, Phase.STRESS, 1)
    assert set(stressed["x"].tolist()) <= set(own["x"].tolist())


def test_what_a_test_finds_changes_nothing_that_is_planned() -> None:
    spec = _spec()
    plain, poisoned = _run(spec), _run(spec, poison=1e9)
    assert [g.encode() for g in plain] == [g.encode() for g in poisoned]


def test_each_search_has_random_numbers_of_its_own() -> None:
    spec = _spec()
    made = _run(spec)
    searches = [_of(spec, made, Phase.SEARCH, fold)["x"] for fold in (0, 1, 2)]
    searches += [_of(spec, made, Phase.NULL, fold)["x"] for fold in (1, 2)]
    assert len({xs.tobytes() for xs in searches}) == 5
    alone = JobSpec(**{**{n: getattr(spec, n) for n in spec.__dataclass_fields__}, "n": 24, "validation": None})
    assert spec.search(spec.layout.stretches[0]) == alone


def _learnt(spec: JobSpec, planner: PhasePlanner | GenerationPlanner, generation: Generation, shift: int = 0) -> None:
    """Tell a planner what a generation of `_run` gave; a search by itself counts from 1."""
    rows = generation.rows
    iterations = np.arange(generation.first, generation.first + len(rows))
    xs = rows.columns["x"].tolist()
    values = np.array([_value(spec, i, x) for i, x in zip(iterations.tolist(), xs, strict=True)])
    origin = np.where(rows.origin > 0, rows.origin - shift, rows.origin)
    planner.learn(
        TrialResults(iterations - shift, np.ones(len(rows), dtype=bool), origin, rows.columns, {"value": values})
    )


LEARNING = [name for name in METHODS.names() if adaptive(name) is not None]


@pytest.mark.parametrize("method", LEARNING)
def test_the_search_of_a_fold_and_of_a_market_without_an_edge_is_what_the_method_makes_by_itself(method: str) -> None:
    """It depends on its own results alone, so that a kill or another host in any other search changes nothing of it."""
    spec = _spec(method, n=24)
    made = _run(spec)
    for stretch in (stretch for stretch in spec.layout.stretches if stretch.phase in SEARCHES):
        shift, alone = stretch.first - 1, GenerationPlanner(spec.search(stretch), sampler_versions(method))
        own = [g for g in made if stretch.first <= g.first <= stretch.last]
        found: list[Generation] = []
        for number, generation in enumerate(own, 1):
            for each in own[: alone.schedule.known_before(number) // alone.schedule.size]:
                _learnt(spec, alone, each, shift)
            found.append(alone.generation(number, [found[at - 1] for at in alone.pending(number)]))
            for name, column in generation.rows.columns.items():
                assert column.tobytes() == found[-1].rows.columns[name].tobytes(), (stretch, number)


@pytest.mark.parametrize("method", LEARNING)
def test_who_begins_in_the_middle_plans_what_the_first_would_have(method: str) -> None:
    """As after a kill: results come in another order, and those that nobody has to wait for are known or not."""
    spec = _spec(method, n=24)
    made, random = _run(spec), np.random.default_rng(1)
    for number in random.permutation(np.arange(2, spec.layout.generations + 1))[:8].tolist():
        needed = [g for g in made if g.first <= spec.layout.known_before(number)]
        later = [g for g in made[len(needed) : number - 1] if random.random() < 0.5]
        planner = PhasePlanner(spec, sampler_versions(method))
        for index in random.permutation(len(needed) + len(later)).tolist():
            _learnt(spec, planner, [*needed, *later][index])
        assert not planner.missing(number)
        again = planner.generation(number, [made[at - 1] for at in planner.pending(number)])
        assert again.encode() == made[number - 1].encode()


def test_neighbours_are_near_the_winner_and_none_is_it() -> None:
    spec = _spec()
    made = _run(spec)
    searched, near = _of(spec, made, Phase.SEARCH), _of(spec, made, Phase.NEIGHBOUR)
    best = int(np.argmax([_value(spec, 1, x) for x in searched["x"].tolist()]))
    assert (np.abs(near["x"] - searched["x"][best]) <= NEAR + 1e-12).all()
    assert (near["kind"] == searched["kind"][best]).all()
    assert (near["x"] != searched["x"][best]).all()


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_that_ends_early_leaves_the_rest_to_nobody_and_is_judged_all_the_same(method: str) -> None:
    spec = _spec(method, n=64, stop=StopRules(target=-0.05))
    made = _run(spec)
    searched = _of(spec, made, Phase.SEARCH)
    ended = int(np.argmax(searched["origin"] == SKIPPED))
    assert 0 < ended < 64
    assert (searched["origin"][ended:] == SKIPPED).all()
    assert (_of(spec, made, Phase.TEST, 1)["origin"] == RUN).all()


def test_fewer_distinct_finalists_than_asked_for_are_filled_with_rows_that_are_not_run() -> None:
    spec = _spec(n=8, validation={"finalists": 20})
    tested = _of(spec, _run(spec), Phase.TEST, 1)
    assert (tested["origin"] == SKIPPED).sum() >= 12
    assert (tested["origin"][:1] == RUN).all()
