"""From the text of a job file to a checked document: every fault at once, each with its line and its field."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from arbd import strict_yaml
from arbd.errors import JobError, Problem, UsageError
from arbd.job.model import CommandObjective, Job, PythonObjective, Tuning
from arbd.near_names import nearest
from arbd.search.samplers import METHODS, built_in, planned
from arbd.strict_yaml import Document
from arbd.values import dataclass

# What a field takes, by the fault of a value that is nothing of the kind; in the order in which kinds are told.
_KINDS = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_A_TIME = "must be a time, such as 2027-01-31T18:00:00Z"
_A_DATE = "must be a date, such as 2027-01-31"
# What a value breaks, in our words.
_BOUNDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have {min_length} or more values",
    "too_long": "must have {max_length} or fewer values",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
    "finite_number": "must be a finite number",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer of fewer digits",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "datetime_parsing": _A_TIME,
    "datetime_from_date_parsing": _A_TIME,
    "datetime_type": _A_TIME,
    "datetime_object_invalid": _A_TIME,
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"), _A_DATE),
}
# Fields of which more is to be said, whatever stands there.
_OWN_MESSAGES = ("method", "session_id", "interpreter")
# What a field takes whose pattern says little to a person.
_EXPECTED: Mapping[tuple[str | int, ...], str] = {
    ("objective", "interpreter"): "the absolute path of a Python, such as /opt/venvs/alpha/bin/python",
    ("schedule", "at"): "a time of day from 00:00 to 23:59, such as 03:00",
    ("schedule", "promoted_to"): "the absolute path of a file, such as /etc/bot/params.yaml",
}
# What fields of texts take, by their names.
_A_SPAN = "a time such as 7d, 12h or 90m"
_FORMS = {
    "python": "module:function",
    "holdout": "a share such as 20%, or a time such as 7d or 12h",
    **dict.fromkeys(("train", "test", "step", "purge", "embargo"), _A_SPAN),
    **dict.fromkeys(("last", "skip_newest"), "a number of days, such as 30d"),
    "pattern": "a pattern of names of files, such as BTC-*.parquet, without a folder",
    "promoted_to": "an absolute path",
    **dict.fromkeys(("after", "session_id"), "the name of a session"),
    **dict.fromkeys(("tags", "labels", "requires"), "letters, digits, '.', '_' or '-'"),
}
# Names of alternatives, in places where the model found a fault.
_ALTERNATIVES = ("float", "int", "choice", "bool", "str", "constrained-str")
# Parts whose fields lean on each other: of one that has a fault, nothing more is said.
_WHOLE = (("tuning", "prune"), ("tuning", "stop"), ("tuning", "robust"), ("schedule",), ("validation",))
# Each is told with its place; whoever makes more mistakes corrects these first.
MAX_FAULTS = 500


@dataclass(frozen=True, slots=True)
class JobDocument:
    """A job read; whether its contents make sense is `resolve_job`'s to say, which raises for `faults` too.

    `faults` are what is wrong with the form. Where there are any, `job` is what is left without the faulty
    parts, so that the rest can be checked and a person is told everything at once.
    """

    job: Job
    document: Document
    faults: tuple[Problem, ...] = ()

    @property
    def value(self) -> dict[str, Any]:
        """The file's content in plain values."""
        return dict(self.document.value)

    def problem(self, message: str, *path: str | int) -> Problem:
        """A problem at the place of `path` in the file."""
        line, column = self.document.locate(path)
        return Problem(message, ".".join(str(part) for part in path), line, column)


def load_job(path: Path) -> JobDocument:
    """Read a job file; JobError when it is no YAML, or nothing of it can be used."""
    return check_form(strict_yaml.load(path))


def parse_job(text: str | bytes, source: str) -> JobDocument:
    """Read the text of a job; JobError when it is no YAML, or nothing of it can be used."""
    return check_form(strict_yaml.parse(text, source))


def apply_overrides(document: JobDocument, overrides: Sequence[str]) -> JobDocument:
    """The job with `key=value` pairs put in; keys are dotted, values are read as YAML."""
    value = document.value
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--set {item!r}: expected key=value, such as tuning.seed=7")
        new = strict_yaml.parse(text, f"--set {key.strip()}").value
        value = _with(value, key.strip().split("."), new, f"--set {item!r}")
    return check_form(Document(value, document.document.source, document.document.places))


