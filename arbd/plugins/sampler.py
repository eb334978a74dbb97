"""For packages that add a search method: declare a `PlanMethod` or an `AdaptiveMethod` at an entry point `arbd.samplers`."""

from __future__ import annotations

from arbd.search.history import History, best_first
from arbd.search.options import Option
from arbd.search.problem import MetricGoal, SearchProblem
from arbd.search.sampler import (
    AdaptiveMethod,
    AdaptiveSampler,
    Allowed,
    PlanMethod,
    PlanRequest,
    PlanSize,
    Proposal,
    Sampler,
)
from arbd.search.schedule import GenerationSizes
from arbd.search.seeds import generator, iteration_seed
from arbd.search.space import ChoiceDimension, Columns, FloatDimension, IntDimension, SearchSpace, Unit, Value

__all__ = [
    "AdaptiveMethod",
    "AdaptiveSampler",
    "Allowed",
    "ChoiceDimension",
    "Columns",
    "FloatDimension",
    "GenerationSizes",
    "History",
    "IntDimension",
    "MetricGoal",
    "Option",
    "PlanMethod",
    "PlanRequest",
    "PlanSize",
    "Proposal",
    "Sampler",
    "SearchProblem",
    "SearchSpace",
    "Unit",
    "Value",
    "best_first",
    "generator",
    "iteration_seed",
]
