"""What of a job file is larger than a person's job is: told before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from arbd.job import limits
from arbd.job.model import ChoiceParameter, CommandObjective, FloatParameter, IntParameter, Job, PythonObjective

Fault = tuple[str, tuple[str | int, ...]]


def faults(job: Job) -> Iterator[Fault]:
    """Everything in a job that is larger than a person's job of one session is, with its place."""
    tuning = job.tuning
    if job.each is not None:
        several = "makes several sessions: submit the job or drop it into the spool; for one of them, leave it out"
        yield f"{several} (`--set each=null`)", ("each",)
    yield from _too_many(len(tuning.constraints), limits.MAX_CONSTRAINTS, "constraints", "tuning", "constraints")
    yield from _too_many(len(tuning.search_space), limits.MAX_PARAMETERS, "parameters", "tuning", "search_space")
    yield from _too_many(len(job.fixed), limits.MAX_PARAMETERS, "parameters", "fixed")
    goals = job.metric if isinstance(job.metric, list) else [job.metric or "value"]
    yield from _too_many(len(goals), limits.MAX_GOALS, "metrics", "metric")
    if not all(0 < len(goal) <= limits.MAX_METRIC_CHARS and goal.isprintable() for goal in goals):
        yield f"a metric's name has 1 to {limits.MAX_METRIC_CHARS} characters, all of which show", ("metric",)
    for name, parameter in tuning.search_space.items():
        yield from _parameter(("tuning", "search_space", name), name, parameter)
    for name, value in job.fixed.items():
        yield from _at(("fixed", name), limits.name_fault(name) or limits.value_fault(value))
    yield from _objective(job)
    yield from _files([each if isinstance(each, str) else each.folder for each in job.data], "data")
    yield from _files(tuning.scenarios, "tuning", "scenarios")
    if tuning.start_from is not None and not _is_path(tuning.start_from):
        yield f"a path that no filesystem takes, of {len(tuning.start_from):,} characters", ("tuning", "start_from")
    yield from _grid(job)
    if job.execution.memory_mb is not None and job.execution.memory_mb > limits.MAX_MEMORY_MB:
        yield f"more than {limits.MAX_MEMORY_MB:,} MiB", ("execution", "memory_mb")


def _parameter(path: tuple[str, ...], name: str, parameter: object) -> Iterator[Fault]:
    yield from _at(path, limits.name_fault(name))
    if isinstance(parameter, ChoiceParameter):
        yield from _too_many(len(parameter.values), limits.MAX_CHOICES, "values", *path, "values")
        for index, value in enumerate(parameter.values[: limits.MAX_CHOICES]):
            yield from _at((*path, "values", index), limits.value_fault(value))
    elif isinstance(parameter, FloatParameter | IntParameter):
        yield from _at((*path, "bounds"), limits.number_fault(parameter.bounds[0], parameter.bounds[1], parameter.step))


def _objective(job: Job) -> Iterator[Fault]:
    if isinstance(job.objective, CommandObjective):
        yield from _too_many(len(job.objective.command), limits.MAX_ARGUMENTS, "arguments", "objective", "command")
        if not _is_path(job.objective.command[0]):
            yield "no program has such a name", ("objective", "command", 0)
    elif isinstance(job.objective, PythonObjective) and len(job.objective.python) > limits.MAX_PART_BYTES:
        yield "no module has such a name", ("objective", "python")
    if isinstance(job.objective, PythonObjective) and not _is_path(job.objective.interpreter or ""):
        yield "no program has such a name", ("objective", "interpreter")


def _files(names: Sequence[str], *path: str) -> Iterator[Fault]:
    yield from _too_many(len(names), limits.MAX_FILES, "files", *path)
    for index, name in enumerate(names[: limits.MAX_FILES]):
        if not _is_path(name):
            yield f"a path that no filesystem takes, of {len(name):,} characters", (*path, index)


def _is_path(name: str) -> bool:
    return len(name) <= limits.MAX_PATH_CHARS and all(
        len(os.fsencode(part)) <= limits.MAX_PART_BYTES for part in name.split("/")
    )


def _grid(job: Job) -> Iterator[Fault]:
    points = job.tuning.grid_points
    in_all = points * len(job.tuning.search_space) if isinstance(points, int) else sum(points.values())
    if in_all > limits.MAX_GRID_POINTS_IN_ALL:
        yield (
            f"{in_all:,} points over all dimensions; the maximum is {limits.MAX_GRID_POINTS_IN_ALL:,}",
            ("tuning", "grid_points"),
        )


def _too_many(count: int, most: int, what: str, *path: str | int) -> Iterator[Fault]:
    if count > most:
        yield f"{count:,} {what}; the maximum is {most:,}", path


def _at(path: tuple[str | int, ...], fault: str | None) -> Iterator[Fault]:
    if fault is not None:
        yield fault, path
