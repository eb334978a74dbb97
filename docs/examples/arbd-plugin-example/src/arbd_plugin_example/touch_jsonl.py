"""A format of one venue's quotes: one JSON object per line, {"ms": time, "b": bid, "a": ask}."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from arbd.plugins.importer import DataError, Imported, Importer, VenueOptions, checked


def read(path: Path, options: VenueOptions) -> Imported:
    """Quotes of a file. `checked` finds what is wrong with them and says in which row."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except OSError as error:
        raise DataError(path, error.strerror or str(error)) from error
    times, bids, asks = [], [], []
    for row, line in enumerate(lines, 1):
        try:
            quote = json.loads(line)
            times.append(int(quote["ms"]) * 1_000_000)
            bids.append(float(quote["b"]))
            asks.append(float(quote["a"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(path, f"is no quote with ms, b and a: {error!r}", row) from error
    columns = {"ts_ns": np.array(times, dtype=np.int64), "bid": np.array(bids), "ask": np.array(asks)}
    return checked(path, columns, options.on_bad_rows)


IMPORTER = Importer(summary="Lines of JSON with ms, b and a.", read=read)
