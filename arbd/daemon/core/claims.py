"""Claims of this worker: from the ledger to tasks on slots, and back to the ledger. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from arbd.daemon.slots.protocol import ChunkTask
from arbd.spool.spans import NO_COUNTS, Claim, Counts, Span
from arbd.values import dataclass


class ClaimStage(Enum):
    """How far this worker is with a claim of its own."""

    OUT = "out"
    """Tasks of it are on slots, or wait for one."""
    FINISHED = "finished"
    """Nothing of it is out any more; the ledger is yet to be told."""
    RECORDED = "recorded"
    """The ledger knows; it is forgotten."""


CLAIM_LEGAL: Mapping[ClaimStage, frozenset[ClaimStage]] = {
    ClaimStage.OUT: frozenset({ClaimStage.FINISHED}),
    ClaimStage.FINISHED: frozenset({ClaimStage.RECORDED}),
    ClaimStage.RECORDED: frozenset(),
}


@dataclass(slots=True)
class OpenClaim:
    """A claim of this worker until the ledger knows what became of it. `tasks` of it are out."""

    claim: Claim
    counts: Counts = NO_COUNTS
    left: tuple[Span, ...] = ()
    tasks: int = 0
    stage: ClaimStage = ClaimStage.OUT

    def move(self, stage: ClaimStage) -> None:
        """Go on to another stage."""
        assert stage in CLAIM_LEGAL[self.stage], f"a claim that was {self.stage.value} is {stage.value}"
        self.stage = stage


def claim_ids(task: ChunkTask) -> set[int]:
    """The claims that a task is of."""
    return {sub_span.claim.claim_id for sub_span in task.sub_spans} | {claim_id for claim_id, _ in task.failures}


def spans_by_claim(task: ChunkTask) -> dict[int, tuple[Span, ...]]:
    """All that a task was to evaluate or record, by claim."""
    spans: dict[int, tuple[Span, ...]] = {}
    for sub_span in task.sub_spans:
        spans[sub_span.claim.claim_id] = (*spans.get(sub_span.claim.claim_id, ()), sub_span.span)
    for claim_id, failure in task.failures:
        spans[claim_id] = (*spans.get(claim_id, ()), Span(failure.iteration, 1, failure.epoch))
    return spans


def grouped(claims: Iterable[Claim], size: int) -> Iterator[list[Claim]]:
    """Claims bundled so that each bundle is about one chunk: returned spans can be much smaller than that."""
    group: list[Claim] = []
    total = 0
    for claim in claims:
        if group and total + claim.span.count > size:
            yield group
            group, total = [], 0
        group.append(claim)
        total += claim.span.count
    if group:
        yield group
