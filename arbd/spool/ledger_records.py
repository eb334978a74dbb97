"""Ledger records as another host wrote them: checked part by part before the state of the session folds them.

What passes cannot make `LedgerState.fold` raise, ask for more than the session has, or name a worker whose files
would stand outside of the spool. Whether it is true is not checked: who may write the ledger may lie in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arbd import schema
from arbd.records import INT64_MAX, mapping, sequence, shown, text, unpack, whole
from arbd.spool.layout import NAME_PATTERN
from arbd.spool.ledger import CANCELLED, PAUSED, RUNNING

MAX_ITERATIONS = 10**12
MAX_SLOTS = 1 << 20
MAX_EPOCH = 2**31 - 1
INCARNATION_MAX = 2**64 - 1


def read_record(payload: bytes | memoryview, n: int, path: Path | str = "a ledger") -> dict[str, Any]:
    """The record in a frame of the ledger `path` of a session of `n` iterations (0: the first record, which says it).

    The record that opens a session says of which schema all are; one that says so itself is believed, too. VersionError
    when that is another than this version's, ValueError when it is no record.
    """
    record = mapping(unpack(payload), "the record")
    kind = record.get("k")
    if kind == "open" or schema.LEDGER.key in record:
        schema.LEDGER.require(record, path)
    check = _CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise ValueError(f"unknown record {shown(kind)}")
    if (kind == "open") != (n == 0):
        raise ValueError("the session is opened twice" if n else f"a record {kind!r} before the one that opens it")
    try:
        check(record, n)
    except KeyError as error:
        raise ValueError(f"a record {kind!r} without {error}") from error
    return record


def check_worker_id(value: Any) -> str:
    """A worker id, which is the name of files."""
    name = text(value, "a worker id", 64)
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"a worker id {shown(name)}, which can be no name of a file in the spool")
    return name


def _span(plain: Any, n: int) -> None:
    parts = sequence(plain, "a span")
    if len(parts) not in (3, 5):
        raise ValueError(f"a span of {len(parts)} parts")
    first = whole(parts[0], "the first iteration", 1, n)
    whole(parts[1], "the number of iterations", 1, n - first + 1)
    whole(parts[2], "an epoch", 0, MAX_EPOCH)
    if len(parts) == 5:
        whole(parts[3], "an attempt", 1, MAX_EPOCH)
        if parts[4] != "":
            check_worker_id(parts[4])


def _counts(plain: Any, low: int = 0) -> None:
    for count in sequence(plain, "the counts", 4):
        whole(count, "a count", low, MAX_ITERATIONS)


def _open(record: Mapping[str, Any], n: int) -> None:
    del n
    whole(record["n"], "the number of iterations", 1, MAX_ITERATIONS)


def _claim(record: Mapping[str, Any], n: int) -> None:
    check_worker_id(record["w"])
    whole(record["i"], "an incarnation", 0, INCARNATION_MAX)
    whole(record["s"], "the number of slots", 0, MAX_SLOTS)
    whole(record["t"], "a time", -INT64_MAX)
    for claim in sequence(record["c"], "the claims"):
        whole(sequence(claim, "a claim", 4)[0], "a claim id", 0)
        _span(claim[1:], n)


def _finish(record: Mapping[str, Any], n: int) -> None:
    whole(record["i"], "an incarnation", 0, INCARNATION_MAX)
    whole(record["t"], "a time", -INT64_MAX)
    for finish in sequence(record["c"], "the finishes"):
        whole(sequence(finish, "a finish", 3)[0], "a claim id", 0)
        _counts(finish[1])
        for span in sequence(finish[2], "the spans"):
            _span(span, n)


def _revoke(record: Mapping[str, Any], n: int) -> None:
    del n
    whole(record["i"], "an incarnation", 0, INCARNATION_MAX)


def _again(record: Mapping[str, Any], n: int) -> None:
    for span in sequence(record["r"], "the spans"):
        _span(span, n)
    # Rows can be found that no record told of, so that a count grows.
    _counts(record["u"], -MAX_ITERATIONS)


def _state(record: Mapping[str, Any], n: int) -> None:
    del n
    if record["s"] not in (RUNNING, PAUSED, CANCELLED):
        raise ValueError(f"unknown state {shown(record['s'])}")


def _stop(record: Mapping[str, Any], n: int) -> None:
    whole(record["n"], "the last iteration", 0, n)
    text(record["why"], "a reason")


def _done(record: Mapping[str, Any], n: int) -> None:
    del n
    _counts(record["c"])
    whole(record["d"], "the number of duplicates")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], int], None]] = {
    "open": _open,
    "claim": _claim,
    "finish": _finish,
    "revoke": _revoke,
    "again": _again,
    "state": _state,
    "stop": _stop,
    "done": _done,
}
