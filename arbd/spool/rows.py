"""Results in columns: the unit in which slots write them and readers read them.

Owns the `RowBatch` record and its msgpack form. Every row has a status; only completed rows have metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 1

Array = npt.NDArray[Any]
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

    `blocks` is (n, n_blocks, 2), the sum and the sum of squares of the returns per block, or None.
    `errors` and `reports` are by iteration, for the rows that have any.
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

    def __len__(self) -> int:
        return int(self.iteration.shape[0])

    def select(self, index: Array) -> RowBatch:
        """The rows at `index` (positions or a mask), in that order."""
        iteration = self.iteration[index]
        kept = set(iteration.tolist()) if self.errors or self.reports else set()
        return RowBatch(
            iteration=iteration,
            **{name: getattr(self, name)[index] for name in FIXED_COLUMNS if name != "iteration"},
            params={name: column[index] for name, column in self.params.items()},
            metrics={name: column[index] for name, column in self.metrics.items()},
            blocks=None if self.blocks is None else self.blocks[index],
            errors={i: text for i, text in self.errors.items() if i in kept},
            reports={i: steps for i, steps in self.reports.items() if i in kept},
        )

    def counts(self) -> tuple[int, int, int, int]:
        """Rows by status, in the ledger's order."""
        found = np.bincount(self.status, minlength=4)
        return (int(found[0]), int(found[1]), int(found[2]), int(found[3]))

    def encode(self) -> bytes:
        """The msgpack payload of this batch."""
        return bytes(
            msgpack.packb(
                {
                    "v": SCHEMA_VERSION,
                    "n": len(self),
                    "c": {name: _bytes(getattr(self, name), form) for name, form in FIXED_COLUMNS.items()},
                    "p": {name: [_form(column), _bytes(column, _form(column))] for name, column in self.params.items()},
                    "m": {name: _bytes(column, "<f8") for name, column in self.metrics.items()},
                    "b": None if self.blocks is None else [self.blocks.shape[1], _bytes(self.blocks, "<f8")],
                    "e": dict(self.errors),
                    "r": {i: [list(step) for step in steps] for i, steps in self.reports.items()},
                }
            )
        )


def _form(column: Array) -> str:
    return "<f8" if column.dtype.kind == "f" else "<i8"


def _bytes(column: Array, form: str) -> bytes:
    return np.ascontiguousarray(column, dtype=form).tobytes()


def decode_rows(payload: bytes | memoryview, *, blocks: bool = True) -> RowBatch:
    """Read a batch; ValueError or KeyError when the payload is none. `blocks=False` leaves the blocks out."""
    record = msgpack.unpackb(payload, strict_map_key=False)
    if record["v"] != SCHEMA_VERSION:
        raise ValueError(f"result schema {record['v']}, this version reads {SCHEMA_VERSION}")
    n = record["n"]
    fixed = {name: decode_column(record["c"][name], form, n) for name, form in FIXED_COLUMNS.items()}
    raw_blocks = record["b"] if blocks else None
    return RowBatch(
        **fixed,
        params={name: decode_column(data, form, n) for name, (form, data) in record["p"].items()},
        metrics={name: decode_column(data, "<f8", n) for name, data in record["m"].items()},
        blocks=None if raw_blocks is None else _blocks(raw_blocks[1], n, raw_blocks[0]),
        errors={int(i): str(text) for i, text in record["e"].items()},
        reports={int(i): [(int(s), float(v)) for s, v in steps] for i, steps in record["r"].items()},
    )


def decode_column(data: bytes, form: str, n: int) -> Array:
    """`n` values of a form that a column can have; ValueError when `data` is something else."""
    if form not in ("<i8", "<f8", "<i4", "|u1"):
        raise ValueError(f"column of type {form!r}")
    column = np.frombuffer(data, dtype=form)
    if column.shape[0] != n:
        raise ValueError(f"a column of {column.shape[0]} values among {n} rows")
    return column


def _blocks(data: bytes, n: int, n_blocks: int) -> Array:
    return np.frombuffer(data, dtype="<f8").reshape(n, n_blocks, 2)


def concatenate(batches: Sequence[RowBatch]) -> RowBatch:
    """One batch of all rows in order. A metric or block that a batch lacks is NaN there."""
    params = _union(batches, "params")
    metrics = _union(batches, "metrics")
    with_blocks = [batch.blocks for batch in batches if batch.blocks is not None]
    blocks = None
    if with_blocks:
        shape = with_blocks[0].shape[1:]
        blocks = np.concatenate(
            [batch.blocks if batch.blocks is not None else np.full((len(batch), *shape), np.nan) for batch in batches]
        )
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
    )


def _union(batches: Sequence[RowBatch], which: str) -> dict[str, Array]:
    names: dict[str, None] = {}
    for batch in batches:
        names.update(dict.fromkeys(getattr(batch, which)))
    return {
        name: np.concatenate([getattr(b, which)[name] if name in getattr(b, which) else _missing(b) for b in batches])
        for name in names
    }


def _missing(batch: RowBatch) -> Array:
    return np.full(len(batch), np.nan)
