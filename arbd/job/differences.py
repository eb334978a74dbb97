"""In what two resolved jobs differ, in the words of a job file; and whether one is the other with more iterations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack

from arbd import schema
from arbd.job.code import with_parts
from arbd.job.spec import NO_TERMS, JobSpec
from arbd.search.sampler import PlanMethod
from arbd.search.samplers import METHODS

# What a resolved job calls otherwise than its file.
_NAMES = {
    "n": "tuning.max_iterations",
    "space": "tuning.search_space",
    "metrics": "metric",
    "digests": "what is in its files",
    "marks": "what is in its files",
    "past": "tuning.start_from",
    "deadline_ns": "deadline",
    "max_slots": "execution.max_slots",
    "folds": "validation",
    "finalists": "validation.finalists",
    "sampler_versions": "versions of the method's libraries",
}
_OF_TUNING = (
    "method", "scenarios", "seed", "grid_points", "acquisition_fn", "generation_size", "generation_lag", "constraints",
    "enqueue", "stop", "prune", "repeats", "robust", "options", "min_budget",
)  # fmt: skip
# The parts of these are not those of a job file, or follow from each other.
_WHOLE = ("objective", "digests", "past", "prune", "robust", "direction", "sampler_versions", "validation")
_OF_SCHEDULE = ("method", "n", "max_slots", "stop", "prune", "validation")
# What may follow from other fields; it is told where none of these differs.
_CAUSES = {
    "direction": ("metrics",),
    "generation_size": _OF_SCHEDULE,
    "generation_lag": ("generation_size", *_OF_SCHEDULE),
    "budgets": ("method", "min_budget"),
    "options": ("method",),
    "sampler_versions": ("method",),
    "refill": ("method", "constraints", "space"),
    "digests": ("objective", "data", "scenarios"),
    "marks": ("objective", "data", "scenarios"),
    "folds": ("validation", "data", "scenarios", "fixed", "space"),
    "finalists": ("validation", "n"),
}
# Of `validation`, what stands apart.
_OF_VALIDATION = ("search_n", "folds", "finalists")
# Of a method that says itself how many iterations it has.
_CAUSES_OF_SIZE = ("method", "space", "grid_points", "enqueue")
# What is chosen by how many iterations there are, where the job does not say.
_FOLLOWS = ("n", "generation_size", "generation_lag", "budgets")


def content_of(spec: JobSpec) -> dict[str, Any]:
    """What makes a job this one and no other.

    Notices are of how the job was read; code that differs is told by its file, when it is loaded.
    """
    plain = with_parts(replace(spec, began_with=0), {}).to_plain()
    return {key: value for key, value in plain.items() if key not in ("session_id", "notices", "code")}


def differences(mine: JobSpec, other: JobSpec) -> list[str]:
    """The fields of a job file in which they differ; of parameters and settings, which.

    What may follow from another field that differs is left out.
    """
    if not _differing(content_of(mine), content_of(other)):
        return []
    one, two = _as_asked(mine, other), _as_asked(other, mine)
    causes = _CAUSES | ({"n": _CAUSES_OF_SIZE} if _has_size(mine) or _has_size(other) else {})
    differing = _differing(one, two)
    told = [key for key in differing if differing.isdisjoint(causes.get(key, ()))]
    named = {_named(key, one.get(key), two.get(key)): None for key in one | two if key in told}
    assert named, "nothing is left out but for what differs"
    return list(named)


def more_iterations(mine: JobSpec, other: JobSpec) -> int:
    """How many more iterations `mine` asks for, where that is all in which it differs; else 0."""
    one, two = content_of(mine), content_of(other)
    keys = [key for key in {**one, **two} if key not in (*_FOLLOWS, schema.JOB.key)]
    same = all(_are_equal(one.get(key), two.get(key)) for key in keys)
    return max(0, mine.n - other.n) if same else 0


def _are_equal(one: Any, two: Any) -> bool:
    """True and 1 are two values of a choice."""
    return bool(msgpack.packb(one) == msgpack.packb(two))


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> set[str]:
    keys = {*one, *two} - {schema.JOB.key}
    return {key for key in keys if not _are_equal(one.get(key), two.get(key))}


def _as_asked(spec: JobSpec, other: JobSpec) -> dict[str, Any]:
    """What makes the job this one by the fields of a job file, as far as it can be compared with another."""
    content = content_of(spec)
    goals = spec.each.metrics
    both = {dimension.name for dimension in spec.space.dimensions} & {each.name for each in other.space.dimensions}
    validation, terms = content.pop("validation", {}), content.pop("terms", NO_TERMS.to_plain())
    return {
        **content,
        **terms,
        "n": spec.search_n,
        "metrics": [goal.name for goal in goals],
        "direction": [goal.direction for goal in goals],
        "grid_points": {name: count for name, count in spec.grid_points.items() if name in both},
        "execution": {name: value for name, value in content["execution"].items() if name != "max_slots"},
        "max_slots": spec.execution.max_slots,
        "validation": {name: value for name, value in validation.items() if name not in _OF_VALIDATION},
        "folds": validation.get("folds"),
        "finalists": validation.get("finalists"),
    }


def _has_size(spec: JobSpec) -> bool:
    method = METHODS.get(spec.method) if spec.method in METHODS.built_in() else None
    return isinstance(method, PlanMethod) and method.size is not None


def _named(key: str, one: Any, two: Any) -> str:
    name = _NAMES.get(key, f"tuning.{key}" if key in _OF_TUNING else key)
    if not isinstance(one, Mapping) or not isinstance(two, Mapping) or key in _WHOLE:
        return name
    parts = [str(part) for part in {**one, **two} if not _are_equal(one.get(part), two.get(part))]
    return f"{name}.{parts[0]}" if len(parts) == 1 else f"{name} ({', '.join(parts)})"
