"""What a worker knows of an adaptive session's generations: which are published, and when it should compute one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from arbd.job.spec import JobSpec
from arbd.results.generations import Suggested, published_up_to, read_generation
from arbd.search.phases import Layout
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.spans import Span
from arbd.values import dataclass

# How long another worker may be at a generation before this one computes it too. First writer wins.
BUSY_PATIENCE_S = 5.0
# A host whose libraries differ from those that the session began with leaves others this long to be first.
VERSIONS_PATIENCE_S = 30.0
# A row that is recorded and yet not readable may be a cache's delay.
MISSING_PATIENCE_S = 5.0
POLL_S = 0.05
# A host that cannot suggest, for want of a plug-in, looks again so often whether it can.
UNABLE_PAUSE_S = 10.0


class Stage(Enum):
    """What this worker does about the next generation of a search."""

    WAITING = "waiting"
    """For results, for another worker that computes it, or for a pause to end."""
    COMPUTING = "computing"
    ENDED = "ended"
    """There is none: all are published, or one said that the search ends."""


LEGAL: Mapping[Stage, frozenset[Stage]] = {
    Stage.WAITING: frozenset({Stage.COMPUTING, Stage.ENDED}),
    Stage.COMPUTING: frozenset({Stage.WAITING, Stage.ENDED}),
    Stage.ENDED: frozenset({Stage.ENDED}),
}


@dataclass(slots=True)
class GenerationScheduler:
    """Not thread-safe: the coordinator owns it."""

    files: Files
    paths: SessionPaths
    spec: JobSpec
    published: int = 0
    ends_before: int = 0
    stop: str = ""
    stage: Stage = Stage.WAITING
    other_versions: str = ""
    unable: str = ""
    damage: tuple[str, ...] = ()
    layout: Layout = field(init=False)
    _again_at_s: float = 0.0
    _busy_since_s: float | None = None
    _other_since_s: float | None = None
    _missing_since_s: float | None = None

    def __post_init__(self) -> None:
        self.layout = self.spec.layout

    @property
    def limit(self) -> int:
        """The last iteration that may be claimed."""
        return self.layout.last_of(self.ends_before - 1 if self.ends_before else self.published)

    def look(self) -> None:
        """Learn what others published."""
        if self.stage is Stage.ENDED:
            return
        published = published_up_to(self.files, self.paths)
        while self.published < published:
            # A file that is damaged is told when it is needed for its parameters; here it only matters if it ends all.
            if self.spec.stop.needs_results and self.spec.validation is None:
                generation = read_generation(self.files, self.paths, self.published + 1)
                if generation.stop:
                    self.ends_before, self.stop = generation.number, generation.stop
                    self._move(Stage.ENDED)
                    return
            self.published += 1
        if self.published >= self.layout.generations:
            self._move(Stage.ENDED)

    def wanted(self, state: LedgerState, now_s: float) -> int | None:
        """The generation that could be computed now, if this worker should do so."""
        number = self.published + 1
        if self.stage is not Stage.WAITING or now_s < self._again_at_s:
            return None
        return number if state.settled >= self.layout.known_before(number) else None

    def begin(self) -> None:
        """It is being computed."""
        self._move(Stage.COMPUTING)

    def _came_to_an_end(self) -> None:
        if self.stage is Stage.COMPUTING:
            self._move(Stage.WAITING)

    def _move(self, stage: Stage) -> None:
        assert stage in LEGAL[self.stage], f"a generation that was {self.stage.value} is {stage.value}"
        self.stage = stage

    def urgent(self, now_s: float) -> bool:
        """True when it has been waited for long enough for others."""
        busy = self._busy_since_s is not None and now_s - self._busy_since_s >= BUSY_PATIENCE_S
        other = self._other_since_s is not None and now_s - self._other_since_s >= VERSIONS_PATIENCE_S
        return busy or other

    def came_back(self, outcome: Suggested, now_s: float) -> tuple[Span, ...]:
        """An attempt ended; iterations that have to run again, because nobody can read their rows."""
        self._came_to_an_end()
        pause_s = UNABLE_PAUSE_S if outcome.unable else POLL_S
        self._again_at_s = 0.0 if outcome.published else now_s + pause_s
        self.unable = outcome.unable
        self._busy_since_s = _since(self._busy_since_s, now_s) if outcome.busy else None
        self._missing_since_s = _since(self._missing_since_s, now_s) if outcome.missing else None
        if outcome.other_versions and not outcome.published:
            self._other_since_s = _since(self._other_since_s, now_s)
        elif not outcome.busy:
            self._other_since_s = None
        self.other_versions = outcome.other_versions
        self.damage = outcome.damage
        if self._missing_since_s is not None and now_s - self._missing_since_s >= MISSING_PATIENCE_S:
            self._missing_since_s = None
            return outcome.missing
        return ()

    def failed(self, now_s: float) -> None:
        """The process that computes broke, or the spool did: try again in a while."""
        self._came_to_an_end()
        self._again_at_s = now_s + 1.0


def _since(before: float | None, now_s: float) -> float:
    return now_s if before is None else before
