"""The quotes that a job names, read once at its resolution: what is fixed and noted of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.job.limits import MAX_MARKS
from arbd.job.model_data import DataFolder
from arbd.job.sanity import Look
from arbd.named_file import NamedFile, ReadRule
from arbd.paper.market.cache import Loaded, load, load_days
from arbd.paper.market.days import DayFiles
from arbd.paper.market.quotes import PRICES, IntArray, Quotes
from arbd.paper.market.times import clock_note
from arbd.values import dataclass

SHOWN_DAYS = 5
# Marks of one market at most, and of all markets of a job together, as far as each has two.
MOST_OF_ONE, MOST_OF_ALL, LEAST = 64, 512, 2
# Writing prices with fewer digits makes no other market.
DIGITS = 6


@dataclass(slots=True)
class QuoteFiles:
    """Files and folders of quotes by the names that the resolved job has for them; it names so many, `of`."""

    cache_dir: Path | None
    on_bad_rows: str
    reading: ReadRule
    digests: dict[str, str] = field(default_factory=dict)
    times: dict[str, list[IntArray]] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    of: int = 1
    _marks: set[str] = field(default_factory=set)

    def read(self, file: NamedFile) -> None:
        """DataError when the file is bad."""
        self._note(str(file.path), load(file, self.cache_dir, self.on_bad_rows))

    def read_days(self, days: DayFiles, folders: Sequence[Path], given: DataFolder | None = None) -> str:
        """The name of day files in the first of several folders that is there; DataError when they are bad."""
        found = replace(days, folder=first_folder(folders))
        if given is not None:
            found = newest_of(given, found, self.reading)
        closed, absent = found.closed(self.reading)
        if absent:
            self.notices.append(f"{closed} has no file of {_named(absent)}: gaps in the market")
        if given is None or given.last is None:
            found = closed
        loaded, _ = load_days(found, self.cache_dir, self.on_bad_rows, reading=self.reading)
        self._note(str(found), loaded)
        return str(found)

    def see(self, name: str, markets: Sequence[Quotes]) -> None:
        """Those of a scenario."""
        self.times[name] = [market.ts_ns[[0, -1]] for market in markets]
        for market in markets:
            self._marks.update(marks_of(market, self.of * len(markets)))

    @property
    def marks(self) -> tuple[str, ...]:
        """What all markets are known by."""
        return tuple(sorted(self._marks))[:MAX_MARKS]

    def _note(self, name: str, loaded: Loaded) -> None:
        self.digests[name] = loaded.digest
        self.times[name] = [loaded.quotes.ts_ns[[0, -1]]]
        self.looks[name] = Look.at(loaded.quotes)
        if loaded.dropped:
            self.notices.append(f"{loaded.dropped:,} bad rows of {name} are dropped")
        self._marks.update(marks_of(loaded.quotes, self.of))
        note = clock_note(loaded.quotes.ts_ns)
        if note is not None:
            self.notices.append(f"{name}: {note}")


def _named(days: Sequence[str]) -> str:
    more = f" and {len(days) - SHOWN_DAYS:,} days more" if len(days) > SHOWN_DAYS else ""
    return ", ".join(days[:SHOWN_DAYS]) + more


def first_folder(folders: Sequence[Path]) -> Path:
    """The first that is there, with its links followed."""
    return next((each for each in folders if each.is_dir()), folders[0]).resolve()


def days_of(given: DataFolder) -> DayFiles:
    """What a job's folder means."""
    first, last = (day.isoformat() if day is not None else "" for day in (given.first, given.until))
    return DayFiles(Path(given.folder), given.pattern, first, last)


def newest_of(given: DataFolder, days: DayFiles, reading: ReadRule) -> DayFiles:
    """With the window that a job's folder asks for, as of now. DataError where there is no such day."""
    if given.last is None:
        if given.skip_newest is not None:
            raise DataError(days.folder, "skip_newest goes with `last`: name both")
        return days
    if given.until is not None:
        raise DataError(days.folder, "one of `last` and `to` at a time")
    return days.newest(day_count(given.last), day_count(given.skip_newest), reading)


def day_count(text: str | None) -> int:
    """`30d` is 30, nothing 0."""
    return int(text[:-1]) if text else 0


def marks_of(quotes: Quotes, of: int = 1) -> list[str]:
    """`MOMENT_NS:DIGEST` of the prices in force at up to 64 moments, fewer where the job has many markets, `of`.

    So a market is known in other files too: written again in another format, under another name, without its first row, or
    as a part of a longer one. The moments are multiples of a power of two of nanoseconds, so that those of a long recording
    are among those of any part of it.
    """
    if not len(quotes):
        return []
    most = max(LEAST, min(MOST_OF_ONE, MOST_OF_ALL // of))
    first, last = int(quotes.ts_ns[0]), int(quotes.ts_ns[-1])
    step = 1
    while last // step - -(-first // step) + 1 > most:
        step *= 2
    moments = [step * at for at in range(-(-first // step), last // step + 1)]
    rows = np.searchsorted(quotes.ts_ns, moments, side="right") - 1
    prices = zip(*(getattr(quotes, name)[rows].tolist() for name in PRICES), strict=True)
    return [f"{moment}:{_digest(each)}" for moment, each in zip(moments, prices, strict=True)]


def _digest(prices: Iterable[float]) -> str:
    return hashlib.sha256(" ".join(f"{price:.{DIGITS}g}" for price in prices).encode()).hexdigest()[:12]
