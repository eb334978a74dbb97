"""The records of a ledger, each declared once: its fields, what they are called in the file, and their bounds.

A record is a map; `k` says which it is. What passes cannot make `LedgerState.fold` raise, ask for more than the session
has, or name a worker whose files would stand outside of the spool. Whether it is true is not checked: who may write the
ledger may lie in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from msgspec import Meta, Struct, field

from arbd import schema
from arbd.records import Items, Natural, Positive, RecordFormat, Signed, Text
from arbd.spool.layout import NAME_PATTERN
from arbd.spool.provenance import Actor, Changes, Name, Submission
from arbd.spool.spans import Span

MAX_ITERATIONS = 10**12
MAX_SLOTS = 1 << 20
MAX_EPOCH = 2**31 - 1
# A slot for a century: sums of it stay far below what overflows.
MAX_BUSY_NS = 10**9 * 3600 * 24 * 36_525

RUNNING, PAUSED, CANCELLED = "running", "paused", "cancelled"

# The largest integer of msgpack is the largest incarnation.
Incarnation = Annotated[int, Meta(ge=0)]
_NAME = "a name that a file in the spool can have"
FileName = Annotated[str, Meta(max_length=64, pattern=rf"^{NAME_PATTERN.pattern}\Z", description=_NAME)]
Avoided = Annotated[
    str, Meta(max_length=64, pattern=rf"^(?:{NAME_PATTERN.pattern})?\Z", description=f"{_NAME}, or nothing")
]
State = Annotated[
    str,
    Meta(pattern=rf"^(?:{RUNNING}|{PAUSED}|{CANCELLED})\Z", description=f"{RUNNING}, {PAUSED} or {CANCELLED}"),
]
Slots = Annotated[int, Meta(ge=0, le=MAX_SLOTS)]
Epoch = Annotated[int, Meta(ge=0, le=MAX_EPOCH)]
Attempt = Annotated[int, Meta(ge=1, le=MAX_EPOCH)]
Count = Annotated[int, Meta(ge=0, le=MAX_ITERATIONS)]
# Below 0 it stands in ledgers of earlier versions, and says nothing.
BusyTime = Annotated[int, Meta(ge=-MAX_BUSY_NS, le=MAX_BUSY_NS)]
Change = Annotated[int, Meta(ge=-MAX_ITERATIONS, le=MAX_ITERATIONS)]


class ClaimedSpan(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """One claim: its number, which is its incarnation's own, and the iterations that it is of."""

    claim_id: Natural
    first: Positive
    count: Positive
    epoch: Epoch


