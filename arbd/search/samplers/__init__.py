"""Search methods: which parameters an iteration gets. One module per method, imported when it is used.

A new method is a new file here with a declaration `METHOD` (`arbd.search.sampler`), or an entry point `arbd.samplers` of
another distribution that names one; nothing else of arbd knows its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from arbd.registry import Registry

if TYPE_CHECKING:
    from arbd.search.problem import SearchProblem
    from arbd.search.sampler import AdaptiveMethod, AdaptiveSampler, PlanMethod, Sampler
    from arbd.search.space import SearchSpace, Value


def _kinds() -> tuple[type, ...]:
    from arbd.search.sampler import AdaptiveMethod, PlanMethod  # noqa: PLC0415 - NumPy; names alone do not need it

    return AdaptiveMethod, PlanMethod


METHODS: Registry[AdaptiveMethod | PlanMethod] = Registry("method", __name__, "METHOD", _kinds, "arbd.samplers")


def adaptive(name: str) -> AdaptiveMethod | None:
    """The declaration of a method that learns; None when it is of the other kind."""
    from arbd.search.sampler import AdaptiveMethod  # noqa: PLC0415 - as above

    found = METHODS.get(name)
    return found if isinstance(found, AdaptiveMethod) else None


def planned(name: str) -> PlanMethod:
    """The declaration of a non-adaptive method; TypeError when it learns."""
    from arbd.search.sampler import PlanMethod  # noqa: PLC0415 - as above

    found = METHODS.get(name)
    if not isinstance(found, PlanMethod):
        raise TypeError(f"{name} is an adaptive method: it suggests from results")
    return found


def built_in(*, learns: bool) -> tuple[str, ...]:
    """The names of arbd's own methods of one kind."""
    return tuple(name for name in METHODS.built_in() if (adaptive(name) is not None) == learns)


def make_sampler(
    method: str,
    space: SearchSpace,
    seed: int,
    n: int,
    grid_points: Mapping[str, int],
    options: Mapping[str, Value] | None = None,
) -> Sampler:
    """The sampler of a session of `n` iterations of a non-adaptive method."""
    from arbd.search.sampler import PlanRequest  # noqa: PLC0415 - as above

    return planned(method).make(PlanRequest(space, seed, n, grid_points, options or {}))


def make_adaptive(problem: SearchProblem) -> AdaptiveSampler:
    """The sampler of a session of a method that learns; TypeError when it does not."""
    found = adaptive(problem.method)
    if found is None:
        raise TypeError(f"{problem.method} does not learn")
    return found.make(problem)


def default_budgets(method: str, min_budget: float) -> tuple[float, ...]:
    """The budgets of a method that gives iterations different ones, the smallest first; else none."""
    found = adaptive(method)
    return tuple(found.budgets(min_budget).tolist()) if found is not None and found.budgets is not None else ()
