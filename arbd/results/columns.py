"""Results in columns: the unit in which slots write them and readers read them.

Owns the `RowBatch` record and its msgpack form. Every row has a status; only completed rows have metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

import msgpack
from msgspec import UNSET

from arbd import schema
from arbd.arrays import Array, np
from arbd.job.spec import JobSpec
from arbd.records import shown
from arbd.results.code_runs import CodeRuns, code_of
from arbd.results.column_bytes import (
    block_form,
    common_number,
    compressed,
    contiguous_bytes,
    expanded,
    packed_last,
    stored_blocks,
    widened_blocks,
)
from arbd.results.records import BATCH, BlockColumn, ReportedStep
from arbd.search.space import ChoiceDimension
from arbd.spool.ledger import CRASHED
from arbd.values import dataclass

CODE_FORM = "|S16"

Reports = Mapping[int, Sequence[tuple[int, float]]]

FIXED_COLUMNS: Mapping[str, str] = {
    "iteration": "<i8",
    "status": "|u1",
    "ended_ns": "<i8",
    "duration_s": "<f8",
    "attempt": "<i4",
    "epoch": "<i4",
}


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """n rows. Params are float64, int64, or int64 indices into the values of a choice; metrics are float64.

    `blocks` is (n, n_blocks, 2), the sum and the sum of squares of the returns per block, or None; float32 where they come
    from a file (see `arbd.results.column_bytes`).
    `errors` and `reports` are by iteration, for the rows that have any. `origin` is None where every row was run;
    else per row 0 for one that was, -1 for one that may not be (its parameters break a constraint), or the number of
    the iteration whose result it shares, because the parameters are the same. `code` is the digest of the code that made
    each row (see `arbd.job.code`), empty for rows of versions that did not tell; None where all are such.
    """

    iteration: Array
    status: Array
    ended_ns: Array
    duration_s: Array
    attempt: Array
    epoch: Array
    params: Mapping[str, Array]
    metrics: Mapping[str, Array]
    blocks: Array | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    reports: Reports = field(default_factory=dict)
    origin: Array | None = None
    code: Array | None = None

    def __len__(self) -> int:
        return int(self.iteration.shape[0])

    def select(self, index: Array | slice) -> RowBatch:
        """The rows at `index` (positions, a mask, or a slice, which copies nothing), in that order."""
        iteration = self.iteration[index]
        # Parts of many rows are taken out of many more.
        kept = iteration.tolist() if self.errors or self.reports else []
        return RowBatch(
            iteration=iteration,
            **{name: getattr(self, name)[index] for name in FIXED_COLUMNS if name != "iteration"},
            params={name: column[index] for name, column in self.params.items()},
            metrics={name: column[index] for name, column in self.metrics.items()},
            blocks=None if self.blocks is None else self.blocks[index],
            errors={i: self.errors[i] for i in kept if i in self.errors},
            reports={i: self.reports[i] for i in kept if i in self.reports},
            origin=None if self.origin is None else self.origin[index],
            code=None if self.code is None else self.code[index],
        )

    def made_with(self, digest: str) -> RowBatch:
        """These rows, made with the code of that digest."""
        return replace(self, code=np.full(len(self), digest.encode(), dtype=CODE_FORM))

    def counts(self) -> tuple[int, int, int, int]:
        """Rows by status, in the ledger's order."""
        found = np.bincount(self.status, minlength=4)
        return (int(found[0]), int(found[1]), int(found[2]), int(found[3]))

    def encode(self) -> bytes:
        """The msgpack payload of this batch."""
        return b"".join(self.encoded_pieces())

    def encoded_pieces(self) -> Sequence[bytes | memoryview]:
        """The same in pieces, so that return blocks need not be copied.

        What reads as earlier versions wrote it says so.
        """
        fixed: dict[str, bytes | memoryview] = {}
        packed: list[str] = []
        for name, form in FIXED_COLUMNS.items():
            plain = contiguous_bytes(getattr(self, name), form)
            smaller = compressed(plain)
            fixed[name] = plain if smaller is None else smaller
            packed += [] if smaller is None else [name]
        blocks = None if self.blocks is None else stored_blocks(self.blocks)
        is_new = packed or (blocks is not None and blocks.dtype == np.float32)
        record = {
            **schema.SEGMENT.stamp(None if is_new else schema.SEGMENT.earliest),
            "n": len(self),
            "c": fixed,
            "p": {
                name: [_form(column), contiguous_bytes(column, _form(column))] for name, column in self.params.items()
            },
            "m": {name: contiguous_bytes(column, "<f8") for name, column in self.metrics.items()},
            "e": dict(self.errors),
            "r": {i: [list(step) for step in steps] for i, steps in self.reports.items()},
            **({} if self.origin is None else {"o": contiguous_bytes(self.origin, "<i8")}),
            **({} if self.code is None else {"d": code_runs(self.code)}),
            **({"z": packed} if packed else {}),
        }
        if blocks is None:
            return (bytes(msgpack.packb({**record, "b": None})),)
        return packed_last(record, "b", blocks.shape[1], contiguous_bytes(blocks, blocks.dtype.str))

    @property
    def origins(self) -> Array:
        """`origin`, with zeros where every row was run."""
        return np.zeros(len(self), dtype=np.int64) if self.origin is None else self.origin

    @property
    def codes(self) -> Array:
        """`code`, empty where nobody told."""
        return np.zeros(len(self), dtype=CODE_FORM) if self.code is None else self.code