class SpanRecord(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """Iterations that go back to the pool, as at first: see `Span`."""

    first: Positive
    count: Positive
    epoch: Epoch

    def span(self) -> Span:
        """The value."""
        return Span(self.first, self.count, self.epoch)


class RetriedSpanRecord(SpanRecord, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """Iterations that were tried before. What has the form of a `SpanRecord` is read as a first attempt."""

    attempt: Attempt = 1
    avoid: Avoided = ""

    def span(self) -> Span:
        """The value."""
        return Span(self.first, self.count, self.epoch, self.attempt, self.avoid)


Spans = Annotated[tuple[RetriedSpanRecord, ...], Items]


def span_records(spans: Iterable[Span]) -> tuple[RetriedSpanRecord, ...]:
    """Spans as records hold them; what is tried for the first time is written in its short form."""
    return tuple(
        RetriedSpanRecord(span.first, span.count, span.epoch, span.attempt, span.avoid)
        if span.attempt > 1
        else cast("RetriedSpanRecord", SpanRecord(span.first, span.count, span.epoch))
        for span in spans
    )


class FinishedClaim(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What became of a claim: results by status, and what it gives back."""

    claim_id: Natural
    counts: tuple[Count, Count, Count, Count]
    returned: Spans


class _Record(Struct, frozen=True, tag_field="k", omit_defaults=True, kw_only=True):
    """What every record can say: the schema, and which version of arbd wrote it."""

    version: int | None = field(default=None, name=schema.LEDGER.key)
    writer: Annotated[str, Meta(max_length=100)] = field(default="", name=schema.WRITER)


class OpenRecord(_Record, tag="open", frozen=True, kw_only=True):
    """The first record of every ledger: how many iterations the session has, and who asked for it."""

    version: int = field(name=schema.LEDGER.key)
    n: Annotated[int, Meta(ge=1, le=MAX_ITERATIONS)]
    submission: Submission | None = field(default=None, name="sub")


class ClaimRecord(_Record, tag="claim", frozen=True, kw_only=True):
    """A worker with some slots takes claims, all of one incarnation. `wall_ns` is for people alone (I3)."""

    worker_id: FileName = field(name="w")
    incarnation: Incarnation = field(name="i")
    slots: Slots = field(name="s")
    wall_ns: Signed = field(name="t")
    claims: Annotated[tuple[ClaimedSpan, ...], Items] = field(name="c")


class FinishRecord(_Record, tag="finish", frozen=True, kw_only=True):
    """Claims of an incarnation are done; their results are durable (I2). `wall_ns` is for people alone (I3).

    `busy_ns` is how long slots were busy with what is recorded; 0 or less where nobody says.
    """

    incarnation: Incarnation = field(name="i")
    wall_ns: Signed = field(name="t")
    finishes: Annotated[tuple[FinishedClaim, ...], Items] = field(name="c")
    busy_ns: BusyTime = field(default=0, name="b")


class RevokeRecord(_Record, tag="revoke", frozen=True, kw_only=True):
    """All outstanding claims of a dead incarnation go back to the pool; why is for people."""

    incarnation: Incarnation = field(name="i")
    why: Text


class AgainRecord(_Record, tag="again", frozen=True, kw_only=True):
    """Finished iterations run again; `uncounted` is what leaves the counts, by status.

    Rows can be found that no record told of, so that a count grows.
    """

    spans: Spans = field(name="r")
    uncounted: tuple[Change, Change, Change, Change] = field(name="u")
    why: Text
    actor: Actor | None = field(default=None, name="who")


class StateRecord(_Record, tag="state", frozen=True, kw_only=True):
    """The session is paused, resumed or cancelled; or it stays as it is, and something else of it changes.

    `action` is what somebody did, where it is not the state that says so.
    """

    state: State = field(name="s")
    action: Name = field(default="", name="a")
    actor: Actor | None = field(default=None, name="who")
    changes: Changes | None = field(default=None, name="set")


class StopRecord(_Record, tag="stop", frozen=True, kw_only=True):
    """The session ends after iteration `n`, or after the last that was claimed already."""

    n: Natural
    why: Text


class ExtendRecord(_Record, tag="extend", frozen=True, kw_only=True):
    """A session that is done has `n` iterations from now on. Its schema says what earlier versions do not know."""

    version: int = field(name=schema.LEDGER.key)
    n: Annotated[int, Meta(ge=1, le=MAX_ITERATIONS)]
    why: Text
    actor: Actor | None = field(default=None, name="who")


class DoneRecord(_Record, tag="done", frozen=True, kw_only=True):
    """`results.msgpack` holds every iteration, `counts` by status; the session is done."""

    counts: tuple[Count, Count, Count, Count] = field(name="c")
    duplicates: Natural = field(name="d")


LedgerRecord = (
    OpenRecord
    | ClaimRecord
    | FinishRecord
    | RevokeRecord
    | AgainRecord
    | StateRecord
    | StopRecord
    | ExtendRecord
    | DoneRecord
)


def _says_schema(record: Mapping[Any, Any]) -> bool:
    # The record that opens a session says of which schema all are; one that says so itself is believed, too.
    return record.get("k") == "open" or schema.LEDGER.key in record


LEDGER: RecordFormat[LedgerRecord] = RecordFormat("the record", LedgerRecord, lambda: schema.LEDGER, _says_schema)


def read_record(payload: bytes | memoryview, n: int, path: Path | str = "a ledger") -> LedgerRecord:
    """The record in a frame of the ledger `path` of a session of `n` iterations (0: the first record, which says it).

    VersionError when it is of another schema than this version's, ValueError when it is no record.
    """
    record = LEDGER.read(payload, path)
    check_place(record, n)
    return record


def check_place(record: LedgerRecord, n: int) -> None:
    """ValueError for a record that cannot stand in the ledger of a session of `n` iterations (0: as its first)."""
    if isinstance(record, OpenRecord) != (n == 0):
        kind = record.__struct_config__.tag
        raise ValueError("the session is opened twice" if n else f"a record {kind!r} before the one that opens it")
    if isinstance(record, ExtendRecord) and record.n <= n:
        raise ValueError(f"an extension to {record.n} iterations, of a session of {n}")
    if isinstance(record, StopRecord) and record.n > n:
        raise ValueError(f"the last iteration is {record.n}, expected an integer from 0 to {n}")
    for span in _spans(record):
        if span.first + span.count - 1 > n:
            raise ValueError(f"iterations {span.first} to {span.first + span.count - 1}, of a session of {n}")


def _spans(record: LedgerRecord) -> Sequence[ClaimedSpan | SpanRecord]:
    """All iterations that a record is about."""
    if isinstance(record, ClaimRecord):
        return record.claims
    if isinstance(record, FinishRecord):
        return [span for finish in record.finishes for span in finish.returned]
    return record.spans if isinstance(record, AgainRecord) else ()
