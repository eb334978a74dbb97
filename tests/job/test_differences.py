"""Of two jobs is told in what they differ, by the names of a job file, and when one is the other with more iterations."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import arbd
from arbd.job.differences import differences, more_iterations
from arbd.job.spec import JobSpec

FIELDS: dict[str, Any] = {
    "objective": {"command": ["/bin/true"], "protocol": "lines"},
    "method": "tpe",
    "max_iterations": 30,
    "seed": 1,
    "metric": "value",
    "search_space": {"x": {"type": "float", "bounds": [0, 1]}, "k": {"type": "choice", "values": [True, "a"]}},
    "fixed": {"fee": 1, "lag": 2},
    "grid_points": 3,
}
CHANGES: dict[str, tuple[str, Any]] = {
    "objective": ("objective", {"command": ["/bin/false"], "protocol": "lines"}),
    "tuning.method": ("method", "nsga2"),
    "tuning.max_iterations": ("max_iterations", 300),
    "tuning.seed": ("seed", 2),
    "metric": ("metric", "other"),
    "direction": ("direction", "minimize"),
    "tuning.search_space": ("search_space", FIELDS["search_space"] | {"k": {"type": "choice", "values": [1, "a"]}}),
    "fixed.fee": ("fixed", {"fee": 3, "lag": 2}),
    "execution.retries": ("execution", {"retries": 3}),
    "labels": ("labels", {"team": "a"}),
    "results.csv": ("results", {"csv": True}),
    "on_bad_rows": ("on_bad_rows", "drop"),
    "requires.gpu": ("requires", {"gpu": "a"}),
    "after": ("after", ["first"]),
    "deadline": ("deadline", "2100-01-01T00:00Z"),
    "tuning.grid_points.x": ("grid_points", {"x": 4, "k": 3}),
    "tuning.acquisition_fn": ("acquisition_fn", "ucb"),
    "tuning.generation_size": ("generation_size", 9),
    "tuning.generation_lag": ("generation_lag", 1),
    "tuning.constraints": ("constraints", ["x < 0.9"]),
    "tuning.enqueue": ("enqueue", [{"x": 0.5}]),
    "tuning.stop.no_improvement": ("stop", {"no_improvement": 20}),
    "tuning.prune": ("prune", {"rule": "percentile", "percentile": 20}),
    "tuning.repeats": ("repeats", 3),
    "tuning.robust": ("robust", {"over": "neighbourhood", "use": "worst"}),
    "tuning.min_budget": ("min_budget", 0.5),
    "validation": ("validation", {"neighbours": 3}),
}
# Of these the first may follow from the second.
FOLLOWS = {
    ("direction", "metric"),
    ("tuning.generation_lag", "tuning.generation_size"),
    *itertools.product(
        ("tuning.generation_size", "tuning.generation_lag"),
        (
            "tuning.method", "tuning.max_iterations", "tuning.stop.no_improvement", "tuning.prune", "validation",
        ),
    ),
}  # fmt: skip
# No job may ask for both.
REFUSED = ({"tuning.prune", "tuning.repeats"}, {"tuning.prune", "tuning.robust"})


def spec(*changed: str, **fields: Any) -> JobSpec:
    return arbd.Job(**FIELDS | fields | dict(CHANGES[name] for name in changed)).resolve()


@pytest.mark.parametrize(
    "changed",
    [names for n in (0, 1, 2) for names in itertools.combinations(CHANGES, n) if set(names) not in REFUSED],
)
def test_every_field_that_differs_is_named_and_no_other(changed: tuple[str, ...]) -> None:
    told = {name for name in changed if not any((name, cause) in FOLLOWS for cause in changed)}
    assert set(differences(spec(*changed), spec())) == told
    assert set(differences(spec(), spec(*changed))) == told


@pytest.mark.parametrize("method", ["random", "tpe", "bayesian", "cmaes", "nsga2", "successive_halving", "grid"])
@pytest.mark.parametrize("other", ["random", "tpe", "bayesian", "cmaes", "nsga2", "successive_halving", "grid"])
def test_of_another_method_nothing_is_named_that_it_brings_with_it(method: str, other: str) -> None:
    fields = {"search_space": {"x": {"type": "float", "bounds": [0, 1]}, "y": {"type": "float", "bounds": [0, 1]}}}
    told = differences(spec(**fields, method=method), spec(**fields, method=other))
    assert told == ([] if method == other else ["tuning.method"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"grid_points": 4}, ["tuning.grid_points (x, k)"]),
        ({"search_space": {"x": FIELDS["search_space"]["x"]}}, ["tuning.search_space"]),
        ({"max_iterations": 5}, ["tuning.max_iterations"]),
    ],
)
def test_how_many_iterations_a_grid_has_follows_from_its_points(changed: dict[str, Any], told: list[str]) -> None:
    assert differences(spec(method="grid", **changed), spec(method="grid")) == told


@pytest.mark.parametrize("method", ["random", "sobol", "tpe", "bayesian", "cmaes", "nsga2"])
@pytest.mark.parametrize("n", [29, 30, 31, 300])
def test_a_job_that_asks_for_more_alone_is_told_from_all_others(method: str, n: int) -> None:
    base = FIELDS | {"method": method, "search_space": {"x": FIELDS["search_space"]["x"]}}
    there = arbd.Job(**base).resolve()
    assert more_iterations(arbd.Job(**base | {"max_iterations": n}).resolve(), there) == max(0, n - 30)
    assert more_iterations(arbd.Job(**base | {"max_iterations": n, "seed": 5}).resolve(), there) == 0
