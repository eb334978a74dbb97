"""Whatever stands in whatever field of a job, what is said of it is in our words, not in a library's."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from arbd.errors import JobError, Problem
from arbd.job.file import check_form, job_schema
from arbd.strict_yaml import parse

JOB: dict[str, Any] = {
    "objective": {"python": "a:b"},
    "metric": "v",
    "tuning": {
        "method": "random",
        "max_iterations": 5,
        "search_space": {
            "x": {"type": "float", "bounds": [0, 1]},
            "c": {"type": "choice", "values": ["a", "b"]},
            "k": {"type": "int", "bounds": [0, 4]},
        },
    },
}
VALUES = [
    None, True, -1, 0, 1.5, float("inf"), float("nan"), "", "x", "x" * 3_000, [], [1], ["a"] * 3_000, {}, {"a": 1}, 10**30, -(10**30),
    [None], [{}], {"x": {}}, "1e400", "12:00",
]  # fmt: skip
SCHEMA = job_schema()


def kinds(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield part
    for key in ("anyOf", "oneOf", "allOf"):
        for other in part.get(key, ()):
            yield from kinds(other)
    if "$ref" in part:
        yield from kinds(SCHEMA["$defs"][part["$ref"].rpartition("/")[2]])


def fields(part: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for kind in kinds(part):
        for name, inner in kind.get("properties", {}).items():
            yield (*prefix, name)
            if len(prefix) < 4:
                yield from fields(inner, (*prefix, name))


PARAMETERS = [
    ("tuning", "search_space", *ends)
    for ends in [(), ("",), *((name, key) for name in "xck" for key in ("type", "bounds", "values", "log", "step", "when"))]
]  # fmt: skip
FIELDS = [*dict.fromkeys([*fields(SCHEMA), *PARAMETERS])]


def problems(value: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        return check_form(parse(yaml.safe_dump(value), "job.yaml")).faults
    except JobError as error:
        return tuple(error.problems)


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_what_is_said_of_any_value_in_any_field_is_in_our_words(path: tuple[str, ...]) -> None:
    for value in VALUES:
        job = copy.deepcopy(JOB)
        at = job
        for part in path[:-1]:
            if not isinstance(at.get(part), dict):
                at[part] = {}
            at = at[part]
        at[path[-1]] = value
        for problem in problems(job):
            assert problem.message, (path, value)
            said = re.sub(r"\bnot .*", "", problem.message)
            assert not re.search(
                r"(?i)should|after validation|\binput\b|pydantic|unable to|another form|\^[\[(\\]", said
            ), problem
            assert len(problem.message) < 1_500, problem


def test_bounds_are_told_by_name() -> None:
    job = copy.deepcopy(JOB) | {"execution": {"timeout_s": -1, "retries": 1.5}}
    job["tuning"] |= {"search_space": {}, "max_iterations": 0}
    said = {problem.field: problem.message for problem in problems(job)}
    assert said == {
        "execution.retries": "must be an integer, not 1.5",
        "execution.timeout_s": "must be above 0, not -1",
        "tuning.max_iterations": "must be at least 1, not 0",
        "tuning.search_space": "must have 1 or more values, not {}",
    }


def test_a_job_without_a_method_leaves_it_to_the_policy() -> None:
    job = copy.deepcopy(JOB)
    del job["tuning"]["method"]
    assert check_form(parse(yaml.safe_dump(job), "job.yaml")).job.tuning.method == "auto"
