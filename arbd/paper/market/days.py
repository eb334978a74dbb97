"""Day files of a folder as one market: which files they are, by name and date, and their rows one after another.

In a job it is `{folder: ..., pattern: "*.parquet", from: 2024-01-01, to: 2024-01-31}`; resolved it is one name,
`FOLDER/PATTERN[FROM..TO]`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.named_file import ANY, NamedFile, ReadRule, RefusedError, real_path
from arbd.paper.market.quotes import Quotes
from arbd.paper.market.readers import SUFFIXES, QuoteChunks
from arbd.values import dataclass

MAX_FILES = 10_000
# Between two files is a gap where they are further apart than this, and than so many steps of the first.
GAP_NS = 60 * 10**9
GAP_STEPS = 10
_NAME = re.compile(r"(.*)/([^/]+)\[(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?\]", re.DOTALL)
_DATE = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d\d)[-_.]?(\d\d)(?!\d)")


@dataclass(frozen=True, slots=True)
class DayFiles:
    """Files of `folder` whose names fit `pattern`, of the days `first` to `last` ("" for all), both included."""

    folder: Path
    pattern: str = "*"
    first: str = ""
    last: str = ""

    def __str__(self) -> str:
        return f"{self.folder}/{self.pattern}[{self.first}..{self.last}]"

    @classmethod
    def parse(cls, name: str) -> DayFiles | None:
        """From the name that a resolved job has; None for that of a file."""
        found = _NAME.fullmatch(name)
        return None if found is None else cls(Path(found[1] or "/"), found[2], found[3] or "", found[4] or "")

    def files(self, reading: ReadRule = ANY) -> list[Path]:
        """In order of their days, then names; DataError when there is none, or a name tells no day where one is needed."""
        reading.admit(self.folder, real_path(self.folder))
        if reading.public_only and not _is_public(self.folder):
            raise RefusedError(self.folder, "cannot be listed by every user of this host: chmod o+rx it")
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file())
        except OSError as error:
            raise DataError(self.folder, f"cannot be listed: {error.strerror}") from None
        fitting = [
            n for n in names if n.endswith(SUFFIXES) and not n.startswith(".") and fnmatch.fnmatchcase(n, self.pattern)
        ]
        dated = [(_day(name), name) for name in fitting]
        if self.first or self.last:
            without = [name for day, name in dated if not day]
            if without:
                raise DataError(self.folder / without[0], "its name tells no day (2024-01-31): narrow the pattern")
            dated = [(day, name) for day, name in dated if (self.first or day) <= day <= (self.last or day)]
        if not dated:
            raise DataError(self.folder, f"has no file {self.pattern} ({', '.join(SUFFIXES)}) {self._days()}".rstrip())
        if len(dated) > MAX_FILES:
            raise DataError(
                self.folder, f"has {len(dated):,} such files; {MAX_FILES:,} are the maximum: narrow the days"
            )
        return [self.folder / name for _, name in sorted(dated)]

    def closed(self, reading: ReadRule = ANY) -> tuple[DayFiles, list[str]]:
        """The same from its first file's day to its last one's, and the days between of which there is no file.

        So what arrives later is no part of it. As it is where a name tells no day of the calendar. DataError as of `files`.
        """
        told = {_day(path.name) for path in self.files(reading)}
        try:
            first, last = (date.fromisoformat(find(told)) for find in (min, max))
        except ValueError:
            return self, []
        every = (first + timedelta(days=number) for number in range((last - first).days))
        absent = [day.isoformat() for day in every if day.isoformat() not in told]
        return replace(self, first=first.isoformat(), last=last.isoformat()), absent

    def newest(self, days: int, skip: int, reading: ReadRule = ANY) -> DayFiles:
        """The same with its window: the last so many days up to the newest file's, of which the last `skip` are left out.

        DataError when there is none, or a name tells no day.
        """
        paths = self.files(reading)
        told = [_day(path.name) for path in paths]
        if not all(told):
            odd = paths[told.index("")]
            raise DataError(odd, "its name tells no day (2024-01-31), which `last` needs: narrow the pattern")
        try:
            end = date.fromisoformat(max(told)) - timedelta(days=skip)
            first = end - timedelta(days=days - 1)
        except (ValueError, OverflowError):
            raise DataError(self.folder, f"the days of its files are no calendar's: {max(told)}") from None
        found = replace(self, first=max(first.isoformat(), self.first), last=end.isoformat())
        found.files(reading)
        return found

    def _days(self) -> str:
        return f"of {self.first or 'the first day'} to {self.last or 'the last'}" if self.first or self.last else ""


def _day(name: str) -> str:
    found = _DATE.search(name)
    return "-".join(found.groups()) if found else ""


def _is_public(folder: Path) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return True  # told where it is listed
    return found.st_mode & (stat.S_IROTH | stat.S_IXOTH) == stat.S_IROTH | stat.S_IXOTH or (
        found.st_uid == os.geteuid() != 0
    )


def digest_of(digests: Sequence[str]) -> str:
    """One digest for the contents of several files in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


class DayChunks:
    """The pieces of several files as of one: `QuoteChunks` over all of them, in bounded memory.

    Every row has a `block`: it grows within a file as the file says, and between two files that do not touch.
    """

    def __init__(self, files: Iterator[NamedFile], on_bad_rows: str) -> None:
        self._files = files
        self._on_bad_rows = on_bad_rows
        self.source = Path()
        self.dropped = 0
        self.ordered = True

    def __iter__(self) -> Iterator[Quotes]:
        seam = _Seam()
        for file in self._files:
            self.source = file.path.parent
            chunks = QuoteChunks(file, self._on_bad_rows)
            with file.errors_unquoted("quotes"):
                for number, quotes in enumerate(chunks):
                    yield seam.joined(file.path, quotes, begins=not number)
            self.dropped += chunks.dropped
            self.ordered = self.ordered and chunks.ordered


class _Seam:
    """What the files before one tell of it."""

    def __init__(self) -> None:
        self._before: Quotes | None = None
        self._path = Path()
        self._told: set[str] = set()
        self._offset = 0

    def joined(self, path: Path, quotes: Quotes, *, begins: bool) -> Quotes:
        """The next quotes with the blocks of the whole; DataError where they do not follow on, or tell something else."""
        before = self._before
        if begins and before is not None:
            if int(quotes.ts_ns[0]) < int(before.ts_ns[-1]):
                raise DataError(
                    path,
                    f"begins before {self._path.name} ends: where both are of the same time, narrow the pattern or move one "
                    "away",
                )
            self._offset = int(before.block[-1]) + int(_is_gap(before, quotes)) - int(quotes.block[0])
        own = set(quotes.told()) - {"block"}
        self._told = self._told or own
        if own != self._told:
            odd = ", ".join(sorted(own ^ self._told))
            raise DataError(
                path,
                f"tells other columns than the files before it: {odd}; give all files the same, or narrow the days",
            )
        self._path = path
        self._before = replace(quotes, block=np.ascontiguousarray(quotes.block) + self._offset)
        return self._before


def _is_gap(before: Quotes, after: Quotes) -> bool:
    step_ns = int(np.median(np.diff(before.ts_ns))) if len(before) > 1 else 0
    return int(after.ts_ns[0]) - int(before.ts_ns[-1]) > max(GAP_NS, GAP_STEPS * step_ns)
