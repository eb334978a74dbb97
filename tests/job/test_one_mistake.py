"""One mistake in a job file is one message, at its place, whatever the field and whatever stands there instead."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from arbd.errors import JobError
from arbd.job.file import check_form
from arbd.job.model import CommandObjective, DataFolder, Job, PythonObjective, Tuning
from arbd.strict_yaml import Document
from tests.conftest import Arbctl

JOB: dict[str, Any] = {
    "objective": {"command": ["/bin/true"]},
    "tuning": {"method": "random", "max_iterations": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
}
WRONG: tuple[Any, ...] = (
    None,
    [],
    [[1]],
    {},
    {"nothing": 1},
    "nothing of the kind \n",
    -1.5,
    -(10**30),
    True,
    [None],
    [{}],
    ["a", 5],
)


def fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*path, field.alias or name)
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel) and candidate is not DataFolder:
                yield from fields(candidate, (*path, field.alias or name))


PATHS = [
    *fields(Job),
    *(("objective", name) for name in (*CommandObjective.model_fields, *PythonObjective.model_fields)),
    *(("tuning", "search_space", "x", name) for name in ("type", "bounds", "log", "step", "values")),
]


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    job = copy.deepcopy(JOB)
    if path[0] == "objective" and path[-1] in PythonObjective.model_fields:
        job["objective"] = {"python": "m:f"}
    if path[-1] == "values":
        job["tuning"]["search_space"]["x"] = {"type": "choice"}
    inner: Any = job
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return job


def problems(job: dict[str, Any]) -> list[Any]:
    try:
        return list(check_form(Document(job, "job.yaml", {})).faults)
    except JobError as error:
        return list(error.problems)


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_wrong_value_is_told_once_and_no_message_speaks_of_the_library(path: tuple[str, ...]) -> None:
    for value in WRONG:
        found = problems(with_value(path, value))
        told = [problem.field for problem in found]
        # A list or a mapping can have a mistake in each of its parts.
        assert len(told) == len(set(told)), (value, found)
        for field in told:
            assert not any(other.startswith(f"{field}.") for other in told), (value, found)
        for problem in found:
            assert problem.field.startswith(path[0]), (value, problem)
            assert "literal[" not in problem.message
            assert "Input" not in problem.message
            assert len(problem.message) < 400


ENUMERATIONS = {
    ("direction",): "maximise",
    ("mode",): "papr",
    ("on_bad_rows",): "dropp",
    ("tuning", "method"): "sobl",
    ("tuning", "acquisition_fn"): "eii",
    ("tuning", "search_space", "x", "type"): "flaot",
    ("objective", "protocol"): "line",
    ("validation", "stress"): "defalt",
}


@pytest.mark.parametrize("path", ENUMERATIONS, ids=".".join)
def test_every_enumeration_asks_whether_a_near_value_was_meant(path: tuple[str, ...]) -> None:
    (found,) = problems(with_value(path, ENUMERATIONS[path]))
    assert "did you mean" in found.message


@pytest.mark.parametrize(
    "path", [*fields(Job), *(("objective", n) for n in CommandObjective.model_fields)], ids=".".join
)
def test_every_field_is_asked_for_where_its_name_is_nearly_right(path: tuple[str, ...]) -> None:
    if len(path[-1]) < 4:
        pytest.skip("too short to be near to")
    wrong = path[-1][:-1] + ("x" if path[-1][-1] != "x" else "y") + "z"
    found = problems(with_value((*path[:-1], wrong), 1))
    assert any(f"did you mean {path[-1]!r}" in p.message or "did you mean" in p.message for p in found), found


def test_an_id_of_digits_alone_is_asked_for_in_quotes() -> None:
    (found,) = problems({**JOB, "session_id": 20240101})
    assert found.message == "is the number 20240101; write it in quotes: '20240101'"


def test_all_fields_of_tuning_are_seen_here() -> None:
    assert {("tuning", name) for name in Tuning.model_fields} <= set(PATHS)


# Parts whose fields lean on each other, each whole and right.
PARTS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("tuning", "prune"), {"rule": "percentile", "percentile": 25, "patience": 3, "min_delta": 0.1, "min_trials": 2}),
    (("tuning", "stop"), {"max_time_s": 5, "no_improvement": 5, "min_delta": 0.1}),
    (("schedule",), {"at": "03:00", "days": ["mon"], "timezone": "Europe/Zurich"}),
    (("validation",), {"holdout": "20%", "purge": "1h"}),
]


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, part in PARTS for field in part])
@pytest.mark.parametrize("wrong", [-5, "zzz", [], 1e9], ids=repr)
def test_nothing_follows_from_a_mistake_in_a_part_whose_fields_lean_on_each_other(
    arbctl: Arbctl, objectives: Path, tmp_path: Path, path: tuple[str, ...], field: str, wrong: Any
) -> None:
    (objectives / "stepwise.py").write_text("def go(params, trial): return 1.0\n")
    part = dict(next(value for at, value in PARTS if at == path)) | {field: wrong}
    job: dict[str, Any] = copy.deepcopy(JOB) | {
        "session_id": "n",
        "metric": "loss",
        "objective": {"python": "stepwise:go"},
    }
    inner = job
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = part
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    code, _, err = arbctl("validate", tmp_path / "job.yaml")
    assert "Traceback" not in err
    assert "problems" not in err, err
    assert (code == 0) or ".".join((*path, field)) in err, err
