"""One generation: its iterations with their parameters, and its record, declared once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgpack
from msgspec import Meta, Struct, field

from arbd import schema
from arbd.arrays import np
from arbd.records import Natural, Positive, RecordFormat, Text
from arbd.search.plan import PlannedRows
from arbd.search.pruning import Thresholds
from arbd.search.schedule import Schedule
from arbd.search.space import Columns
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """Iterations from `first` on. With `stop`, there are none, and the session ends before it for that reason.

    `versions` are of the libraries that computed it, `schedule` is the session's (None: of an earlier version).
    `thresholds` are what intermediate values are compared with, of a session that prunes.
    """

    number: int
    first: int
    rows: PlannedRows
    stop: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    schedule: Schedule | None = None
    thresholds: Thresholds = dataclasses.field(default_factory=Thresholds.none)

    def encode(self) -> bytes:
        """The msgpack payload of its file."""
        budget = self.rows.budget
        return bytes(
            msgpack.packb(
                {
                    **schema.GENERATION.stamp(),
                    "g": self.number,
                    "first": self.first,
                    "p": {name: [column.dtype.str, column.tobytes()] for name, column in self.rows.columns.items()},
                    "o": self.rows.origin.astype("<i8").tobytes(),
                    "b": None if budget is None else budget.astype("<f8").tobytes(),
                    "stop": self.stop,
                    "versions": dict(self.versions),
                    **({"schedule": [self.schedule.size, self.schedule.lag]} if self.schedule is not None else {}),
                    **({"prune": self.thresholds.to_plain()} if len(self.thresholds.steps) else {}),
                }
            )
        )


class _Column(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The values of a parameter, as NumPy calls their form."""

    form: Literal["<i8", "<f8"]
    data: bytes


class _GenerationRecord(Struct, frozen=True):
    """A `Generation` in its file."""

    version: int = field(name=schema.GENERATION.key)
    number: Natural = field(name="g")
    first: Positive
    columns: dict[Annotated[str, Meta(max_length=200)], _Column] = field(name="p")
    origin: bytes = field(name="o")
    budget: bytes | None = field(name="b")
    stop: Text
    versions: dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=100)]]
    schedule: tuple[Positive, Positive] | None = None
    prune: tuple[bytes, bytes] | None = None


GENERATION: RecordFormat[_GenerationRecord] = RecordFormat(
    "the generation", _GenerationRecord, lambda: schema.GENERATION
)


def decode_generation(payload: bytes | memoryview, number: int, path: Path | str) -> Generation:
    """Generation `number` from the payload of its file; ValueError when it is none, VersionError another version's."""
    record = GENERATION.read(payload, path)
    if record.number != number:
        raise ValueError(f"generation {record.number} in the file of {number}")
    columns: Columns = {name: np.frombuffer(column.data, dtype=column.form) for name, column in record.columns.items()}
    origin = np.frombuffer(record.origin, dtype="<i8")
    budget = None if record.budget is None else np.frombuffer(record.budget, dtype="<f8")
    if any(len(column) != len(origin) for column in (*columns.values(), *([] if budget is None else [budget]))):
        raise ValueError("columns of different lengths")
    schedule = None if record.schedule is None else Schedule(*record.schedule)
    rows = PlannedRows(columns, origin, budget)
    thresholds = Thresholds.none() if record.prune is None else Thresholds.of_plain(*record.prune)
    return Generation(record.number, record.first, rows, record.stop, record.versions, schedule, thresholds)
