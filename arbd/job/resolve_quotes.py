"""The quotes that a job names, read once at its resolution: what is fixed and noted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from arbd.errors import DataError
from arbd.job.limits import MAX_MARKS
from arbd.job.model_data import DataFolder
from arbd.job.sanity import Look
from arbd.named_file import NamedFile, ReadRule
from arbd.paper.market.cache import Loaded, load, load_days
from arbd.paper.market.days import DayFiles
from arbd.paper.market.marks import marks_of
from arbd.paper.market.quotes import IntArray, Quotes
from arbd.paper.market.times import clock_note

SHOWN_DAYS = 5


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
