"""`each:` of a job file: one file, a session for every combination of values, as `arbctl submit --each` makes them.

Owns how the combinations are made and named: sessions `NAME-1`, `NAME-2`, ... in the order in which the values stand, the
last key changing first, all with the label `array=NAME`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from arbd.errors import JobError, UsageError
from arbd.job.file import JobDocument, without

T = TypeVar("T")

LABEL = "array"
MAX_SESSIONS = 1_000
MAX_NAME_CHARS = 64
# What makes no sense to vary: names are numbered, and of an array there is one level.
FIXED = ("session_id", "each", "schedule", f"labels.{LABEL}")


def numbered(name: str, keys: Sequence[tuple[str, Sequence[T]]]) -> list[tuple[str, tuple[tuple[str, T], ...]]]:
    """Each session's id, and what it sets. UsageError when there are too many, or the ids would be too long."""
    count = 1
    for _, values in keys:
        count *= len(values)
    if count > MAX_SESSIONS:
        raise UsageError(f"makes {count:,} sessions; the maximum is {MAX_SESSIONS:,}")
    digits = len(str(count))
    if len(name) + 1 + digits > MAX_NAME_CHARS:
        raise UsageError(
            f"makes session ids of {len(name) + 1 + digits} characters out of {name!r}; the maximum is {MAX_NAME_CHARS}"
        )
    chosen = itertools.product(*(values for _, values in keys))
    return [
        (f"{name}-{number:0{digits}}", tuple((key, value) for (key, _), value in zip(keys, values, strict=True)))
        for number, values in enumerate(chosen, 1)
    ]


def array_of(document: JobDocument, name: str | None) -> list[tuple[str, JobDocument]] | None:
    """The sessions that a job's `each:` asks for, by id; None where it has none. JobError with all that is wrong with it."""
    each = document.job.each
    if each is None:
        return None
    problems = [document.problem(message, "each", *path) for message, path in _faults(each)]
    if name is None:
        problems.append(document.problem("is missing: the sessions of `each` are named after it", "session_id"))
    if document.job.schedule is not None:
        problems.append(document.problem("makes several sessions, and a standing job makes one each time", "each"))
    if problems or name is None:
        raise JobError(document.document.source, [*document.faults, *problems])
    try:
        found = numbered(name, list(each.items()))
    except UsageError as error:
        raise JobError(document.document.source, [*document.faults, document.problem(str(error), "each")]) from None
    return [(session_id, _member(document, name, session_id, settings)) for session_id, settings in found]


def _member(document: JobDocument, name: str, session_id: str, settings: Sequence[tuple[str, Any]]) -> JobDocument:
    told = ", ".join(f"{key}={value}" for key, value in settings)
    labels = {**document.job.labels, LABEL: name}
    more = [*settings, ("session_id", session_id), ("labels", labels)]
    try:
        return without(document, "each", more, f"{document.document.source}: {session_id} ({told})")
    except UsageError as error:
        raise JobError(document.document.source, [document.problem(str(error), "each")]) from None


def _faults(each: dict[str, list[Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not each:
        yield "has no field, such as fixed.latency_a_ms: [50, 100]", ()
    for key, values in each.items():
        fixed = next((name for name in FIXED if key == name or key.startswith(f"{name}.")), None)
        if fixed is not None:
            yield f"{fixed} is the same for all: sessions are named after the job's session_id, and numbered", (key,)
        elif not all(key.split(".")):
            yield "is no field; fields are dotted, such as fixed.latency_a_ms", (key,)
        if not values:
            yield "has no value", (key,)
        # 1 and 1.0 are the same setting, True is another.
        again = [value for at, value in enumerate(values) if any(_same(value, other) for other in values[:at])]
        if again:
            yield f"{again[0]!r} stands there twice", (key,)


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) is isinstance(other, bool)
