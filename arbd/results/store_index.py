"""What the index of `results.msgpack` says, looked at before anything is done with it (I7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from arbd.arrays import Array
from arbd.results.code_runs import CodeRuns, counts_of
from arbd.results.columns import FIXED_COLUMNS, expand_code
from arbd.results.records import MAX_NAME_CHARS, ResultsGroup
from arbd.results.store_format import (
    BLOCK_PLACES,
    BLOCKS,
    ERRORS,
    METRIC,
    ORIGIN,
    PACKED,
    PARAM,
    REPORTS,
    SINGLE,
    WORKER,
)
from arbd.spool.frames import HEADER
from arbd.values import dataclass

_ITEM_BYTES = {"<i8": 8, "<f8": 8, "<i4": 4, "|u1": 1}
_FORMS = {**FIXED_COLUMNS, WORKER: "<i4", ORIGIN: "<i8"}
_TEXTS = (ERRORS, REPORTS, BLOCK_PLACES)


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column's form, and offset and length of each of its pieces."""

    form: str
    pieces: tuple[tuple[int, int], ...]

    @property
    def content_bytes(self) -> int:
        """How long its pieces are, as they stand in the file."""
        return sum(length - HEADER.size for _, length in self.pieces)

    @property
    def is_packed(self) -> bool:
        """True when it is compressed."""
        return self.form.endswith(PACKED)

    @property
    def plain_form(self) -> str:
        """The form of its values."""
        return self.form.removesuffix(PACKED)


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """`n` rows, the first of which is row `start` of the file, and their columns."""

    start: int
    n: int
    at: Mapping[str, StoredColumn]


class StoredCodes:
    """Which code made which rows, without a value for each."""

    def __init__(self, runs: CodeRuns) -> None:
        self._runs = runs
        self._ends = np.cumsum([count for _, count in runs], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """Rows by digest."""
        return counts_of(self._runs)

    def part(self, start: int, n: int) -> Array:
        """The digest of each of some rows."""
        first, last = np.searchsorted(self._ends, (start, start + n - 1), side="right")
        runs = self._runs[first : last + 1]
        skipped = start - (int(self._ends[first]) - runs[0][1])
        return expand_code(runs)[skipped : skipped + n]


def stored_group(found: ResultsGroup, start: int, size: int, first: StoredGroup | None) -> StoredGroup:
    """A group of a file of `size` bytes, of which everything but the content was looked at; `first` is that of the file.

    ValueError where the index does not hold.
    """
    n = found.rows
    at = {name: _column(place, size) for name, place in found.at.items()}
    for name, column in at.items():
        if name in _TEXTS:
            continue
        if name == BLOCKS:
            row_bytes = math.prod(block_shape(column.form)) * np.dtype(block_form(column.form)).itemsize
        else:
            row_bytes = _row_bytes(name, column.plain_form)
        if column.content_bytes != n * row_bytes and not column.is_packed:
            raise ValueError(f"a column of {column.content_bytes} bytes among {n} rows")
    missing = (FIXED_COLUMNS.keys() | {WORKER}) - at.keys()
    if missing:
        raise ValueError(f"a group without {', '.join(sorted(missing))}")
    if first is not None and params_of(at) != params_of(first.at):
        raise ValueError("other parameters in one group than in another")
    return StoredGroup(start, n, at)


def _column(found: Sequence[int | str], size: int) -> StoredColumn:
    form, *places = found
    numbers = [place for place in places if isinstance(place, int)]
    if not isinstance(form, str) or len(numbers) < len(places) or not numbers or len(numbers) % 2:
        raise ValueError("a column without its place")
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    if max(numbers) > size:
        raise ValueError(f"a place is {max(numbers)} in a file of {size} bytes")
    if any(length <= HEADER.size for _, length in pieces):
        raise ValueError("a place of no content")
    return StoredColumn(form, pieces)


def _row_bytes(name: str, form: str) -> int:
    """What a row has in a column; ValueError for a column or a form that there is not."""
    for prefix, forms in ((PARAM, ("<i8", "<f8")), (METRIC, ("<f8",))):
        if name.startswith(prefix) and form in forms and len(name) - len(prefix) <= MAX_NAME_CHARS:
            return _ITEM_BYTES[form]
    if _FORMS.get(name) != form:
        raise ValueError(f"a column {name[:40]!a} of type {form!a}")
    return _ITEM_BYTES[form]


def block_form(form: str) -> str:
    """Of return blocks, by what stands in the index."""
    return "<f4" if form.endswith(SINGLE) else "<f8"


def block_shape(form: str) -> tuple[int, int]:
    """As `block_form`: how many there are, and the two numbers of each; ValueError for another form."""
    count = form.removesuffix(SINGLE)
    if not (count.isascii() and count.isdigit() and len(count) <= 9 and int(count)):
        raise ValueError(f"{form!a} blocks")
    return int(count), 2


def params_of(at: Mapping[str, StoredColumn]) -> list[str]:
    """The parameters among some columns."""
    return [name.removeprefix(PARAM) for name in at if name.startswith(PARAM)]
