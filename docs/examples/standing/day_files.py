"""Writes a file of quotes for each day that is named, as a recorder does: python day_files.py FOLDER DAY..."""

import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for day in map(date.fromisoformat, sys.argv[2:]):
        quotes = synth_profile("kimchi", day.toordinal(), 5_000, span_s=80_000.0)
        midnight_ns = (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400 * 10**9
        moved = replace(quotes, ts_ns=quotes.ts_ns - quotes.ts_ns[0] + midnight_ns)
        # Whole, under a name that is no day's yet.
        write_quotes(moved, folder / ".growing.npz")
        (folder / ".growing.npz").rename(folder / f"btc-{day}.npz")
        sys.stdout.write(f"{folder}/btc-{day}.npz\n")
