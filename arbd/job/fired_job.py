"""The job of one session of a standing job: the job file with its windows as of now, and what it begins with.

Everything that depends on when and where it is written is written into it, so that whoever takes it up resolves the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arbd import strict_yaml
from arbd.errors import JobError
from arbd.job.auto_method import with_method
from arbd.job.file import JobDocument, check_form, parse_job
from arbd.job.limits import MAX_ENQUEUED, MAX_LABELS
from arbd.job.model import AUTO
from arbd.job.resolve_quotes import days_of, first_folder, newest_of
from arbd.job.resolve_space import resolve_space
from arbd.named_file import ANY, ReadRule
from arbd.paper import params
from arbd.search.samplers import adaptive
from arbd.search.space import SearchSpace, Value
from arbd.spool.standing.folder import LABEL, fired_line
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class StandingFile:
    """The job file of a standing job, read. `space` and `fixed` are what it searches and holds."""

    document: JobDocument
    space: SearchSpace
    fixed: Mapping[str, Value]
    learns: bool
    tests: bool

    @property
    def may_start_from_earlier(self) -> bool:
        """Whether results of the session before may be told to its method: not where they may have seen a test."""
        return self.learns and not self.tests


def read_standing_file(data: bytes, name: str) -> StandingFile:
    """JobError when it is no job file of this version."""
    document = parse_job(data, name)
    if document.faults:
        raise JobError(name, list(document.faults))
    job = document.job
    space, fixed = resolve_space(job, paper=job.objective == "paper", wrong=lambda message, *path: None)
    meant = with_method(document)[0].job if job.tuning.method == AUTO else job
    validation = job.validation
    tests = validation is not None and bool(validation.schemes or validation.null_searches)
    return StandingFile(document, space, fixed, adaptive(meant.tuning.method) is not None, tests)


def point_of(standing: StandingFile, parameters: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """A setting as a point of the search: None, and why, where the job does not search it."""
    paper = standing.document.job.objective == "paper"
    given = {params.ALIASES.get(name, name) if paper else name: value for name, value in parameters.items()}
    point: dict[str, Any] = {}
    for dimension in standing.space.dimensions:
        if dimension.name not in given:
            if dimension.name in standing.space.conditional:
                continue
            return None, f"it has no {dimension.name}, which the job searches"
        try:
            dimension.column([given[dimension.name]])
        except ValueError as error:
            return None, f"the job does not search it: {error}"
        point[dimension.name] = given[dimension.name]
    for name, value in standing.fixed.items():
        if name in given and given[name] != value:
            return None, f"it was found with {name} = {given[name]}, and the job has {value}"
    return point, ""


def write_fired_job(
    standing: StandingFile,
    name: str,
    session: str,
    *,
    base_dirs: Sequence[Path],
    reading: ReadRule = ANY,
    warm: str = "",
    first: Mapping[str, Any] | None = None,
) -> bytes:
    """The job of `session`. `warm` is the session that it starts from, `first` the point that it evaluates first.

    DataError where a window has no data.
    """
    job = standing.document.value
    job.pop("schedule", None)
    job["session_id"] = session
    labels = dict(job.get("labels") or {})
    if len(labels) < MAX_LABELS:
        job["labels"] = {**labels, LABEL: name}
    if standing.document.job.data:
        job["data"] = [_data(given, base_dirs, reading) for given in standing.document.job.data]
    tuning = dict(job["tuning"])
    if warm:
        tuning["start_from"] = warm
    if first is not None:
        tuning["enqueue"] = [dict(first), *(tuning.get("enqueue") or [])][:MAX_ENQUEUED]
    job["tuning"] = tuning
    text = strict_yaml.dump(job).encode()
    check_form(strict_yaml.parse(text, session))
    return fired_line(name) + text


def _data(given: Any, base_dirs: Sequence[Path], reading: ReadRule) -> Any:
    if isinstance(given, str):
        return given
    days = days_of(given)
    if given.last is None:
        return given.model_dump(mode="json", by_alias=True, exclude_none=True)
    folder = first_folder([base / days.folder for base in base_dirs] or [days.folder])
    found = newest_of(given, replace(days, folder=folder), reading)
    return {"folder": str(folder), "pattern": found.pattern, "from": found.first, "to": found.last}
