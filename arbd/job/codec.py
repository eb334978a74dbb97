"""The resolved job as another host wrote it: checked part by part before a `JobSpec` is made of it.

What passes can be shown, searched and written as a table without an error. Whether this host may evaluate it is the
policy's to say, each time it is opened.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from arbd import schema
from arbd.job import limits
from arbd.job.codec_search import check_guidance, check_scalar
from arbd.job.spec import JobSpec
from arbd.records import INT64_MAX, mapping, number, sequence, shown, text, unpack, whole
from arbd.spool.layout import NAME_PATTERN

# Arguments of a command, files and notices are lists of text; each file can have a notice.
MAX_TEXTS = limits.MAX_FILES + limits.MAX_ARGUMENTS


def read_job_spec(payload: bytes | memoryview, path: Path | str = "a job") -> JobSpec:
    """The job in a record of the file `path`; VersionError when it is another version's, ValueError when it is none."""
    record = mapping(unpack(payload), "the job")
    schema.JOB.require(record, path)
    try:
        _check(record)
        return JobSpec.from_plain(record)
    except KeyError as error:
        raise ValueError(f"a job without {error}") from error
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _check(record: dict[Any, Any]) -> None:
    whole(record["n"], "the number of iterations", 1, limits.MAX_ITERATIONS)
    whole(record["seed"], "the seed", 0, limits.MAX_SEED)
    session_id = record["session_id"]
    if session_id is not None and not NAME_PATTERN.fullmatch(text(session_id, "the session id")):
        raise ValueError(f"the session id is {shown(session_id)}")
    objective = mapping(record["objective"], "the objective")
    _printable(objective["kind"], "the kind of objective")
    _texts(objective["target"], "the objective")
    if objective["kind"] != "paper" and not objective["target"]:
        raise ValueError("an objective without a target")
    for name in ("method", "mode", "on_bad_rows"):
        _printable(record[name], name)
    for name in ("data", "scenarios", "notices"):
        _texts(record[name], name)
    for path, digest in mapping(record["digests"], "the digests").items():
        text(path, "a path")
        text(digest, "a digest", 64)
    for name, value in mapping(record["fixed"], "the fixed parameters").items():
        _name(name)
        check_scalar(value)
    for name, points in mapping(record["grid_points"], "the grid").items():
        _name(name)
        whole(points, "the points of a dimension", 1, INT64_MAX)
    _goals(record["metrics"])
    _space(record["space"])
    _execution(mapping(record["execution"], "the execution"))
    _labels(mapping(record.get("labels", {}), "the labels"))
    for name, flag in mapping(record["results"], "the results").items():
        if type(flag) is not bool:
            raise ValueError(f"{shown(name)} of the results is {shown(flag)}")
    check_guidance(record)


def _goals(plain: Any) -> None:
    goals = [mapping(goal, "a metric") for goal in sequence(plain, "the metrics")]
    if not 1 <= len(goals) <= limits.MAX_GOALS:
        raise ValueError(f"{len(goals)} metrics")
    for goal in goals:
        if not 1 <= len(_printable(goal["name"], "a metric")) <= limits.MAX_METRIC_CHARS:
            raise ValueError(f"a metric {shown(goal['name'])}")
        if goal["direction"] not in ("maximize", "minimize"):
            raise ValueError(f"a direction {shown(goal['direction'])}")


def _space(plain: Any) -> None:
    space = [mapping(dimension, "a dimension") for dimension in sequence(plain, "the search space")]
    if not 1 <= len(space) <= limits.MAX_PARAMETERS or len({_name(dimension["name"]) for dimension in space}) < len(
        space
    ):
        raise ValueError(f"a search space of {len(space)} dimensions, of which each has a name of its own")
    for dimension in space:
        _dimension(dimension)


def _dimension(plain: dict[Any, Any]) -> None:
    kind = plain["type"]
    if kind == "choice":
        values = sequence(plain["values"], "the values of a choice")
        if not 1 <= len(values) <= limits.MAX_CHOICES:
            raise ValueError(f"a choice of {len(values)} values")
        for value in values:
            check_scalar(value)
    elif kind in ("float", "int"):
        low, high, step = plain["low"], plain["high"], plain["step"]
        if kind == "int":
            low = whole(low, "the lowest value", -limits.MAX_EXACT, limits.MAX_EXACT)
            high = whole(high, "the highest value", low, limits.MAX_EXACT)
            whole(step, "the step", 1)
        elif not number(low, "the lowest value") <= number(high, "the highest value") or not math.isfinite(high - low):
            raise ValueError(f"a range from {shown(low)} to {shown(high)}")
        if type(plain["log"]) is not bool or (plain["log"] and low <= 0):
            raise ValueError(f"log is {shown(plain['log'])} with {shown(low)} as the lowest value")
        if step is not None and not 0 < number(step, "the step") < math.inf:
            raise ValueError(f"a step of {shown(step)}")
        if (fault := limits.number_fault(low, high, step)) is not None:
            raise ValueError(fault)


def _labels(labels: dict[Any, Any]) -> None:
    for label in (*labels, *labels.values()):
        if not isinstance(label, str) or not limits.LABEL.fullmatch(label):
            raise ValueError(f"a label {shown(label)}")
    if len(labels) > limits.MAX_LABELS:
        raise ValueError(f"{len(labels)} labels; the maximum is {limits.MAX_LABELS}")


def _execution(plain: dict[Any, Any]) -> None:
    if plain["timeout_s"] is not None and not number(plain["timeout_s"], "the timeout") > 0:
        raise ValueError(f"a timeout of {shown(plain['timeout_s'])}")
    whole(plain["retries"], "the retries", 0, limits.MAX_RETRIES)
    whole(plain["priority"], "the priority", -limits.MAX_PRIORITY, limits.MAX_PRIORITY)
    for name, most in (("max_slots", limits.MAX_SLOTS), ("memory_mb", limits.MAX_MEMORY_MB)):
        if plain[name] is not None:
            whole(plain[name], name, 1, most)
    if (count := plain.get("iterations_per_process")) is not None:
        whole(count, "iterations_per_process", 1, limits.MAX_EXACT)


def _name(value: Any) -> str:
    name = _printable(value, "a name")
    if (fault := limits.name_fault(name)) is not None:
        raise ValueError(fault)
    return name


def _printable(value: Any, what: str) -> str:
    found = text(value, what)
    if not found.isprintable():
        raise ValueError(f"{what} with a character that cannot be shown: {shown(found)}")
    return found


def _texts(plain: Any, what: str) -> None:
    if len(sequence(plain, what)) > MAX_TEXTS:
        raise ValueError(f"{what} of {len(plain):,} parts")
    for item in plain:
        text(item, what)
