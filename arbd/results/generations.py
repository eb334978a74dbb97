"""Generations in the spool: each published once, read by every worker, computed by whoever comes first.

Keeps I5: what is published is never replaced, and it is a function of results that are durable and settled, so that
a worker that computes it again gets the same. Keeps I4: a file appears whole, by a link to one that is synced.
"""

from __future__ import annotations

import contextlib
import re

from arbd.errors import CorruptionError, VersionError
from arbd.search.generation import Generation, decode_generation
from arbd.search.phases import Layout
from arbd.search.plan import PlannedRows, join
from arbd.search.pruning import Thresholds
from arbd.search.schedule import Schedule
from arbd.spool.files import Files
from arbd.spool.frames import payloads
from arbd.spool.layout import SessionPaths
from arbd.spool.spans import Span
from arbd.spool.system import Clock
from arbd.values import dataclass

SUFFIX = ".gen"
_NAME = re.compile(r"(\d{6,})\.gen")
KEPT = 8
READ_PATIENCE_S = 30.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


def generation_name(number: int) -> str:
    """The file of a generation."""
    return f"{number:06d}{SUFFIX}"


def published_up_to(files: Files, paths: SessionPaths) -> int:
    """The last generation up to which all are published; asked of the listing, which a network shows first."""
    found = (_NAME.fullmatch(name) for name in files.names(paths.generations))
    numbers = {int(match[1]) for match in found if match is not None}
    last = 0
    while last + 1 in numbers:
        last += 1
    return last


def read_generation(files: Files, paths: SessionPaths, number: int) -> Generation:
    """A published generation. VersionError when another version wrote it, CorruptionError when its file is damaged."""
    path = paths.generations / generation_name(number)
    for payload in payloads(files.read(path)):
        try:
            return decode_generation(payload, number, path)
        except ValueError as error:
            raise CorruptionError(
                path, 0, f"not a generation: {error}; `arbctl repair {paths.session_id}` sets it aside"
            ) from error
    session = paths.session_id
    raise CorruptionError(path, 0, f"damaged; `arbctl repair {session}` sets it aside, and it is computed again")


def published_schedule(files: Files, paths: SessionPaths) -> Schedule | None:
    """The schedule that the session's generations say they follow; None when none that can be read says so."""
    for number in range(1, published_up_to(files, paths) + 1):
        with contextlib.suppress(CorruptionError, VersionError):
            if (found := read_generation(files, paths, number).schedule) is not None:
                return found
    return None


class PublishedPlan:
    """The plan of a session whose generations are published; rows are asked for only once they are."""

    def __init__(self, files: Files, clock: Clock, paths: SessionPaths, layout: Layout) -> None:
        self._files = files
        self._clock = clock
        self._paths = paths
        self._layout = layout
        self._kept: dict[int, Generation] = {}

    def rows(self, first: int, count: int) -> PlannedRows:
        """See `arbd.search.plan.Plan`. Waits a while for a file that this host's client does not show yet."""
        parts: list[PlannedRows] = []
        while count > 0:
            number = self._layout.number_of(first)
            generation = self._generation(number, first)
            start = first - generation.first
            part = generation.rows.select(slice(start, start + count))
            if not len(part):
                raise CorruptionError(
                    self._paths.generations / generation_name(number), 0, f"it has no iteration {first}"
                )
            parts.append(part)
            first += len(part)
            count -= len(part)
        return join(parts)

    def thresholds(self, iteration: int) -> Thresholds:
        """See `arbd.search.plan.Plan`."""
        return self._generation(self._layout.number_of(iteration), iteration).thresholds

    def _generation(self, number: int, iteration: int) -> Generation:
        """The one that an iteration is in; until it is shown whole, where its session was extended."""
        if number not in self._kept or not _has(self._kept[number], iteration):
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = self._read_patiently(number, iteration)
        return self._kept[number]

    def _read_patiently(self, number: int, iteration: int) -> Generation:
        give_up = self._clock.monotonic_s() + READ_PATIENCE_S
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                found = read_generation(self._files, self._paths, number)
                if _has(found, iteration) or found.stop or self._clock.monotonic_s() > give_up:
                    return found
            except OSError:
                if self._clock.monotonic_s() > give_up:
                    raise
            self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _has(generation: Generation, iteration: int) -> bool:
    return iteration < generation.first + len(generation.rows)


@dataclass(frozen=True, slots=True)
class Suggested:
    """What came of an attempt to publish a generation.

    `busy`: another worker is at it. `missing`: iterations that are recorded, and whose rows cannot be read.
    `other_versions`: this host's libraries are not those that the session began with. `unable`: why this host cannot
    suggest at all: it does not have the session's method, or another version of the plug-in that it is.
    """

    number: int
    published: bool = False
    busy: bool = False
    missing: tuple[Span, ...] = ()
    other_versions: str = ""
    unable: str = ""
    damage: tuple[str, ...] = ()
