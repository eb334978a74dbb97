"""Values as the cells of a table, a column at a time: what Python's `repr` says of a number, many times faster."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from arbd.arrays import Array

# Within these `repr` writes no exponent, and neither does JSON, whose numbers are as short as those of `repr`.
_PLAIN_FROM, _PLAIN_BELOW = 1e-4, 1e16


def float_cells(column: Array) -> list[str]:
    """Each as `repr` has it; `nan` where it is not a number."""
    values = column.tolist()
    if not values:
        return []
    cells = msgspec.json.encode(values).decode()[1:-1].split(",")
    magnitude = np.abs(column)
    odd = ~((magnitude >= _PLAIN_FROM) & (magnitude < _PLAIN_BELOW)) & (magnitude != 0.0)
    for position in np.flatnonzero(odd).tolist():
        cells[position] = repr(values[position])
    return cells


def integer_cells(column: Array) -> list[str]:
    """Each as `str` has it."""
    values = column.tolist()
    return msgspec.json.encode(values).decode()[1:-1].split(",") if values else []


def iso_utc(wall_ns: int) -> str:
    """ISO 8601 UTC with microseconds."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=rest // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def time_cells(column: Array) -> list[str]:
    """Each as `iso_utc` has it."""
    moments, inverse = np.unique(column, return_inverse=True)
    micros = moments.astype("datetime64[ns]").astype("datetime64[us]")
    texts = np.char.add(np.datetime_as_string(micros), "Z").tolist() if len(moments) else []
    # A whole second has no microseconds there.
    for position in np.flatnonzero(moments // 1000 % 1_000_000 == 0).tolist():
        texts[position] = iso_utc(int(moments[position]))
    return [texts[position] for position in inverse.tolist()]


def quoted(cells: Sequence[str]) -> list[str]:
    """Texts as they stand in a line of CSV (RFC 4180, LF line ends)."""
    known: dict[str, str] = {}
    for text in set(cells):
        line = io.StringIO()
        # The second cell: alone, an empty one would be quoted.
        csv.writer(line, lineterminator="\n").writerow((text, ""))
        known[text] = line.getvalue().removesuffix(",\n")
    return [known[text] for text in cells]
