"""Feed of hftbacktest: NPZ with an array `data` of events, of version 2 (named fields) or 1 (six columns).

An event has ev (a kind in its lowest byte: 1 depth, 3 clear, 4 snapshot; flags of side and of who sees it), exch_ts,
local_ts (ns), px, qty. A depth event's qty is the new total at px; a clear event removes a side's prices up to px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError
from arbd.named_file import MAX_DATA_BYTES, open_named
from arbd.paper.market.importers.book import CLEAR, BookReplay
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions, checked
from arbd.paper.market.npz import read_npz

DEPTH, TRADE, CLEARED, SNAPSHOT = 1, 2, 3, 4
BUY, SELL, LOCAL = 1 << 29, 1 << 28, 1 << 30
FIELDS = ("ev", "exch_ts", "local_ts", "px", "qty")


def read_hftbacktest(path: Path, options: VenueOptions) -> Imported:
    """The book whenever its levels changed, by the time at which the recorder saw it (`local_ts`)."""
    with open_named(path, MAX_DATA_BYTES) as file:
        data = read_npz(file, ("data",)).get("data")
    if data is None:
        raise DataError(path, "has no array data: is it a file of hftbacktest?")
    kind, bid, ask, ts_ns, price, size = _events(path, data)
    used = np.isin(kind, (DEPTH, CLEARED, SNAPSHOT)) & (bid | ask)
    if not np.isin(kind[used], (DEPTH, SNAPSHOT)).any():
        raise DataError(path, "holds no depth events, from which a book could be made")
    numbers = np.flatnonzero(used)
    kind, bid, ts_ns, price, size = kind[used], bid[used], ts_ns[used], price[used], size[used]
    clear = kind == CLEARED
    everything = clear & ~(price > 0)
    price = np.where(everything, np.where(bid, 0.0, np.inf), price)
    changes = np.stack([bid.astype(np.float64), price, np.where(clear, CLEAR, size)], axis=1)
    ends = np.append(np.flatnonzero(np.diff(ts_ns) != 0) + 1, len(ts_ns))
    begins = np.append(0, ends[:-1])
    book = BookReplay(path, options.levels)
    book.arrays(ts_ns[begins], numbers[begins] + 1, np.zeros(len(ends), dtype=np.bool_), ends, changes)
    columns, rows = book.columns()
    # A book begins with one side, then the other: until both are there it is none.
    whole = np.cumsum(~np.isnan(columns["bid"]) & ~np.isnan(columns["ask"])) > 0
    columns = {name: column[whole] for name, column in columns.items()}
    done = checked(path, columns, options.on_bad_rows, rows=rows[whole])
    return Imported(done.quotes, (*book.notes(), *done.notes))


def _events(path: Path, data: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Kind, whether of bids, whether of asks, time, price and size of each event that the recorder saw."""
    if data.dtype.names is None:
        if data.ndim != 2 or data.shape[1] != 6:
            raise DataError(path, f"data has shape {data.shape}, not (events, 6) or named fields {', '.join(FIELDS)}")
        kinds, exch, local, side, px, qty = (np.asarray(column, dtype=np.float64) for column in data.T)
        if not (np.isfinite(kinds) & np.isfinite(local) & np.isfinite(exch)).all():
            raise DataError(path, "data has events or times that are no numbers")
        # Times of version 1 are in us, and -1 where the recorder or the exchange did not see the event.
        seen = local > 0
        parts = (kinds.astype(np.int64) & 0xFF, side > 0, side < 0, local.astype(np.int64) * 1_000, px, qty)
        return tuple(part[seen] for part in parts)
    missing = [name for name in FIELDS if name not in data.dtype.names]
    if missing:
        raise DataError(path, f"data has no field {', '.join(missing)}; hftbacktest has {', '.join(FIELDS)}")
    ev: npt.NDArray[np.uint64] = data["ev"].astype(np.uint64)
    seen = (ev & np.uint64(LOCAL)) != 0
    if not seen.any():
        seen = np.ones(len(ev), dtype=np.bool_)
    ev, data = ev[seen], data[seen]
    bid, ask = ((ev & np.uint64(flag)) != 0 for flag in (BUY, SELL))
    return (ev & np.uint64(0xFF)).astype(np.int64), bid, ask, data["local_ts"].astype(np.int64), data["px"], data["qty"]


IMPORTER = Importer(summary="Feed of hftbacktest (NPZ), with levels.", read=read_hftbacktest)
