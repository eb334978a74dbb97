"""The limits of a job stand once: what a job file may say, a stored job may say, and nothing beyond either."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgpack
import pytest
import yaml

from arbd.errors import JobError
from arbd.job import limits
from arbd.job.codec import read_job_spec
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec

SPACE = {"x": {"type": "float", "bounds": [0, 1]}}


def job(**tuning: Any) -> dict[str, Any]:
    """A job of a command that is there everywhere."""
    return {
        "objective": {"command": ["/bin/true"]},
        "tuning": {"method": "random", "max_iterations": 1, "search_space": SPACE, **tuning},
    }


def choices(count: int) -> dict[str, Any]:
    return {"x": {"type": "choice", "values": list(range(count))}}


def resolved(document: dict[str, Any]) -> JobSpec:
    return resolve_job(parse_job(yaml.safe_dump(document).encode(), "job.yaml"), base_dirs=())


# What a job of each kind looks like with a number in the place that is limited, and the largest that is taken.
PLACES: dict[str, tuple[Any, int]] = {
    "iterations": (lambda k: job(max_iterations=k), limits.MAX_ITERATIONS),
    "seed": (lambda k: job(seed=k), limits.MAX_SEED),
    "parameters": (
        lambda k: job(search_space={f"x{i}": SPACE["x"] for i in range(k)}),
        limits.MAX_PARAMETERS,
    ),
    "choices": (lambda k: job(search_space=choices(k)), limits.MAX_CHOICES),
    "metrics": (lambda k: {**job(), "metric": [f"m{i}" for i in range(k)]}, limits.MAX_GOALS),
    "metric characters": (lambda k: {**job(), "metric": "m" * k}, limits.MAX_METRIC_CHARS),
    "name characters": (lambda k: job(search_space={"x" * k: SPACE["x"]}), 64),
    "retries": (lambda k: {**job(), "execution": {"retries": k}}, limits.MAX_RETRIES),
    "priority": (lambda k: {**job(), "execution": {"priority": k}}, limits.MAX_PRIORITY),
    "slots": (lambda k: {**job(), "execution": {"max_slots": k}}, limits.MAX_SLOTS),
    "memory": (lambda k: {**job(), "execution": {"memory_mb": k}}, limits.MAX_MEMORY_MB),
    "generation": (lambda k: job(method="tpe", generation_size=k), limits.MAX_GENERATION),
    "points": (lambda k: job(max_iterations=20_000, enqueue=[{"x": 0.5}] * k), limits.MAX_ENQUEUED),
    "constraints": (lambda k: job(constraints=["m >= 1"] * k), limits.MAX_CONSTRAINTS),
    # A chain of j values is j names and one comparison of them.
    "terms of constraints": (
        lambda k: job(constraints=["m" + "<m" * 98] * 49 + ["m" + "<m" * (k - 4_902)]),
        limits.MAX_CONSTRAINT_TERMS,
    ),
    "exact integers": (
        lambda k: job(search_space={"x": {"type": "int", "bounds": [0, k]}}),
        limits.MAX_EXACT,
    ),
    "arguments": (
        lambda k: {**job(), "objective": {"command": ["/bin/true", *["a"] * (k - 1)]}},
        limits.MAX_ARGUMENTS,
    ),
}


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_job_at_its_limit_is_taken_and_read_back_and_one_more_is_refused_by_both(place: str) -> None:
    make, most = PLACES[place]
    spec = resolved(make(most))
    stored = bytes(msgpack.packb(spec.to_plain()))
    assert read_job_spec(stored) == spec
    with pytest.raises(JobError):
        resolved(make(most + 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", limits.MAX_ITERATIONS + 1),
        ("seed", -1),
        ("generation_size", limits.MAX_GENERATION + 1),
        ("constraints", ["m >= 1"] * (limits.MAX_CONSTRAINTS + 1)),
        ("metrics", [{"name": "m", "direction": "maximize"}] * (limits.MAX_GOALS + 1)),
        ("enqueue", [{"x": 1.0}] * (limits.MAX_ENQUEUED + 1)),
        ("fixed", {"two words": 1}),
        ("fixed", {"a": [1]}),
        ("session_id", "../x"),
        ("objective", {"kind": "python", "target": []}),
        ("objective", {"kind": "pap\x1ber", "target": []}),
        ("method", "ran\ndom"),
        ("space", []),
        ("space", [{"type": "spiral", "name": "x"}]),
        ("space", [{"type": "choice", "name": "x", "values": []}]),
        ("space", [{"type": "choice", "name": "x", "values": [1]}, {"type": "choice", "name": "x", "values": [2]}]),
        ("space", [{"type": "int", "name": "x", "low": 3, "high": 2, "log": False, "step": 1}]),
        ("space", [{"type": "int", "name": "x", "low": 0, "high": 2, "log": True, "step": 1}]),
        ("space", [{"type": "int", "name": "x", "low": 0, "high": 2**53 + 1, "log": False, "step": 1}]),
        ("space", [{"type": "float", "name": "x", "low": 0.0, "high": math.inf, "log": False, "step": None}]),
        ("space", [{"type": "float", "name": "x", "low": math.nan, "high": 1.0, "log": False, "step": None}]),
        ("space", [{"type": "float", "name": "x", "low": 0.0, "high": 1.0, "log": 0, "step": None}]),
        ("space", [{"type": "float", "name": "x", "low": 0.0, "high": 1.0, "log": False, "step": 0.0}]),
        ("space", [{"type": "float", "name": "x", "low": 0.0, "high": 1.0, "log": False, "step": 1e-300}]),
        ("metrics", []),
        ("metrics", [{"name": "m", "direction": "sideways"}]),
        ("metrics", [{"name": "", "direction": "maximize"}]),
        ("constraints", ["m >"]),
        ("constraints", ["m" + "<m" * 98] * 51),
        ("budgets", [0.5, 0.0]),
        ("min_budget", math.nan),
        ("stop", {"later_rule": 1}),
        ("stop", {"no_improvement": 0}),
        ("results", {"csv": 1}),
        ("past", {"source": "s", "points": [{"x": 1}], "metrics": []}),
        ("past", {"source": "s", "points": [{"x": 1}], "metrics": [[1.0]], "budget": [1.0, 1.0]}),
        ("code", dict.fromkeys(map(str, range(101)), "v")),
        ("data", [1]),
    ],
)
def test_a_stored_job_beyond_a_limit_is_refused(name: str, value: Any) -> None:
    spec = replace(resolved(job()), notices=())
    with pytest.raises(ValueError, match="."):
        read_job_spec(bytes(msgpack.packb({**spec.to_plain(), name: value})))


@pytest.mark.parametrize(
    ("rule", "value"),
    [("timeout_s", 0), ("timeout_s", math.nan), ("retries", -1), ("max_slots", 0), ("memory_mb", 0), ("later_rule", 1)],
)
def test_a_stored_job_with_a_rule_that_nobody_could_keep_is_refused(rule: str, value: Any) -> None:
    plain = resolved(job()).to_plain()
    with pytest.raises(ValueError, match=rule):
        read_job_spec(bytes(msgpack.packb({**plain, "execution": {**plain["execution"], rule: value}})))


def test_numbers_of_a_stored_job_stay_what_they_are_so_that_it_is_the_same_when_it_is_written_again() -> None:
    plain = resolved(job()).to_plain()
    plain["space"] = [
        {"type": "float", "name": "x", "low": 0, "high": 1.0, "log": False, "step": None},
        {"type": "choice", "name": "y", "values": [1, 1.0, True, "1"]},
    ]
    plain["execution"]["timeout_s"] = 60
    plain |= {"min_budget": 1, "budgets": [0.5, 1], "stop": {"max_time_s": 5, "no_improvement": None, "target": 1.0}}
    payload = bytes(msgpack.packb(plain))
    assert msgpack.packb(read_job_spec(payload).to_plain()) == payload
