"""In what two resolved jobs differ, in the words of a job file; and whether one is the other with more iterations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack

from arbd import schema
from arbd.job.code import with_parts
from arbd.job.spec import JobSpec

# What a resolved job calls otherwise than its file.
_NAMES = {
    "n": "tuning.max_iterations",
    "space": "tuning.search_space",
    "metrics": "metric",
    "digests": "what is in its files",
    "past": "start_from",
    "terms": "requires, after or deadline",
    "budgets": "budgets",
}
_OF_TUNING = ("method", "seed", "grid_points", "acquisition_fn", "constraints", "enqueue", "stop", "options")
# What is chosen by how many iterations there are, where the job does not say.
_FOLLOWS = ("n", "generation_size", "generation_lag", "budgets")


def content_of(spec: JobSpec) -> dict[str, Any]:
    """What makes a job this one and no other.

    Notices are of how the job was read; code that differs is told by its file, when it is loaded.
    """
    plain = with_parts(replace(spec, began_with=0), {}).to_plain()
    return {key: value for key, value in plain.items() if key not in ("session_id", "notices", "code")}


def differences(mine: JobSpec, other: JobSpec) -> list[str]:
    """The fields in which they differ; of parameters and settings, which."""
    one, two = content_of(mine), content_of(other)
    keys = [key for key in {**one, **two} if key != schema.JOB.key]
    return [_named(key, one.get(key), two.get(key)) for key in keys if not _are_equal(one.get(key), two.get(key))]


def more_iterations(mine: JobSpec, other: JobSpec) -> int:
    """How many more iterations `mine` asks for, where that is all in which it differs; else 0."""
    one, two = content_of(mine), content_of(other)
    keys = [key for key in {**one, **two} if key not in (*_FOLLOWS, schema.JOB.key)]
    same = all(_are_equal(one.get(key), two.get(key)) for key in keys)
    return max(0, mine.n - other.n) if same else 0


def _are_equal(one: Any, two: Any) -> bool:
    """True and 1 are two values of a choice."""
    return bool(msgpack.packb(one) == msgpack.packb(two))


def _named(key: str, one: Any, two: Any) -> str:
    name = _NAMES.get(key, f"tuning.{key}" if key in _OF_TUNING else key)
    if not isinstance(one, Mapping) or not isinstance(two, Mapping) or key == "digests":
        return name
    parts = [str(part) for part in {**one, **two} if not _are_equal(one.get(part), two.get(part))]
    return f"{name}.{parts[0]}" if len(parts) == 1 else f"{name} ({', '.join(parts)})"
