"""A market on disk: what the engine reads and what quotes are made of, each once, written while quotes stream in.

Arrays: `ts_ns`, `book`, `edge_ab`, `edge_ba`, `fresh` as in `Market`, and where the source tells them ages, `block`, funding and
levels. Quotes are views of the book; only where `fx` is not 1 throughout, B's own prices and `fx` are kept beside it. A
column with one value in all rows is one value, and ages are one column (`ages`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.paper.market.ages import LAG, LagAges, write_lag
from arbd.paper.market.growing import GrowingArray
from arbd.paper.market.levels import LEVEL_COLUMNS, levels_of
from arbd.paper.market.prepared import BOOK_COLUMNS, FUNDING_ARRAYS, checked_market, fresh_rows
from arbd.paper.market.quotes import AGES, COLUMNS, DEFAULTS, FUNDING, PRICES, Quotes, in_time, quotes_of
from arbd.paper.market.times import ONE_TIME

COPY_ROWS = 1 << 16
TOLD, DROPPED = "told", "rows_dropped"
# Columns that are kept beside the book, those of the book apart.
_BESIDE = (*AGES, "block", *FUNDING)
_OWN = ("bid_b", "ask_b", "fx")
Arrays = Mapping[str, npt.NDArray[Any]]


class Chunks(Protocol):
    """Checked quotes piece by piece (`QuoteChunks`)."""

    source: Path
    dropped: int
    ordered: bool

    def __iter__(self) -> Iterator[Quotes]: ...


def write_market(chunks: Chunks, folder: Path) -> None:
    """Write the arrays of a market into a folder. DataError when it has one time alone."""
    columns: dict[str, GrowingArray] = {}
    told: dict[str, None] = {}
    with contextlib.ExitStack() as files:
        for quotes in chunks:
            told |= dict.fromkeys(quotes.told())
            for name, values in _arrays(quotes).items():
                if name not in columns:
                    columns[name] = GrowingArray(folder / f"{name}.npy", values)
                    files.callback(columns[name].close)
                columns[name].append(values)
        for column in columns.values():
            column.finish()
    times = columns.get("ts_ns")
    if times is not None and times.constant and times.n > 1:
        raise DataError(chunks.source, ONE_TIME.format(rows=times.n, time=times.first))
    dropped = chunks.dropped
    if not chunks.ordered:
        dropped += _put_in_time(columns)
    _save_fresh(columns, folder)
    _save_once(columns, folder)
    ages = [columns[name] for name in AGES if name in columns and not columns[name].constant]
    if len(ages) == len(AGES):
        write_lag(ages[0].path, ages[1].path, folder)
    np.save(folder / f"{TOLD}.npy", np.array(list(told)), allow_pickle=False)
    np.save(folder / f"{DROPPED}.npy", np.array([dropped]), allow_pickle=False)
    _save_funding(columns, folder)


def _arrays(quotes: Quotes) -> dict[str, npt.NDArray[Any]]:
    """What is written of some quotes."""
    market = checked_market(quotes)
    told = quotes.told()
    found: dict[str, npt.NDArray[Any]] = {
        "ts_ns": quotes.ts_ns, "book": market.book, "edge_ab": market.edge_ab, "edge_ba": market.edge_ba,
    }  # fmt: skip
    found |= {name: told[name] for name in (*_BESIDE, *LEVEL_COLUMNS) if name in told}
    found |= {name: getattr(quotes, name) for name in _OWN}
    return found | ({"levels": market.levels} if quotes.levels else {})


def _put_in_time(columns: Mapping[str, GrowingArray]) -> int:
    """Leave out the fewest rows whose time is before one above them; how many."""
    keep = in_time(np.load(columns["ts_ns"].path, mmap_mode="r"))
    n = int(keep.sum())
    for column in columns.values():
        values = np.load(column.path, mmap_mode="r")
        kept = GrowingArray(column.path.with_suffix(".kept"), values)
        for start in range(0, len(values), COPY_ROWS):
            kept.append(values[start : start + COPY_ROWS][keep[start : start + COPY_ROWS]])
        kept.finish()
        kept.path.replace(column.path)
        column.n = n
    return len(keep) - n


def _save_fresh(columns: Mapping[str, GrowingArray], folder: Path) -> None:
    """What is news in each row, by what was quoted: found here once, over all pieces."""
    n = columns["ts_ns"].n
    book = np.load(columns["book"].path, mmap_mode="r")
    own = [np.load(columns[name].path, mmap_mode="r") for name in ("bid_b", "ask_b")]
    shown = [[book[:, 0], book[:, 1], *own, *(book[:, at] for at in range(4, 8))]]
    below = {name: np.load(columns[name].path, mmap_mode="r") for name in LEVEL_COLUMNS if name in columns}
    shown += [[getattr(level, name) for name in BOOK_COLUMNS] for level in levels_of(below, n)]
    ages = [
        np.load(columns[name].path, mmap_mode="r") if name in columns else np.broadcast_to(np.int64(0), (n,))
        for name in AGES
    ]
    with contextlib.closing(GrowingArray(folder / "fresh.npy", np.empty(0, dtype=np.uint8))) as fresh:
        for start in range(0, n, COPY_ROWS):
            fresh.append(fresh_rows(shown, ages, slice(start, min(n, start + COPY_ROWS))))
        fresh.finish()


def _save_once(columns: Mapping[str, GrowingArray], folder: Path) -> None:
    """What is one value in all rows as one value; B's own prices only where they are not the book's."""
    for name in (*_BESIDE, "fx"):
        column = columns.get(name)
        if column is not None and column.constant and column.n > 1:
            np.save(folder / f"{name}.npy", np.array([column.first], dtype=column.dtype), allow_pickle=False)
    if columns["fx"].constant and float(columns["fx"].first) == 1.0:
        for name in _OWN:
            columns[name].path.unlink()


def _save_funding(columns: Mapping[str, GrowingArray], folder: Path) -> None:
    """Where funding was paid, and how much: found here once, not by every process."""
    rates = [np.load(columns[name].path, mmap_mode="r") if name in columns else None for name in FUNDING]
    if all(rate is None for rate in rates):
        return
    rows: list[npt.NDArray[np.int64]] = []
    n = columns["ts_ns"].n
    for start in range(0, n, COPY_ROWS):
        paid = np.zeros(min(COPY_ROWS, n - start), dtype=np.bool_)
        for rate in rates:
            paid |= False if rate is None else ~np.isnan(_piece(rate, start, n))
        rows.append(np.flatnonzero(paid) + start)
    at = np.concatenate(rows)
    values = [np.zeros(len(at)) if rate is None else np.nan_to_num(_whole(rate, n)[at]) for rate in rates]
    np.save(folder / f"{FUNDING_ARRAYS[0]}.npy", at, allow_pickle=False)
    np.save(folder / f"{FUNDING_ARRAYS[1]}.npy", np.stack(values, axis=1), allow_pickle=False)


def _whole(values: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    return values if len(values) == n else np.broadcast_to(values, (n,))


def _piece(values: npt.NDArray[Any], start: int, n: int) -> npt.NDArray[Any]:
    return _whole(values, n)[start : start + COPY_ROWS]


def stored_quotes(arrays: Arrays) -> Quotes:
    """Quotes out of the arrays that `write_market` wrote: views, nothing is copied."""
    n = len(arrays["ts_ns"])
    told = set(arrays[TOLD].tolist())
    columns: dict[str, npt.NDArray[Any] | LagAges] = {"ts_ns": arrays["ts_ns"]}
    for name in COLUMNS[1:]:
        if name in arrays:
            columns[name] = _whole(arrays[name], n)
        elif name in AGES and LAG in arrays:
            columns[name] = LagAges(arrays, AGES.index(name))
        elif name in BOOK_COLUMNS and (name in told or name in PRICES):
            columns[name] = arrays["book"][:, BOOK_COLUMNS.index(name)]
        elif name in told and name in DEFAULTS:
            columns[name] = np.broadcast_to(np.float64(1.0), (n,))
    columns |= {name: arrays[name] for name in LEVEL_COLUMNS if name in arrays}
    return quotes_of(columns)