def code_runs(code: Array) -> CodeRuns:
    """Digests of code, each with the number of rows in a row that have it: they seldom change."""
    if not len(code):
        return []
    starts = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))
    ends = np.append(starts[1:], len(code))
    return [(code[a].decode(), int(b - a)) for a, b in zip(starts, ends, strict=True)]


def expand_code(runs: Sequence[tuple[str, int]]) -> Array:
    """The digest of each row."""
    digests = np.array([digest.encode() for digest, _ in runs], dtype=CODE_FORM)
    return np.repeat(digests, [count for _, count in runs])


def _form(column: Array) -> str:
    return "<f8" if column.dtype.kind == "f" else "<i8"


def decode_rows(payload: bytes | memoryview, path: Path | str = "a batch", *, blocks: bool = True) -> RowBatch:
    """Read a batch of the file `path`. `blocks=False` leaves the blocks out.

    VersionError when another version wrote it, ValueError when the payload is none.
    """
    return decode_batch(payload, path, blocks=blocks)[0]


def decode_batch(
    payload: bytes | memoryview, path: Path | str = "a batch", *, blocks: bool = True
) -> tuple[RowBatch, int]:
    """As `decode_rows`, and how many return blocks each row has in the file."""
    record = BATCH.read(payload, path)
    n = record.rows
    # Looked at whether they are wanted or not; not copied.
    found = None if record.blocks is None else _blocks(record.blocks, n)
    rows = RowBatch(
        **{
            name: decode_column(getattr(record.fixed, name), form, n, packed=name in record.packed)
            for name, form in FIXED_COLUMNS.items()
        },
        params={name: decode_column(column.data, column.form, n) for name, column in record.params.items()},
        metrics={name: decode_column(data, "<f8", n) for name, data in record.metrics.items()},
        blocks=found if blocks else None,
        errors=record.errors,
        reports=plain_reports(record.reports),
        origin=None if record.origin is UNSET else decode_column(record.origin, "<i8", n),
        code=None if record.code is UNSET else expand_code(code_of(record.code, n)),
    )
    if n:
        check_fixed(rows)
    return rows, 0 if record.blocks is None else record.blocks.count


def plain_reports(reports: Mapping[int, tuple[ReportedStep, ...]]) -> dict[int, list[tuple[int, float]]]:
    """As of `RowBatch.reports`."""
    return {iteration: [(step.step, step.value) for step in steps] for iteration, steps in reports.items()}


def check_fixed(rows: RowBatch) -> None:
    """ValueError unless the columns that every row has hold what they may hold. `rows` are not empty."""
    if rows.iteration[0] < 1 or np.any(rows.iteration[1:] <= rows.iteration[:-1]):
        raise ValueError("iterations that do not grow from row to row")
    if rows.status.max() > CRASHED:
        raise ValueError(f"a status {rows.status.max()}")
    if rows.epoch.min() < 0 or rows.attempt.min() < 0:
        raise ValueError("a negative epoch or attempt")


