"""The records of a session's results, each declared once: fields, what they are called in the file, and their bounds.

Segments hold batches, `results.msgpack` a header and an index beside its columns. Imports no NumPy, for those who only
look at a session: columns are bytes here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from arbd import schema
from arbd.records import Items, Natural, Positive, RecordFormat, Signed, Text
from arbd.spool.ledger_records import FileName

MAX_ROWS = 1 << 20
# Each costs a column over all rows, whoever writes it: the 1,000 that an objective may return, and `budget`.
MAX_METRICS = 1_001
MAX_NAME_CHARS = 200

ColumnName = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Rows = Annotated[int, Meta(ge=0, le=MAX_ROWS)]


class CodeRun(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """The digest of the code that made some rows in a row, and how many these are."""

    digest: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{16})?\Z", description="16 hexadecimal digits, or nothing")]
    count: Positive


CodeRunRecords = Annotated[tuple[CodeRun, ...], Items]


class ParamColumn(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The values of a parameter, as NumPy calls their form."""

    form: Literal["<i8", "<f8"]
    data: bytes


class BlockColumn(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Return blocks of all rows, so many for each."""

    count: Natural
    data: bytes


class ReportedStep(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """An intermediate value that an objective reported."""

    step: Signed
    value: float


Errors = dict[Natural, Text]
Reports = dict[Natural, Annotated[tuple[ReportedStep, ...], Items]]


class FixedColumns(Struct, frozen=True):
    """The columns that all rows have: see `RowBatch`."""

    iteration: bytes
    status: bytes
    ended_ns: bytes
    duration_s: bytes
    attempt: bytes
    epoch: bytes


class BatchRecord(Struct, frozen=True):
    """Rows as a slot appends them to its segment: see `RowBatch`."""

    version: int = field(name=schema.SEGMENT.key)
    rows: Rows = field(name="n")
    fixed: FixedColumns = field(name="c")
    params: Annotated[dict[ColumnName, ParamColumn], Meta(max_length=MAX_METRICS)] = field(name="p")
    metrics: Annotated[dict[ColumnName, bytes], Meta(max_length=MAX_METRICS)] = field(name="m")
    blocks: BlockColumn | None = field(name="b")
    errors: Errors = field(name="e")
    reports: Reports = field(name="r")
    origin: bytes | UnsetType = field(name="o", default=UNSET)
    code: CodeRunRecords | UnsetType = field(name="d", default=UNSET)
    packed: Annotated[tuple[ColumnName, ...], Items] = field(name="z", default=())


class ResultsHeader(Struct, frozen=True):
    """The first record of `results.msgpack`; `n` is where the session ended, which an early stop makes less than its job says."""

    version: int = field(name=schema.RESULTS.key)
    n: Natural


class ResultsGroup(Struct, frozen=True):
    """Some rows, and for each of their columns its form, and offset and length of each of its pieces."""

    rows: Annotated[int, Meta(ge=1, le=MAX_ROWS)] = field(name="n")
    at: Annotated[
        dict[Text, Annotated[tuple[Natural | Annotated[str, Meta(max_length=20)], ...], Meta(min_length=3), Items]],
        Items,
    ]


class ResultsIndex(Struct, frozen=True):
    """The last record of `results.msgpack`; `segments` are those that return blocks stand in.

    Earlier versions said nothing of `code` and `segments`.
    """

    version: int = field(name=schema.RESULTS.key)
    rows: Natural
    counts: tuple[Natural, Natural, Natural, Natural]
    duplicates: Natural
    workers: Annotated[tuple[FileName, ...], Items]
    shares: Annotated[tuple[Natural, ...], Items]
    groups: Annotated[tuple[ResultsGroup, ...], Items]
    code: CodeRunRecords | UnsetType = UNSET
    segments: Annotated[tuple[Text, ...], Items] = ()


BATCH: RecordFormat[BatchRecord] = RecordFormat("the batch", BatchRecord, lambda: schema.SEGMENT)
HEADER: RecordFormat[ResultsHeader] = RecordFormat("the header", ResultsHeader, lambda: schema.RESULTS)
INDEX: RecordFormat[ResultsIndex] = RecordFormat("the index", ResultsIndex, lambda: schema.RESULTS)
ERRORS: RecordFormat[Errors] = RecordFormat("the errors", Errors)
REPORTS: RecordFormat[Reports] = RecordFormat("the reports", Reports)
