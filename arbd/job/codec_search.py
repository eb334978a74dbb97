"""What a resolved job says of adaptive search, as another host wrote it: checked part by part, see `spec_records`.

Jobs of the first version have none of these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbd.job import limits
from arbd.records import mapping, number, sequence, shown, text, whole
from arbd.search.constraints import parse_constraint
from arbd.search.schedule import LAG, MAX_LAG

MAX_VERSIONS = 100


def check_guidance(record: Mapping[Any, Any]) -> None:
    """ValueError unless constraints, points, earlier results, stop rules, options, budgets and versions are what arbd writes."""
    whole(record.get("generation_size", 0), "the generation size", 0, limits.MAX_GENERATION)
    whole(record.get("generation_lag", LAG), "the generation lag", 1, MAX_LAG)
    if not 0 < number(record.get("min_budget", 1.0), "the least budget") <= 1:
        raise ValueError(f"a least budget of {shown(record['min_budget'])}")
    constraints = sequence(record.get("constraints", []), "the constraints")
    if len(constraints) > limits.MAX_CONSTRAINTS:
        raise ValueError(f"{len(constraints):,} constraints")
    for constraint in constraints:
        parse_constraint(text(constraint, "a constraint"))
    _points(record.get("enqueue", []), limits.MAX_ENQUEUED)
    if record.get("past") is not None:
        _past(mapping(record["past"], "the earlier results"))
    _stop(mapping(record.get("stop", {}), "the stop rules"))
    for name, value in mapping(record.get("options", {}), "the options").items():
        text(name, "an option", 200)
        check_scalar(value)
    for budget in sequence(record.get("budgets", []), "the budgets"):
        if not 0 < number(budget, "a budget") <= 1:
            raise ValueError(f"a budget of {shown(budget)}")
    for name in ("sampler_versions", "code"):
        _versions(mapping(record.get(name, {}), "the versions"))


def _versions(versions: Mapping[Any, Any]) -> None:
    if len(versions) > MAX_VERSIONS:
        raise ValueError(f"{len(versions):,} versions")
    for name, version in versions.items():
        text(name, "a library", 100)
        text(version, "a version", 100)


def check_scalar(value: Any) -> None:
    """ValueError unless a parameter can have this value."""
    if isinstance(value, str):
        text(value, "a value")
    elif type(value) not in (bool, int, float):
        raise ValueError(f"a value {shown(value)}")


def _points(plain: Any, most: int) -> int:
    points = sequence(plain, "the points")
    if len(points) > most:
        raise ValueError(f"{len(points):,} points")
    for point in points:
        for name, value in mapping(point, "a point").items():
            text(name, "a parameter", 200)
            check_scalar(value)
    return len(points)


def _past(plain: Mapping[Any, Any]) -> None:
    text(plain["source"], "the source of earlier results")
    count = _points(plain["points"], limits.MAX_PAST)
    for row in sequence(plain["metrics"], "the earlier metrics", count):
        for value in sequence(row, "a row of metrics"):
            number(value, "a metric")


def _stop(plain: Mapping[Any, Any]) -> None:
    if unknown := set(plain) - {"max_time_s", "no_improvement", "target"}:
        raise ValueError(f"unknown stop rules {shown(sorted(map(str, unknown)))}")
    for name in ("max_time_s", "target"):
        if plain.get(name) is not None:
            number(plain[name], f"the rule {name}")
    if plain.get("no_improvement") is not None:
        whole(plain["no_improvement"], "the rule no_improvement", 1)
