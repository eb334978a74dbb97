"""A job in Python: the fields of a job file as arguments, with the same checks and the same messages."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arbd.api import arguments
from arbd.errors import UsageError
from arbd.job.spec import JobSpec
from arbd.near_names import nearest

SOURCE = "arbd.Job"


class Job:
    """What is to be tuned, and how. `fields` are those of a job file; those of `tuning` may stand beside the others.

    `objective` may also be a function of `params`, and of `trial`, `budget` and `window` where it wants them, which `arbd.tune`
    runs in processes of this host.
    JobError names everything that is wrong with the form; what the fields come to is checked by `resolve`, `arbd.tune`
    and `arbd.submit`. Relative paths start at the current folder, of a file at its own.

        job = arbd.Job(objective="paper", data=["quotes.parquet"], method="tpe", max_iterations=500,
                       search_space={"min_spread_pct": {"type": "float", "bounds": [0.05, 0.5]}})
    """

    def __init__(self, **fields: Any) -> None:
        objective = fields.get("objective", "paper")
        if objective != "paper" and not isinstance(objective, Mapping) and not callable(objective):
            raise UsageError(
                f"{SOURCE}: objective is a function, 'paper', {{'python': 'module:function'}} or {{'command': [program, ...]}}; "
                f"given was {arguments.shown(objective)}"
            )
        self.function = _function(fields)
        self._begin(_nested(_named(fields)), Path.cwd())

    @classmethod
    def load(cls, path: str | Path) -> Job:
        """The job of a file."""
        from arbd import strict_yaml
        from arbd.job.file import check_form

        source, job = arguments.path(path, "path"), cls.__new__(cls)
        job.function = None
        # What is no mapping has no fields to be checked: it is refused here.
        job._begin(dict(check_form(strict_yaml.load(source)).value), source.absolute().parent, str(source))
        return job

    def _begin(self, fields: dict[str, Any], folder: Path, source: str = SOURCE) -> None:
        from arbd.errors import JobError
        from arbd.job.file import check_form
        from arbd.strict_yaml import Document

        self.folder, self.source = folder, source
        self._document = check_form(Document(fields, source, {}))
        if self._document.faults:
            raise JobError(source, list(self._document.faults))

    @property
    def fields(self) -> dict[str, Any]:
        """As a job file has them."""
        return self._document.value

    def but(self, **fields: Any) -> Job:
        """The same job with other fields."""
        job = Job.__new__(Job)
        job.function = _function(fields) if "objective" in fields else self.function
        changed = _nested(_named(fields))
        tuning = {**self.fields.get("tuning", {}), **changed.pop("tuning", {})}
        job._begin({**self.fields, **changed, "tuning": tuning}, self.folder, self.source)
        return job

    def resolve(self) -> JobSpec:
        """All checks; what the job comes to on this host. Of a function, the form and the search alone are checked."""
        from arbd.job.resolve import resolve_job

        return resolve_job(self._document, base_dirs=(self.folder, Path.cwd()), search_paths=(Path.cwd(),))

    def to_yaml(self) -> str:
        """The text of a job file; UsageError for a job whose objective is a function, which no file can hold."""
        from arbd import strict_yaml

        if self.function is not None:
            raise UsageError("a job whose objective is a function has no file: put the function into a module")
        return strict_yaml.dump(self.fields)

    def __repr__(self) -> str:
        tuning = self.fields["tuning"]
        name = getattr(self.function, "__name__", "") or self.fields.get("objective", "paper")
        return f"Job({name}, {tuning['method']}, {', '.join(tuning['search_space'])})"

    def _repr_html_(self) -> str:
        rows = [(name, space) for name, space in self.fields["tuning"]["search_space"].items()]
        cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(_shown(s))}</td></tr>" for name, s in rows)
        return f"<p>{html.escape(repr(self))}</p><table>{cells}</table>"


def _function(fields: Mapping[str, Any]) -> Callable[..., Any] | None:
    objective = fields.get("objective")
    return objective if callable(objective) else None


def _named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """With a name in the place of a function."""
    named = {"objective": {"python": "arbd_notebook:objective"}}
    return {**fields, **(named if _function(fields) is not None else {})}


def _shown(parameter: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in parameter.items())


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `tuning` that stand beside the others are put below it."""
    from arbd.job.model import Job as Model
    from arbd.job.model import Tuning

    known = {*Model.model_fields, *Tuning.model_fields}
    for name in fields:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"{SOURCE}: unknown field {name!r}; {hint}")
    tuning = {**fields.get("tuning", {}), **{n: v for n, v in fields.items() if n in Tuning.model_fields}}
    found = {name: value for name, value in fields.items() if name in Model.model_fields and name != "tuning"}
    return {**found, "tuning": tuning}
