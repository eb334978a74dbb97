"""Which metrics a job optimises, and in which direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from arbd.job.model import Job
from arbd.job.resolve_space import Wrong
from arbd.paper.metrics import METRICS
from arbd.search.problem import MetricGoal
from arbd.search.samplers import adaptive, built_in

DEFAULT_METRIC = {"paper": "pnl"}


def resolve_metrics(job: Job, kind: str, *, wrong: Wrong) -> tuple[MetricGoal, ...]:
    """The metrics with their directions; `kind` is the objective's. What is wrong is told."""
    paper, given = kind == "paper", job.metric
    names = [DEFAULT_METRIC.get(kind, "value")] if given is None else [given] if isinstance(given, str) else given
    if not names:
        wrong("names no metric", "metric")
    if len(set(names)) < len(names):
        wrong("names a metric twice", "metric")
    if paper:
        for name in names:
            if name not in METRICS:
                wrong(f"unknown metric {name!r}; known are {', '.join(METRICS)}", "metric")
    directions: Sequence[str | None]
    told = job.direction
    if isinstance(told, list):
        if len(told) != len(names):
            wrong(f"gives {len(told)} directions for {len(names)} metrics", "direction")
        directions = told
    else:
        directions = [told] * len(names)
    defaults: Mapping[str, str] = {name: info.direction for name, info in METRICS.items()} if paper else {}
    return tuple(MetricGoal(n, d or defaults.get(n, "maximize")) for n, d in zip(names, directions, strict=False))


def methods_for(count: int) -> Iterator[str]:
    """The methods of arbd that learn to optimise so many metrics."""
    for name in built_in(learns=True):
        found = adaptive(name)
        if found is not None and (found.max_metrics is None or found.max_metrics >= count):
            yield name