def without(
    document: JobDocument, field: str, values: Sequence[tuple[str, Any]], source: str | None = None
) -> JobDocument:
    """The job without a field, and with others put in, by dotted keys. UsageError when there is nothing below a key."""
    value = {name: given for name, given in document.value.items() if name != field}
    for key, new in values:
        value = _with(value, key.split("."), new, key)
    return check_form(Document(value, source or document.document.source, document.document.places))


def _with(mapping: Any, path: Sequence[str], new: Any, item: str) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise UsageError(f"{item}: there is nothing below {path[0]!r} to set")
    name, rest = path[0], path[1:]
    return {**mapping, name: _with(mapping.get(name, {}), rest, new, item) if rest else new}


def job_schema() -> dict[str, Any]:
    """JSON Schema of the job file (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Job.model_json_schema()}


def check_form(document: Document) -> JobDocument:
    """Check a document against the model of a job."""
    if not isinstance(document.value, dict):
        raise JobError.of(document.source, "a job is a mapping of fields; it holds at least `tuning:`, see etc/jobs/")
    try:
        return JobDocument(Job.model_validate(document.value), document)
    except ValidationError as error:
        found = error.errors(include_url=False)[:MAX_FAULTS]
    faults = sorted(_problems(document, found), key=lambda p: (p.line, p.column, p.field))
    rest = copy.deepcopy(document.value)
    for fault in found:
        _cut(rest, tuple(_real_path(document.value, fault["loc"])))
    try:
        return JobDocument(Job.model_validate(rest), document, tuple(faults))
    except ValidationError:
        raise JobError(document.source, faults) from None


def _cut(value: Any, path: Sequence[str | int]) -> None:
    """Take a faulty part out, or a whole parameter when something inside of it is faulty."""
    if path[:2] == ("tuning", "search_space") and len(path) > 2:
        value.get("tuning", {}).get("search_space", {}).pop(path[2], None)
        return
    whole = next((part for part in _WHOLE if path[: len(part)] == part), None)
    path = path if whole is None else whole
    if path == ("tuning", "method") and isinstance(value.get("tuning"), dict):
        # One that needs nothing else, so that no further fault follows from the missing method.
        value["tuning"]["method"] = next(name for name in built_in(learns=False) if planned(name).size is not None)
        return
    if path[:1] == ("objective",):
        # Some objective that is not the engine's, so that nothing follows from what the engine needs.
        value["objective"] = {"python": "unknown:unknown"}
        return
    for part in path[:-1]:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict) and path:
        value.pop(path[-1], None)


def _problems(document: Document, found: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """One for each place. Where a field takes several kinds of values, the model finds a fault of each kind."""
    places: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for fault in found:
        places.setdefault(tuple(_real_path(document.value, fault["loc"])), []).append(fault)
    for path, faults in places.items():
        if any(len(other) > len(path) and other[: len(path)] == path for other in places):
            # What is wrong is further inside: the value is of one of the kinds.
            continue
        line, column = document.locate(path)
        # A fault of another kind than the value's says nothing where one of its own kind is known.
        telling = [fault for fault in faults if fault["type"] not in _KINDS] or faults
        own = telling[0]["type"] not in _KINDS or (path and path[-1] in _OWN_MESSAGES)
        message = _message(document, telling[0], path) if own else _not_of(telling)
        yield Problem(message, ".".join(map(str, path)), line, column)


def _not_of(faults: Sequence[Mapping[str, Any]]) -> str:
    """Which kinds of values a field takes."""
    told = {_KINDS[fault["type"]] for fault in faults}
    names = [name for name in dict.fromkeys(_KINDS.values()) if name in told]
    if "a number" in names and "an integer" in names:
        names.remove("an integer")
    kinds = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return f"must be {kinds}, not {_shown(faults[0].get('input'))}"


def _real_path(document: Any, loc: Sequence[str | int]) -> Iterator[str | int]:
    """The location without the names of alternatives that the model puts in between."""
    value: Any = document
    for position, part in enumerate(loc):
        if position == 1 and loc[0] == "objective":
            # The kind, which is the name of a field too.
            continue
        if _has(value, part):
            value = value[part]
            yield part
        elif (
            position == len(loc) - 1 and isinstance(value, dict) and part not in _ALTERNATIVES and "[" not in str(part)
        ):
            yield part


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _message(document: Document, fault: Mapping[str, Any], path: Sequence[str | int]) -> str:
    kind, given = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        known = _known_fields(document.value, path)
        if len(path) == 1 and path[0] in Tuning.model_fields:
            return "belongs under `tuning:`"
        near = nearest(path[-1], known)
        return "unknown field" + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")
    if kind == "missing":
        place = fault["loc"][-1]
        # Of a list the number of a value, which no field is.
        return f"must have {place + 1} or more values, not {_shown(given)}" if isinstance(place, int) else "is missing"
    if path and path[-1] == "method":
        return str(fault["msg"]) if kind == "method" else METHODS.unknown_text(given)
    return _message_of_value(fault, path, given)


def _message_of_value(fault: Mapping[str, Any], path: Sequence[str | int], given: object) -> str:
    """What is wrong with a value of a field that there is."""
    kind = fault["type"]
    if kind == "objective_kind":
        return f"must be {fault['msg']}, not {_shown(given)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = "'float', 'int', 'choice', 'bool'"
        told = given.get("type") if isinstance(given, dict) else None
        example = f", as in {{type: float, bounds: [0, 1]}}; it is {_shown(given)}"
        named = f", not {_shown(told)}{_near(told, kinds)}" if isinstance(given, dict) else example
        return f"type must be float, int, choice or bool{named}"
    if kind == "literal_error":
        return f"must be one of {fault['ctx']['expected']}, not {_shown(given)}{_near(given, fault['ctx']['expected'])}"
    if expected := _EXPECTED.get(tuple(path)):
        return f"must be {expected}, not {_shown(given)}"
    if path and path[-1] == "session_id":
        if type(given) is int and given >= 0:
            return f"is the number {given}; write it in quotes: '{given}'"
        return f"{_shown(given)} is not usable: 1 to 64 letters, digits, '.', '_' or '-', and no '.' first"
    return _message_of_bound(fault, path, given)


def _message_of_bound(fault: Mapping[str, Any], path: Sequence[str | int], given: object) -> str:
    kind = fault["type"]
    if kind == "string_pattern_mismatch":
        name = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
        return f"must be {_FORMS.get(name, 'of another form: see docs/reference/job.md')}, not {_shown(given)}"
    if kind in _BOUNDS:
        bounds = {
            name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in fault.get("ctx", {}).items()
        }
        return f"{_BOUNDS[kind].format(**bounds)}, not {_shown(given)}"
    return f"{str(fault['msg'])[:1].lower()}{str(fault['msg'])[1:]}, not {_shown(given)}"


def _near(given: object, expected: str) -> str:
    """What may have been meant, of the quoted names in `expected`."""
    near = nearest(given, re.findall(r"'([^']*)'", expected))
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(given: object) -> str:
    return repr(given) if len(repr(given)) <= 60 else repr(given)[:57] + "..."


def _known_fields(value: Any, path: Sequence[str | int]) -> list[str]:
    """Fields of the model that stands at the parent of `path`."""
    model: type[BaseModel] | None = Job
    for depth, part in enumerate(path[:-1]):
        if path[:1] == ("objective",):
            model = PythonObjective if "python" in value["objective"] else CommandObjective
        elif model is not None and str(part) in model.model_fields:
            model = _model_of(model, str(part))
        elif depth == 2 and path[:2] == ("tuning", "search_space"):
            return _parameter_fields(value, path)
    return sorted(field.alias or name for name, field in model.model_fields.items()) if model is not None else []


def _parameter_fields(value: Any, path: Sequence[str | int]) -> list[str]:
    kind = value["tuning"]["search_space"][path[2]].get("type")
    return {
        "float": ["bounds", "log", "step", "type", "when"],
        "int": ["bounds", "log", "step", "type", "when"],
        "choice": ["type", "values", "when"],
    }.get(kind, ["type", "when"])


def _model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    annotation = model.model_fields[name].annotation
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
