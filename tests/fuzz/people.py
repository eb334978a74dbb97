"""How a file of people is played: in a folder of its own, as the tables that they bring, and what must be so afterwards."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import ArbdError
from arbd.paper.market.quotes import Quotes
from tests.fuzz.mutations import TEXTS, mutate_bytes

CELLS = [
    *TEXTS, "", " ", "0", "-0", "1e308", "-1", "nan", "inf", "-inf", "1,5", "1.5", "1_0", "0x10", "1e400", "9" * 25, "-" + "9" * 19,
    "2025-01-01", "2025-01-01T00:00:00+99:99", "2025-01-01T00:00:00.1234567890Z", "0001-01-01", "9999-12-31 23:59:59", "NaT", "now",
    "1735689600", "1735689600000000000", '"', '""', "'", "\t", ";", "|", "\x00", "\ud7ff", "True", "NULL", "None", "ts_ns",
]  # fmt: skip
LEAKS = ("duckdb", "numpy", "numba", "/proc/self/fd", "traceback", "invalid literal", "read_csv", "strict_mode")


def cleanly(step: Callable[[], object]) -> str:
    """What became of a case: an error of this program's own, in its own words, or none.

    The time that a case may take, where it has a limit, begins here: what it took to make the case does not count.
    """
    _, limit_s = signal.getitimer(signal.ITIMER_PROF)
    if limit_s:
        signal.setitimer(signal.ITIMER_PROF, limit_s, limit_s)
    try:
        step()
    except ArbdError as error:
        told = str(error)
        told.encode()
        leaked = [word for word in LEAKS if word in told.lower()]
        assert not leaked, f"{leaked} in {told[:300]}"
        return "refused"
    return "read"


Target = Callable[[Any, random.Random, Path], str]


def at_home(target: Target) -> Callable[[Any, random.Random], str]:
    """A target with a folder for files of people; copies that readers make go there too."""

    def play(bench: Any, rng: random.Random) -> str:
        folder: Path = bench.corpus.folder / "files"
        folder.mkdir()
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            return target(bench, rng, folder)
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder)

    return play


def mutated_table(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    text = data.decode(errors="replace")
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.randrange(4)):
        row = rng.choice(rows) if rows and rng.random() < 0.6 else (rows[0] if rows else [])
        kind = rng.randrange(16)
        if not row:
            continue
        at = rng.randrange(len(row))
        if kind <= 2:
            row[at] = rng.choice(CELLS)
        elif kind == 3:
            del row[at]
        elif kind == 4:
            row.insert(at, rng.choice([row[at], rng.choice(CELLS)]))
        elif kind == 5:
            rows.reverse()
        elif kind == 6:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
        elif kind == 7:
            row[at] = "x" * rng.choice([300, 70_000])
        elif kind <= 9 and len(rows) > 2:
            # The whole column is something else.
            cell = rng.choice(CELLS)
            for other in rows[1:]:
                if at < len(other):
                    other[at] = cell
        elif kind == 10 and len(rows) > 2:
            rows[1:] = [rng.choice(rows[1:])] * rng.choice([1, 2, 300])
        elif kind == 11:
            rows[0] = rng.choice([rows[0][::-1], [cell.upper() for cell in rows[0]], rows[0] * 2, [], rows[0] * 200])
        elif kind == 12:
            row[at] = f'"{row[at]}"' if rng.random() < 0.7 else f'"{row[at]}'
        elif kind == 13:
            rows.insert(
                rng.randrange(len(rows)), rng.choice([[], ["# a comment"], ["sep=;"], [""] * len(row), rows[0]])
            )
        elif kind == 14:
            end = rng.choice(["e300", ".0", " ", "%", "\u00a0", "d"])
            row[at] = row[at].replace(".", ",") if rng.random() < 0.5 else row[at] + end
        else:
            row[at] = str(rng.choice([-1, 1]) * rng.randrange(10 ** rng.choice([1, 9, 19, 20, 40])))
    delimiter = rng.choice([*[","] * 15, ";", "\t", "|", " ", ""])
    text = rng.choice([*["\n"] * 9, "\r\n", "\r", "\n\n"]).join(delimiter.join(row) for row in rows)
    text += rng.choice(["", "\n"])
    return text.encode(
        rng.choice(
            [
                *["utf-8"] * 24,
                "utf-8-sig",
                "utf-16",
                "utf-16-be",
                "utf-32",
                "utf-7",
                "cp1252",
                "shift-jis",
                "cp037",
                "latin-1",
            ]
        ),
        errors="replace",
    )


def sound(quotes: Quotes) -> None:
    """What `build_quotes` keeps."""
    columns = quotes.columns()
    assert len({len(column) for column in columns.values()}) == 1
    assert (np.diff(quotes.ts_ns) >= 0).all()
    assert (
        (quotes.bid_a > 0) & (quotes.bid_a <= quotes.ask_a) & (quotes.bid_b <= quotes.ask_b) & (quotes.fx > 0)
    ).all()
