"""The circuit breaker: is it the iterations that fail, or this host?

Iterations that all fail here are withheld from the ledger for a while. When other workers complete iterations of
the session meanwhile, this host is the suspect: what it withheld goes to the others, and it pauses. When nobody
completes anything, or something completes here again, they failed on their own account and are recorded so.
Keeps I5: a host with a broken driver or a missing library does not turn good parameters into failures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import NamedTuple

from arbd.daemon.slots.protocol import ChunkReport, ChunkTask
from arbd.spool.spans import NO_COUNTS, Counts, Span
from arbd.values import dataclass

# So many in a row are no accident, and cost little when they are run again elsewhere.
SUSPICIOUS_FAILURES = 20


class Ruling(NamedTuple):
    """What to tell the ledger of a task: results by status and spans to give back, by claim id."""

    task: ChunkTask
    counts: Mapping[int, Counts]
    left: Mapping[int, tuple[Span, ...]]


@dataclass(slots=True)
class Breaker:
    """For one session on one worker. `tripped` says why this host should pause, or is ''."""

    worker_id: str
    tripped: str = ""
    _held: list[tuple[ChunkTask, ChunkReport]] = field(default_factory=list)
    _streak: int = 0
    _completed_elsewhere: int = 0
    _error: str = ""

    @property
    def holds(self) -> bool:
        """True while reports are withheld."""
        return bool(self._held)

    @property
    def withheld(self) -> list[ChunkTask]:
        """The tasks of the reports that are withheld."""
        return [task for task, _ in self._held]

    def reported(
        self, task: ChunkTask, report: ChunkReport, completed_elsewhere: int, *, others_can: bool
    ) -> list[Ruling]:
        """A slot's report: what of it, and of those before it, may be told to the ledger now."""
        completed = sum(counts[0] for counts in report.counts.values())
        failed = sum(sum(counts[1:]) for counts in report.counts.values())
        self._held.append((task, report))
        self._streak = 0 if completed else self._streak + failed
        if completed:
            self.tripped = ""
            self._completed_elsewhere = completed_elsewhere
        self._error = report.first_error or self._error
        if not completed and failed and others_can and self._streak < SUSPICIOUS_FAILURES:
            return []
        return self.settle(completed_elsewhere, others_can=others_can)

    def settle(self, completed_elsewhere: int, *, others_can: bool) -> list[Ruling]:
        """Decide now about everything that is withheld."""
        held, self._held = self._held, []
        if self._streak and others_can and completed_elsewhere > self._completed_elsewhere:
            self.tripped = (
                f"{self._streak} iterations in a row failed here while others completed theirs; the last: {self._error}"
            )
            return [_second_opinion(task, report, self.worker_id) for task, report in held]
        return [Ruling(task, report.counts, report.left) for task, report in held]


def _second_opinion(task: ChunkTask, report: ChunkReport, worker_id: str) -> Ruling:
    """Give back what failed, for others to try; what was a second try already stays as it is."""
    counts: dict[int, Counts] = {}
    left = dict(report.left)
    for sub_span in task.sub_spans:
        claim_id, tried = sub_span.claim.claim_id, sub_span.claim.span.attempt > 1
        counts[claim_id] = report.counts.get(claim_id, NO_COUNTS) if tried else NO_COUNTS
        if not tried:
            evaluated = _without(sub_span.span, report.left.get(claim_id, ()))
            marked = tuple(Span(s.first, s.count, s.epoch, 2, worker_id) for s in evaluated)
            left[claim_id] = (*left.get(claim_id, ()), *marked)
    for claim_id, failure in task.failures:
        if not any(sub_span.claim.claim_id == claim_id for sub_span in task.sub_spans):
            counts[claim_id] = report.counts.get(claim_id, NO_COUNTS)
        elif counts[claim_id] == NO_COUNTS:
            left[claim_id] = (*left[claim_id], Span(failure.iteration, 1, failure.epoch, 2, worker_id))
    return Ruling(task, counts, left)


def _without(span: Span, left: tuple[Span, ...]) -> Iterator[Span]:
    """The stretches of `span` that are in none of `left`."""
    first = span.first
    for gap in sorted(left, key=lambda s: s.first):
        if span.first <= gap.first < span.first + span.count:
            if gap.first > first:
                yield span.part(first, gap.first - first)
            first = gap.first + gap.count
    if first < span.first + span.count:
        yield span.part(first, span.first + span.count - first)
