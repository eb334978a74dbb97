"""The book beyond the touch: levels 2 to L of both venues, as columns of a file and as arrays.

A level that the book did not have in a row has price NaN and size 0; none below it exists there either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.params import MAX_LEVELS
from arbd.values import dataclass

FloatArray = npt.NDArray[np.float64]
_PARTS = ("bid", "bid_size", "ask", "ask_size")


def level_names(venue: str, level: int) -> tuple[str, ...]:
    """The four columns of one venue's level in a file; of a file of one venue alone (venue "") `bid_2`, ..."""
    return tuple(f"{part}_{venue}_{level}" if venue else f"{part}_{level}" for part in _PARTS)


VENUE_LEVEL_COLUMNS = tuple(name for level in range(2, MAX_LEVELS + 1) for name in level_names("", level))
LEVEL_COLUMNS = tuple(
    name for level in range(2, MAX_LEVELS + 1) for venue in "ab" for name in level_names(venue, level)
)


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One level below the touch, arrays of shape (n,): prices in the venue's quote currency, sizes in base units.

    All of a venue that tells no such level is NaN and 0, with stride 0.
    """

    bid_a: FloatArray
    bid_size_a: FloatArray
    ask_a: FloatArray
    ask_size_a: FloatArray
    bid_b: FloatArray
    bid_size_b: FloatArray
    ask_b: FloatArray
    ask_size_b: FloatArray

    def column(self, part: str, venue: str) -> FloatArray:
        """`bid`, `bid_size`, `ask` or `ask_size` of venue `a` or `b`."""
        found: FloatArray = getattr(self, f"{part}_{venue}")
        return found


def named_levels(levels: Sequence[Level]) -> dict[str, FloatArray]:
    """The columns of levels, which begin at the second, as they are called in a file; without those not told."""
    return {
        name: column
        for number, level in enumerate(levels, 2)
        for venue in "ab"
        for name, part in zip(level_names(venue, number), _PARTS, strict=True)
        if not _absent(column := level.column(part, venue))
    }


def _absent(column: FloatArray) -> bool:
    return column.strides == (0,) and (len(column) == 0 or not column[0] > 0)


def level_columns(
    columns: Mapping[str, npt.NDArray[Any]], source: Path | str, venues: Sequence[str] = "ab"
) -> dict[str, FloatArray]:
    """Those of the columns that are levels, as numbers; a missing price and its size are NaN and 0.

    DataError when a level has not all of its columns, or is there without the one above it.
    """
    found: dict[str, FloatArray] = {}
    for venue in venues:
        above = True
        for level in range(2, MAX_LEVELS + 1):
            names = level_names(venue, level)
            given = [name for name in names if name in columns]
            if not given:
                above = False
                continue
            if len(given) < len(names):
                raise DataError(source, f"has {', '.join(given)}, but no {_first_not(names, given)}: a level has four")
            if not above:
                raise DataError(source, f"has {names[0]}, but no {level_names(venue, level - 1)[0]}: levels follow on")
            for name in names:
                found[name] = np.asarray(columns[name], dtype=np.float64)
            for price, size in (names[:2], names[2:]):
                # A size left empty where there is no price is no size; beside a price it is a fault.
                missing = np.isnan(found[price]) & np.isnan(found[size])
                if missing.any():
                    found[size] = np.where(missing, 0.0, found[size])
    return found


def _first_not(names: Sequence[str], given: Sequence[str]) -> str:
    return next(name for name in names if name not in given)


def level_faults(
    columns: Mapping[str, npt.NDArray[Any]], venues: Sequence[str] = "ab"
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Kinds of faults that a row's levels can have, each with the mask of the rows that have it."""
    for venue in venues:
        for level in range(2, MAX_LEVELS + 1):
            names = level_names(venue, level)
            if names[0] not in columns:
                break
            touch = (f"bid_{venue}", f"ask_{venue}") if venue else ("bid", "ask")
            before_names = touch if level == 2 else level_names(venue, level - 1)[::2]
            for side, (price, size), above in zip(("bid", "ask"), (names[:2], names[2:]), before_names, strict=True):
                at, before = columns[price], columns[above]
                absent = np.isnan(at)
                yield f"{price} is {{{price}}}, not a positive number", ~(absent | ((at > 0) & (at < np.inf)))
                better = at > before if side == "bid" else at < before
                yield f"{price} {{{price}}} is better than {above} {{{above}}}: levels go from best to worst", better
                yield f"{price} is there without {above}", ~absent & np.isnan(before)
                yield f"{size} is {{{size}}}, not a size", ~(columns[size] >= 0)
                yield f"{size} is {{{size}}} without a price", absent & (columns[size] > 0)


def levels_of(columns: Mapping[str, FloatArray], n: int) -> tuple[Level, ...]:
    """Levels from their columns, which were checked; n rows."""
    absent = {"price": np.broadcast_to(np.float64(np.nan), (n,)), "size": np.broadcast_to(np.float64(0.0), (n,))}
    levels: list[Level] = []
    for level in range(2, MAX_LEVELS + 1):
        if not any(level_names(venue, level)[0] in columns for venue in "ab"):
            break
        levels.append(
            Level(**{
                f"{part}_{venue}": columns.get(name, absent["size" if part.endswith("size") else "price"])
                for venue in "ab"
                for name, part in zip(level_names(venue, level), _PARTS, strict=True)
            })
        )  # fmt: skip
    return tuple(levels)
