"""Of two jobs is told in what they differ, by the names of a job file, and when one is the other with more iterations."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import arbd
from arbd.job.differences import differences, more_iterations
from arbd.job.spec import JobSpec

FIELDS: dict[str, Any] = {
    "objective": {"command": ["/bin/true"]},
    "method": "random",
    "max_iterations": 30,
    "seed": 1,
    "metric": "value",
    "search_space": {"x": {"type": "float", "bounds": [0, 1]}, "k": {"type": "choice", "values": [True, "a"]}},
    "fixed": {"fee": 1, "lag": 2},
}
CHANGES: dict[str, tuple[str, Any]] = {
    "objective": ("objective", {"command": ["/bin/false"]}),
    "tuning.method": ("method", "sobol"),
    "tuning.max_iterations": ("max_iterations", 31),
    "tuning.seed": ("seed", 2),
    "metric": ("metric", "other"),
    "tuning.search_space": ("search_space", FIELDS["search_space"] | {"k": {"type": "choice", "values": [1, "a"]}}),
    "fixed.fee": ("fixed", {"fee": 3, "lag": 2}),
    "execution.retries": ("execution", {"retries": 3}),
    "labels": ("labels", {"team": "a"}),
}


def spec(*changed: str) -> JobSpec:
    return arbd.Job(**FIELDS | dict(CHANGES[name] for name in changed)).resolve()


@pytest.mark.parametrize("changed", [names for n in (0, 1, 2) for names in itertools.combinations(CHANGES, n)])
def test_every_field_that_differs_is_named_and_no_other(changed: tuple[str, ...]) -> None:
    told = differences(spec(*changed), spec())
    assert {name.partition(" ")[0] if " (" in name else name for name in told} - {"objective.target"} <= {
        *changed,
        *(name.partition(".")[0] for name in changed),
        *(f"tuning.search_space.{part}" for part in ("dimensions", "names") if "tuning.search_space" in changed),
    }
    for name in changed:
        assert any(each.startswith(name) for each in told), (name, told)
    assert bool(told) == bool(changed)


@pytest.mark.parametrize("method", ["random", "sobol", "tpe", "bayesian", "cmaes", "nsga2"])
@pytest.mark.parametrize("n", [29, 30, 31, 300])
def test_a_job_that_asks_for_more_alone_is_told_from_all_others(method: str, n: int) -> None:
    base = FIELDS | {"method": method, "search_space": {"x": FIELDS["search_space"]["x"]}}
    there = arbd.Job(**base).resolve()
    assert more_iterations(arbd.Job(**base | {"max_iterations": n}).resolve(), there) == max(0, n - 30)
    assert more_iterations(arbd.Job(**base | {"max_iterations": n, "seed": 5}).resolve(), there) == 0
