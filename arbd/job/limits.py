"""How large the parts of a job may be, and what its names may be: bombs are refused before anything is made of them.

The same rules hold for a job that is dropped and for one that another host says it has resolved.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence

from arbd.job.model import ChoiceParameter, CommandObjective, FloatParameter, IntParameter, Job, PythonObjective

MAX_PARAMETERS = 256
MAX_CHOICES = 10_000
MAX_FILES = 1_000
MAX_GOALS = 64
MAX_METRIC_CHARS = 200
MAX_ARGUMENTS = 1_000
MAX_GRID_POINTS_IN_ALL = 4_000_000
MAX_MEMORY_MB = 2**30
MAX_VALUE_CHARS = 1_000
MAX_PATH_CHARS = 3_000
MAX_PART_BYTES = 255
# Above this, a whole number is no longer the float that samplers compute with.
MAX_EXACT = 2**53
MAX_WIDTH = 1e300
# A parameter's name becomes a column, a variable of a shell, a key: nothing in it may mean anything there.
PARAMETER_NAME = re.compile(r"[^\W\d][\w.-]{0,63}")

Fault = tuple[str, tuple[str | int, ...]]


def name_fault(name: str) -> str | None:
    """What is wrong with a parameter's name."""
    if PARAMETER_NAME.fullmatch(name):
        return None
    return f"the name {name[:64]!r} is not usable: 1 to 64 letters, digits, '_', '.' or '-', a letter first"


def number_fault(low: float, high: float, step: float | None = None) -> str | None:
    """What is wrong with the size of a range; that it is one at all is checked elsewhere."""
    if isinstance(low, int) and isinstance(high, int) and max(abs(low), abs(high)) > MAX_EXACT:
        return f"whole numbers from -2^53 to 2^53 can be searched, not {low} to {high}"
    width = float(high) - float(low)
    if math.isfinite(low) and math.isfinite(high) and width > MAX_WIDTH:
        return f"the range {low:g} to {high:g} is too wide to search"
    if step is not None and step > 0 and width / step > MAX_EXACT:
        return f"a step of {step:g} makes more than 2^53 values"
    return None


def value_fault(value: object) -> str | None:
    """What is wrong with a value that is a text."""
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
        return f"a text of {len(value):,} characters; {MAX_VALUE_CHARS:,} are the most"
    return None


def faults(job: Job) -> Iterator[Fault]:
    """Everything in a job that is larger than a person's job is, with its place."""
    tuning = job.tuning
    yield from _too_many(len(tuning.search_space), MAX_PARAMETERS, "parameters", "tuning", "search_space")
    yield from _too_many(len(job.fixed), MAX_PARAMETERS, "parameters", "fixed")
    goals = job.metric if isinstance(job.metric, list) else [job.metric or "value"]
    yield from _too_many(len(goals), MAX_GOALS, "metrics", "metric")
    if not all(0 < len(goal) <= MAX_METRIC_CHARS and goal.isprintable() for goal in goals):
        yield f"a metric's name has 1 to {MAX_METRIC_CHARS} characters, all of which show", ("metric",)
    for name, parameter in tuning.search_space.items():
        yield from _parameter(("tuning", "search_space", name), name, parameter)
    for name, value in job.fixed.items():
        yield from _at(("fixed", name), name_fault(name) or value_fault(value))
    yield from _objective(job)
    yield from _files(job.data, "data")
    yield from _files(tuning.scenarios, "tuning", "scenarios")
    if tuning.start_from is not None and not _is_path(tuning.start_from):
        yield f"a path that no filesystem takes, of {len(tuning.start_from):,} characters", ("tuning", "start_from")
    yield from _grid(job)
    if job.execution.memory_mb is not None and job.execution.memory_mb > MAX_MEMORY_MB:
        yield f"more than {MAX_MEMORY_MB:,} MiB", ("execution", "memory_mb")


def _parameter(path: tuple[str, ...], name: str, parameter: object) -> Iterator[Fault]:
    yield from _at(path, name_fault(name))
    if isinstance(parameter, ChoiceParameter):
        yield from _too_many(len(parameter.values), MAX_CHOICES, "values", *path, "values")
        for index, value in enumerate(parameter.values[:MAX_CHOICES]):
            yield from _at((*path, "values", index), value_fault(value))
    elif isinstance(parameter, FloatParameter | IntParameter):
        yield from _at((*path, "bounds"), number_fault(parameter.bounds[0], parameter.bounds[1], parameter.step))


def _objective(job: Job) -> Iterator[Fault]:
    if isinstance(job.objective, CommandObjective):
        yield from _too_many(len(job.objective.command), MAX_ARGUMENTS, "arguments", "objective", "command")
        if not _is_path(job.objective.command[0]):
            yield "no program has such a name", ("objective", "command", 0)
    elif isinstance(job.objective, PythonObjective) and len(job.objective.python) > MAX_PART_BYTES:
        yield "no module has such a name", ("objective", "python")


def _files(names: Sequence[str], *path: str) -> Iterator[Fault]:
    yield from _too_many(len(names), MAX_FILES, "files", *path)
    for index, name in enumerate(names[:MAX_FILES]):
        if not _is_path(name):
            yield f"a path that no filesystem takes, of {len(name):,} characters", (*path, index)


def _is_path(name: str) -> bool:
    return len(name) <= MAX_PATH_CHARS and all(len(os.fsencode(part)) <= MAX_PART_BYTES for part in name.split("/"))


def _grid(job: Job) -> Iterator[Fault]:
    points = job.tuning.grid_points
    in_all = points * len(job.tuning.search_space) if isinstance(points, int) else sum(points.values())
    if in_all > MAX_GRID_POINTS_IN_ALL:
        yield (
            f"{in_all:,} points over all dimensions; {MAX_GRID_POINTS_IN_ALL:,} are the most",
            ("tuning", "grid_points"),
        )


def _too_many(count: int, most: int, what: str, *path: str | int) -> Iterator[Fault]:
    if count > most:
        yield f"{count:,} {what}; {most:,} are the most", path


def _at(path: tuple[str | int, ...], fault: str | None) -> Iterator[Fault]:
    if fault is not None:
        yield fault, path