def decode_column(data: bytes, form: str, n: int, *, packed: bool = False) -> Array:
    """`n` values of a form; ValueError when there are more or fewer."""
    if packed:
        data = expanded(data, n * np.dtype(form).itemsize)
    column = np.frombuffer(data, dtype=form)
    if column.shape[0] != n:
        raise ValueError(f"a column of {column.shape[0]} values among {n} rows")
    return column


def _blocks(column: BlockColumn, n: int) -> Array:
    row_blocks = n * column.count
    if not row_blocks or len(column.data) % row_blocks or len(column.data) // row_blocks not in (8, 16):
        if not row_blocks and not column.data:
            return np.empty((n, column.count, 2))
        raise ValueError(f"{len(column.data)} bytes for {column.count} blocks of {n} rows")
    form = block_form(len(column.data) // row_blocks)
    return np.frombuffer(column.data, dtype=form).reshape(n, column.count, 2)


@dataclass(frozen=True, slots=True)
class RowRules:
    """What rows must be to belong to a session: its iterations, its parameters, choices that it offers."""

    n: int
    levels: Mapping[str, int | None]

    @classmethod
    def of(cls, spec: JobSpec) -> RowRules:
        """The rules of a session."""
        choices = {d.name: d.levels for d in spec.space.dimensions if isinstance(d, ChoiceDimension)}
        return cls(spec.n, {name: choices.get(name) for name in spec.space.names})

    def check(self, rows: RowBatch) -> None:
        """ValueError when the rows are not ones of the session."""
        if not len(rows):
            return
        if rows.iteration[-1] > self.n:
            raise ValueError(f"iteration {rows.iteration[-1]} of {self.n}")
        self.check_names(rows.params)
        for name, column in rows.params.items():
            self.check_param(name, column)

    def check_names(self, params: Iterable[str]) -> None:
        """ValueError when the rows have not the session's parameters."""
        if set(params) != self.levels.keys():
            raise ValueError("other parameters than the session's")

    def check_param(self, name: str, column: Array) -> None:
        """ValueError when a parameter of some rows has values that it cannot have."""
        levels = self.levels[name]
        if levels is not None and (column.dtype.kind != "i" or column.min() < 0 or column.max() >= levels):
            raise ValueError(f"values of {shown(name)} that are none of its choices")


def concatenate(batches: Sequence[RowBatch], like: Sequence[RowBatch] | None = None) -> RowBatch:
    """One batch of all rows in order. A metric or block that a batch lacks is NaN there.

    The names of columns, in their order, and the form of blocks are those of `like`.
    """
    forms = batches if like is None else like
    params = _union(batches, forms, "params")
    metrics = _union(batches, forms, "metrics")
    parts = [batch.blocks for batch in forms if batch.blocks is not None]
    blocks = None
    if parts:
        number = common_number(parts, sum(map(len, batches)))
        blocks = np.concatenate([widened_blocks(batch.blocks, len(batch), number) for batch in batches])
    return RowBatch(
        **{
            name: np.concatenate([getattr(batch, name) for batch in batches] or [np.empty(0)]).astype(form, copy=False)
            for name, form in FIXED_COLUMNS.items()
        },
        params=params,
        metrics=metrics,
        blocks=blocks,
        errors={i: text for batch in batches for i, text in batch.errors.items()},
        reports={i: steps for batch in batches for i, steps in batch.reports.items()},
        origin=np.concatenate([batch.origins for batch in batches])
        if any(batch.origin is not None for batch in batches)
        else None,
        code=np.concatenate([batch.codes for batch in batches])
        if any(batch.code is not None for batch in batches)
        else None,
    )


def _union(batches: Sequence[RowBatch], forms: Sequence[RowBatch], which: str) -> dict[str, Array]:
    names: dict[str, None] = {}
    for batch in forms:
        names.update(dict.fromkeys(getattr(batch, which)))
    return {
        name: np.concatenate([getattr(b, which)[name] if name in getattr(b, which) else _missing(b) for b in batches])
        for name in names
    }


def _missing(batch: RowBatch) -> Array:
    return np.full(len(batch), np.nan)
