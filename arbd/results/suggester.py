"""Computes the generations of a session and publishes them: samplers and all results, in a process of its own."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field

import numpy as np

from arbd.errors import UsageError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.generations import Suggested, generation_name, published_up_to, read_generation
from arbd.results.precedence import Winners
from arbd.results.segments import SegmentReader
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner
from arbd.search.phase_planner import PhasePlanner
from arbd.search.trial_history import TrialResults
from arbd.search.versions import differing, of_plugins, sampler_versions
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import COMPLETED
from arbd.spool.spans import spans_of


@dataclass(slots=True)
class Suggester:
    """Computes and publishes the generations of one session. Reads results as they come; keeps those it needs."""

    files: Files
    paths: SessionPaths
    of: InitVar[JobSpec | None] = None
    spec: JobSpec = field(init=False)
    _planner: GenerationPlanner | PhasePlanner | None = None
    _reader: SegmentReader = field(init=False)
    _winners: Winners = field(init=False)
    _versions: Mapping[str, str] = field(default_factory=dict)
    _unable: str = ""
    _pending: dict[int, Generation] = field(default_factory=dict)

    def __post_init__(self, of: JobSpec | None) -> None:
        self.spec = of or read_spec(self.files, self.paths)
        self._begin()
        self._winners = Winners(self.spec.n)
        self._reader = SegmentReader(self.files, self.paths, rules=RowRules.of(self.spec))

    def suggest(self, number: int, *, urgent: bool = False) -> Suggested:
        """Publish generation `number`; the results that it depends on are recorded in the ledger.

        OSError also where the job that was read is shorter than that: an old copy, from before the session was extended.
        With `urgent`, neither another worker that is at it nor other versions of libraries are a reason to wait.
        """
        if self._unable:
            return Suggested(number, unable=self._unable)
        other = differing(self.spec.sampler_versions, self._versions)
        if other and not urgent:
            return Suggested(number, other_versions=other)
        held = self.files.try_lock(self.paths.generations_lock)
        if held is None and not urgent:
            return Suggested(number, busy=True)
        try:
            return self._suggest(number, other)
        finally:
            if held is not None:
                held.release()

    def compute(self, number: int) -> tuple[Generation, Sequence[Generation], GenerationPlanner]:
        """A generation of a search without phases, those that it does not know the results of, and who computed it.

        UsageError where this host computes another than those that the session began with, or rows cannot be read.
        """
        other = self._unable or differing(self.spec.sampler_versions, self._versions)
        if other:
            raise UsageError(f"the session's search cannot go on from here: {other}")
        assert isinstance(self._planner, GenerationPlanner)
        self._learn(self._planner)
        if missing := self._planner.missing(number):
            raise UsageError(
                f"the results of {len(missing):,} iterations, from which its search goes on, cannot be read"
            )
        pending = [self._published(at) for at in self._planner.pending(number)]
        return self._planner.generation(number, pending), pending, self._planner

    def warm_up(self) -> None:
        """Import what later generations need."""
        if self._planner is not None:
            self._planner.warm_up()

    def _begin(self) -> None:
        spec = self.spec
        try:
            self._versions = sampler_versions(spec.method)
            other = differing(of_plugins(spec.sampler_versions), self._versions)
            if other:
                self._unable = f"{other}: install the version that the session began with, or leave it to other hosts"
            else:
                planner = GenerationPlanner if spec.validation is None else PhasePlanner
                self._planner = planner(spec, self._versions)
        except UsageError as error:
            began_with = ", ".join(f"{name} {version}" for name, version in of_plugins(spec.sampler_versions).items())
            self._unable = str(error) + (f" (the session began with {began_with})" if began_with else "")

    def _suggest(self, number: int, other: str) -> Suggested:
        assert self._planner is not None
        if published_up_to(self.files, self.paths) >= number:
            return Suggested(number, published=True, other_versions=other)
        if isinstance(self._planner, GenerationPlanner) and (number - 1) * self.spec.generation_size >= self.spec.n:
            raise OSError(errno.ESTALE, f"{self.paths.spec} is not shown as it was extended")
        self._learn(self._planner)
        missing = self._planner.missing(number)
        damage = tuple(f"{d.path}, bytes {d.damage.offset} to {d.damage.end}" for d in self._reader.damage)
        if missing:
            return Suggested(number, missing=tuple(spans_of(missing, 0)), damage=damage)
        self._pending = {at: self._published(at) for at in self._planner.pending(number)}
        generation = self._planner.generation(number, list(self._pending.values()))
        path = self.paths.generations / generation_name(number)
        self.files.publish_once(path, encode_frame(generation.encode()))
        return Suggested(number, published=True, other_versions=other, damage=damage)

    def _published(self, number: int) -> Generation:
        """Read once: what is published is never replaced."""
        return self._pending.get(number) or read_generation(self.files, self.paths, number)

    def _learn(self, planner: GenerationPlanner | PhasePlanner) -> None:
        """Read what is new in the segments. Of several rows of an iteration the winning one counts."""
        for found in self._reader.poll():
            judged = self._winners.add(found)
            if judged.won.any():
                chosen = found.rows.select(np.flatnonzero(judged.won))
                planner.learn(
                    TrialResults(
                        chosen.iteration,
                        chosen.status == COMPLETED,
                        chosen.origins,
                        chosen.params,
                        chosen.metrics,
                        chosen.reports,
                    )
                )
