"""Guided methods: what they suggest depends on job and results alone, and gets better with them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from arbd.errors import UsageError
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.search.generation import decode_generation
from arbd.search.generations import GenerationPlanner, TrialHistory, default_schedule
from arbd.search.history import History, best_first
from arbd.search.in_process import Search
from arbd.search.plan import INFEASIBLE, NonAdaptivePlan
from arbd.search.problem import MetricGoal, StopRules, WarmStart
from arbd.search.samplers import built_in, make_adaptive
from arbd.search.samplers.successive_halving import rungs
from arbd.search.schedule import Schedule
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace, Unit
from arbd.search.trial_history import TrialResults
from tests.conftest import REPOSITORY

SPACE = SearchSpace(
    (
        FloatDimension("x", -1.0, 2.0),
        IntDimension("k", 1, 100, log=True),
        ChoiceDimension("kind", ("a", "b", "c")),
    )
)
ADAPTIVE = built_in(learns=True)
TINY = SearchSpace((IntDimension("k", 1, 5), ChoiceDimension("flag", (False, True))))
Metrics = Mapping[str, float] | None


def spec_of(method: str, n: int, **changed: Any) -> JobSpec:
    schedule = default_schedule(method, n)
    if "generation_size" in changed:
        # As in a job file: beside a size of its own, the lag is 2.
        schedule = Schedule(changed["generation_size"])
    given: dict[str, Any] = {
        "objective": ObjectiveSpec("python", ("m:f",)),
        "space": SPACE,
        "seed": 1,
        "metrics": (MetricGoal("loss", "minimize"),),
        "generation_size": schedule.size,
        "generation_lag": schedule.lag,
    }
    return JobSpec(method=method, n=n, **(given | changed))


def bowl(params: Mapping[str, Any]) -> Metrics:
    depth = {"a": 1.0, "b": 0.0, "c": 2.0}[params["kind"]]
    return {"loss": depth + (params["x"] - 0.7) ** 2 + (math.log(params["k"]) - 2.5) ** 2}


def played(
    spec: JobSpec, objective: Callable[[Mapping[str, Any]], Metrics]
) -> tuple[list[dict[str, Any]], list[Metrics]]:
    search = Search(spec)
    rows: list[dict[str, Any]] = []
    results: list[Metrics] = []
    for iteration in range(1, spec.n + 1):
        row = search.row(iteration)
        if row is None:
            break
        params = spec.space.rows(row.columns)[0]
        found = objective(params) if row.origin[0] == 0 else None
        if row.origin[0] > 0:
            found = results[int(row.origin[0]) - 1]
        rows.append(
            {**params, "origin": int(row.origin[0]), "budget": 1.0 if row.budget is None else float(row.budget[0])}
        )
        results.append(found)
        search.tell(iteration, found)
    return rows, results


def best(results: list[Metrics]) -> float:
    return min(r["loss"] for r in results if r is not None and not math.isnan(r["loss"]))


@pytest.mark.parametrize("method", ADAPTIVE)
def test_it_finds_better_points_than_random_search(method: str) -> None:
    def median_of(name: str) -> float:
        found = []
        for seed in range(3):
            spec = spec_of(name, 60, seed=seed)
            if name == "random":
                plan = NonAdaptivePlan(spec_of(name, 60, seed=seed, generation_size=0))
                found.append(best([bowl(row) for row in SPACE.rows(plan.rows(1, 60).columns)]))
            else:
                found.append(best(played(spec, bowl)[1]))
        return float(np.median(found))

    assert median_of(method) < median_of("random")


@pytest.mark.parametrize("method", ADAPTIVE)
def test_whoever_computes_a_generation_gets_the_same_bytes(method: str) -> None:
    # Long enough that what a method might remember of earlier generations would matter.
    spec = spec_of(method, 120, generation_size=8)
    steady = GenerationPlanner(spec, {})
    _MADE.clear()
    for number in range(1, spec.generations + 1):
        fresh = GenerationPlanner(spec, {})
        up_to = steady.schedule.known_before(number)
        before = [_MADE[at] for at in steady.schedule.pending(number)]
        for planner in (steady, fresh):
            start = 1 if planner is fresh else max(1, up_to - spec.generation_size + 1)
            _teach(planner, start, up_to)
        generation = steady.generation(number, before)
        assert fresh.generation(number, before).encode() == generation.encode()
        assert decode_generation(generation.encode(), number, "a file").encode() == generation.encode()
        _MADE[number] = generation
    _MADE.clear()


_MADE: dict[int, Any] = {}


def _teach(planner: GenerationPlanner, first: int, last: int) -> None:
    size = planner.spec.generation_size
    for iteration in range(first, last + 1):
        generation = _MADE[(iteration - 1) // size + 1]
        row = generation.rows.select(slice(iteration - generation.first, iteration - generation.first + 1))
        metrics = bowl(planner.spec.space.rows(row.columns)[0]) or {}
        columns = {name: np.array([value]) for name, value in metrics.items()}
        if row.budget is not None:
            columns["budget"] = row.budget
        planner.trial_history.learn(
            TrialResults(np.array([iteration]), np.array([True]), row.origin, row.columns, columns)
        )


@pytest.mark.parametrize("method", ADAPTIVE)
def test_results_of_the_generation_before_do_not_matter(method: str) -> None:
    spec = spec_of(method, 40, generation_size=8)

    def objective_of(odd: float) -> Callable[[Mapping[str, Any]], Metrics]:
        count = iter(range(1, 41))

        def objective(params: Mapping[str, Any]) -> Metrics:
            # Iterations 25 to 32 are the generation before the last.
            return {"loss": odd} if 25 <= next(count) <= 32 else bowl(params)

        return objective

    one, other = Search(spec), Search(spec)
    for search, odd in ((one, -100.0), (other, 100.0)):
        objective = objective_of(odd)
        for iteration in range(1, 33):
            row = search.row(iteration)
            assert row is not None
            search.tell(iteration, objective(SPACE.rows(row.columns)[0]))
    assert [one.row(i).columns["x"].tobytes() for i in range(33, 41)] == [  # type: ignore[union-attr]
        other.row(i).columns["x"].tobytes()
        for i in range(33, 41)  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("odd", [None, {"loss": math.nan}, {"loss": math.inf}, {"other": 1.0}])
def test_failed_and_undefined_results_are_learnt_from_too(method: str, odd: Metrics) -> None:
    count = iter(range(1_000))
    rows, _ = played(
        spec_of(method, 32, generation_size=8), lambda params: odd if next(count) % 3 == 0 else bowl(params)
    )
    assert len(rows) == 32
    rows, _ = played(spec_of(method, 16, generation_size=4), lambda params: odd)
    assert len(rows) == 16


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_point_that_breaks_a_constraint_between_parameters_is_not_suggested(method: str) -> None:
    rows, _ = played(spec_of(method, 40, constraints=("x * 10 < k", "x > 0")), bowl)
    assert all(row["origin"] != INFEASIBLE and 0 < row["x"] * 10 < row["k"] for row in rows)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_method_itself_proposes_what_may_run(method: str) -> None:
    """Not only what takes the place of a point that may not run does."""
    spec = spec_of(method, 64, generation_size=16, constraints=("x < 0",))
    rng = np.random.default_rng(1)
    points = SPACE.to_unit(SPACE.from_unit(rng.random((48, 3))))
    # What is good lies on both sides of what may run.
    losses = np.abs(points[:, :1] - 0.4)
    nothing = History.empty(3, 1)
    history = History(points, losses, np.zeros(48), np.ones(48), nothing.pending, nothing.pending_budget)
    asked: list[int] = []

    def allowed(candidates: Unit) -> npt.NDArray[np.bool_]:
        asked.append(len(candidates))
        return np.asarray(candidates[:, 0] < 1 / 3)

    sampler = make_adaptive(spec)
    kept = allowed(sampler.suggest(3, 16, history, allowed).points).sum()
    assert sum(asked) > 16
    free = allowed(
        sampler.suggest(3, 16, history, lambda candidates: np.ones(len(candidates), dtype=bool)).points
    ).sum()
    assert kept >= free + 6
    planner = GenerationPlanner(spec, {})
    assert planner._allowed(points).tolist() == (points[:, 0] < 1 / 3).tolist()


def test_where_an_iteration_failed_leads_cmaes_nowhere() -> None:
    rng = np.random.default_rng(2)
    points = rng.random((24, 3))
    losses = ((points - 0.4) ** 2).sum(axis=1, keepdims=True)
    failed = np.arange(24) % 3 == 0
    losses[failed] = np.nan
    elsewhere = np.where(failed[:, None], rng.random((24, 3)), points)
    nothing = History.empty(3, 1)
    asked = [
        make_adaptive(spec_of("cmaes", 64, generation_size=8))
        .suggest(
            5, 8, History(given, losses, np.zeros(24), np.ones(24), nothing.pending, nothing.pending_budget), everywhere
        )
        .points
        for given in (points, elsewhere)
    ]
    assert np.array_equal(*asked)


def everywhere(points: Unit) -> npt.NDArray[np.bool_]:
    return np.ones(len(points), dtype=bool)


def test_where_no_point_keeps_a_constraint_none_is_run() -> None:
    rows, _ = played(spec_of("tpe", 12, constraints=("x > 5",)), bowl)
    assert all(row["origin"] == INFEASIBLE for row in rows)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_in_a_small_space_no_point_is_run_twice_and_every_point_is_tried(method: str) -> None:
    ran: list[tuple[int, bool, float]] = []

    def objective(params: Mapping[str, Any]) -> Metrics:
        return {"loss": float(params["k"])}

    rows, _ = played(spec_of(method, 40, space=TINY), objective)
    ran = [(row["k"], row["flag"], row["budget"]) for row in rows if row["origin"] == 0]
    assert len(set(ran)) == len(ran)
    assert {(k, flag) for k, flag, _ in ran} == {(k, flag) for k in range(1, 6) for flag in (False, True)}
    for row in rows:
        if row["origin"] > 0:
            source = rows[row["origin"] - 1]
            assert (source["origin"], source["k"], source["flag"]) == (0, row["k"], row["flag"])


@pytest.mark.parametrize("method", ["tpe", "random", "grid"])
def test_points_of_the_job_come_first_and_the_method_fills_what_they_leave_open(method: str) -> None:
    enqueue = ({"x": 0.5, "k": 7, "kind": "c"}, {"x": 1.5})
    size = {"generation_size": 0} if method != "tpe" else {}
    spec = spec_of(method, 20, enqueue=enqueue, **size)
    rows, _ = played(spec, bowl)
    assert {name: rows[0][name] for name in ("x", "k", "kind")} == enqueue[0]
    assert rows[1]["x"] == 1.5
    if method != "tpe":
        alone, _ = played(spec_of(method, 18, **size), bowl)
        assert [row["x"] for row in rows[2:]] == [row["x"] for row in alone]


@pytest.mark.parametrize("method", ADAPTIVE)
def test_results_from_elsewhere_are_learnt_from(method: str) -> None:
    points = tuple(SPACE.rows(NonAdaptivePlan(spec_of("random", 60, seed=9, generation_size=0)).rows(1, 60).columns))
    past = WarmStart("elsewhere", points, tuple(((bowl(point) or {})["loss"],) for point in points))

    def mean(**changed: Any) -> float:
        found = played(spec_of(method, 8, generation_size=4, **changed), bowl)[1]
        return float(np.mean([result["loss"] for result in found if result is not None]))

    assert mean(past=past) < mean()


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (StopRules(target=0.5), "target loss 0.5 reached by iteration"),
        (StopRules(no_improvement=12), "no improvement in"),
    ],
)
@pytest.mark.parametrize("method", ["tpe", "random"])
def test_a_search_stops_where_a_rule_says_so(method: str, stop: StopRules, reason: str) -> None:
    spec = spec_of(method, 400, stop=stop, generation_size=4)
    search = Search(spec)
    results: list[float] = []
    while (row := search.row(len(results) + 1)) is not None:
        found = bowl(SPACE.rows(row.columns)[0]) or {}
        results.append(found["loss"])
        search.tell(len(results), found)
    assert search.stopped.startswith(reason)
    assert len(results) % 4 == 0
    known = results[: len(results) - 4]
    if stop.target is not None:
        assert min(known) <= 0.5 < min(known[:-4])
    else:
        assert len(known) - (known.index(min(known)) + 1) >= 12


def test_budgets_are_rungs_and_the_better_ones_rise() -> None:
    spec = spec_of("successive_halving", 90, generation_size=6)
    rows, results = played(spec, bowl)
    shares = rungs(spec.min_budget).tolist()
    assert shares == pytest.approx([1 / 9, 1 / 3, 1.0])
    count = {share: sum(row["budget"] == share for row in rows) for share in shares}
    assert count[shares[0]] > count[shares[1]] > count[shares[2]] > 0

    def median(share: float) -> float:
        return float(
            np.median([r["loss"] for row, r in zip(rows, results, strict=True) if row["budget"] == share and r])
        )

    assert median(shares[0]) > median(shares[2])


@pytest.mark.parametrize("method", ["nsga2", "tpe", "bayesian"])
def test_several_objectives_cover_more_of_the_front_than_random_search(method: str) -> None:
    from arbd.search.pareto import hypervolume

    space = SearchSpace(tuple(FloatDimension(f"x{i}", 0.0, 1.0) for i in range(5)))
    goals = (MetricGoal("one", "minimize"), MetricGoal("two", "maximize"))

    def objective(params: Mapping[str, Any]) -> Metrics:
        g = 1 + 9 * sum(params[f"x{i}"] for i in range(1, 5)) / 4
        return {"one": params["x0"], "two": -g * (1 - math.sqrt(params["x0"] / g))}

    def covered(name: str) -> float:
        size = {"generation_size": 0} if name == "random" else {}
        total = 0.0
        for seed in range(2):
            found = played(spec_of(name, 120, space=space, metrics=goals, seed=seed, **size), objective)[1]
            losses = np.array([[r["one"], -r["two"]] for r in found if r is not None])
            total += hypervolume(losses, np.array([1.1, 6.0]))
        return total

    assert covered(method) > covered("random")


def test_an_iteration_that_learns_from_one_that_was_not_run_says_which() -> None:
    with pytest.raises(UsageError, match="learns from iteration 1: run the iterations in order"):
        Search(spec_of("tpe", 40, generation_size=4)).row(13)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_short_search_learns_all_the_same(method: str) -> None:
    def points(sign: float) -> list[dict[str, Any]]:
        spec = spec_of(method, 24)
        return played(spec, lambda params: {"loss": sign * params["x"]})[0]

    assert points(1.0) != points(-1.0)


SQUARE = SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 0.0, 1.0)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_process_finds_where_constraints_on_metrics_hold_though_nothing_kept_them_at_first(seed: int) -> None:
    spec = spec_of("bayesian", 100, space=SQUARE, seed=seed, constraints=("d <= 0.03",))

    def objective(params: Mapping[str, Any]) -> Metrics:
        away = math.hypot(params["x"] - 0.21, params["y"] - 0.37)
        return {"loss": -params["x"] - params["y"], "d": away}

    rows, results = played(spec, objective)
    kept = [row for row, found in zip(rows, results, strict=True) if found is not None and found["d"] <= 0.03]
    assert max(row["x"] + row["y"] for row in kept) > 0.56


@pytest.mark.parametrize("acquisition", ["ei", "ucb", "poi"])
def test_a_process_spends_no_iteration_on_a_point_that_it_knows(acquisition: str) -> None:
    spec = spec_of("bayesian", 80, space=SQUARE, acquisition_fn=acquisition)
    rows, _ = played(spec, lambda params: {"loss": -params["x"] - params["y"]})
    assert all(row["origin"] == 0 for row in rows)
    assert len({(row["x"], row["y"]) for row in rows}) == 80


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("count", [1, 5, 9, 10, 40])
def test_few_results_from_elsewhere_are_enough(method: str, count: int) -> None:
    points = tuple({"x": 0.1 * i % 2, "k": 1 + i, "kind": "a"} for i in range(count))
    past = WarmStart("elsewhere", points, tuple((float(i),) for i in range(count)))
    rows, _ = played(spec_of(method, 24, past=past), lambda params: {"loss": params["x"]})
    assert len(rows) == 24


def test_a_set_rises_once_whatever_the_last_bit_of_its_values_says() -> None:
    space = SearchSpace(tuple(FloatDimension(f"p{i}", 0.05, 7.3) for i in range(6)))
    spec = spec_of("successive_halving", 240, space=space)
    rows, _ = played(spec, lambda params: {"loss": sum(params.values())})
    assert all(row["origin"] == 0 for row in rows)


@pytest.mark.parametrize(
    ("least", "shares"), [(1.0, [1.0]), (0.34, [0.34, 1.0]), (0.3, [0.3, 1.0]), (1 / 9, [1 / 9, 1 / 3, 1.0])]
)
def test_the_first_rung_is_the_smallest_budget(least: float, shares: list[float]) -> None:
    assert rungs(least) == pytest.approx(shares)


def test_results_of_less_of_the_data_do_not_end_a_search() -> None:
    spec = spec_of("successive_halving", 200, stop=StopRules(no_improvement=60))
    rows, _ = played(spec, lambda params: {"loss": params["x"]})
    assert 0 < sum(row["budget"] == 1.0 for row in rows) < 60
    assert len(rows) == 200


def test_an_infinite_metric_is_learnt_as_just_beyond_the_finite_ones_and_reaches_a_target() -> None:
    spec = spec_of(
        "tpe", 40, metrics=(MetricGoal("profit_factor", "maximize"),), stop=StopRules(target=3.0),
        past=WarmStart("elsewhere", ({"x": 0.0, "k": 1, "kind": "a"},) * 2, ((-math.inf,), (4.5,))),
    )  # fmt: skip
    trial_history = TrialHistory(spec)
    columns = SPACE.encode([{"x": float(i) / 4, "k": 1, "kind": "a"} for i in range(4)])
    values = np.array([np.inf, 1.5, np.nan, 2.5])
    trial_history.learn(
        TrialResults(
            np.arange(1, 5), np.ones(4, dtype=bool), np.zeros(4, dtype=np.int64), columns, {"profit_factor": values}
        )
    )
    history = trial_history.history(4, None)
    assert np.nan_to_num(history.losses[:, 0], nan=99).tolist() == pytest.approx([-1.2, -4.5, -4.8, -1.5, 99, -2.5])
    assert history.points[best_first(history)][0, 0] == pytest.approx(1 / 3)
    assert trial_history.stop_reason(4) == "target profit_factor 3 reached by iteration 1 with inf"


@pytest.mark.parametrize("method", ADAPTIVE)
def test_every_method_goes_on_with_infinite_metrics(method: str) -> None:
    def objective(params: Mapping[str, Any]) -> Metrics:
        return {"loss": -math.inf if params["x"] > 1 else math.inf if params["x"] < -0.5 else float(params["x"])}

    rows, _ = played(spec_of(method, 40), objective)
    assert len(rows) == 40


@pytest.mark.parametrize("worked", [1, 9, 12])
def test_cmaes_begins_where_the_earlier_results_that_worked_were_best(worked: int) -> None:
    space = SearchSpace((FloatDimension("x", 0.0, 1.0), FloatDimension("y", 0.0, 1.0)))

    def begins_at(x: float) -> float:
        """The middle of the first generation, after good results near `x` and failures elsewhere."""
        good = tuple({"x": x + 0.001 * i, "y": 0.5} for i in range(worked))
        bad = tuple({"x": 1.0 - x, "y": 0.1 * i} for i in range(9))
        losses = tuple((float(i),) for i in range(worked)) + ((math.nan,),) * 9
        spec = spec_of("cmaes", 24, space=space, past=WarmStart("elsewhere", good + bad, losses))
        rows, _ = played(spec, lambda params: {"loss": 0.0})
        return float(np.mean([row["x"] for row in rows[: spec.generation_size]]))

    assert begins_at(0.1) < 0.4
    assert begins_at(0.9) > 0.6


@pytest.mark.parametrize("method", ADAPTIVE)
def test_what_computes_is_loaded_when_the_sampler_is_made_so_that_its_threads_are_limited(method: str) -> None:
    code = f"""
import sys
from threadpoolctl import ThreadpoolController
from tests.search.test_guided import bowl, spec_of, played
from arbd.search.generations import GenerationPlanner
GenerationPlanner(spec_of({method!r}, 24, generation_size=4), {{}}).warm_up()
before = len(ThreadpoolController())
played(spec_of({method!r}, 24, generation_size=4), bowl)
assert before == len(ThreadpoolController()), (before, len(ThreadpoolController()))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
