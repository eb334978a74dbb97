"""Stretches of iterations, and what a worker says of them: claimed, finished, given back. Values alone."""

from __future__ import annotations

from collections.abc import Sequence

from arbd.values import dataclass

# Iterations by status: completed, failed, timeout, crashed.
Counts = tuple[int, int, int, int]


NO_COUNTS: Counts = (0, 0, 0, 0)


def add_counts(a: Counts, b: Counts) -> Counts:
    """Sum by status."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


@dataclass(frozen=True, slots=True)
class Span:
    """Iterations `first` to `first + count - 1`; `epoch` grows each time they are ordered to run again.

    `attempt` is more than 1 where they failed or killed their process, and worker `avoid` should not be the one
    to try again. `lost` marks what a dead worker had. Both describe iterations that nobody holds.
    """

    first: int
    count: int
    epoch: int = 0
    attempt: int = 1
    avoid: str = ""
    lost: bool = False

    def split(self, size: int) -> tuple[Span, Span | None]:
        """The first `size` iterations, and the rest if there is one."""
        if size >= self.count:
            return self, None
        return self.part(self.first, size), self.part(self.first + size, self.count - size)

    def part(self, first: int, count: int) -> Span:
        """Some of its iterations."""
        return Span(first, count, self.epoch, self.attempt, self.avoid, self.lost)


def spans_of(iterations: Sequence[int], epoch: int) -> list[Span]:
    """The runs of consecutive numbers in a sorted list."""
    spans: list[Span] = []
    for iteration in iterations:
        if spans and spans[-1].first + spans[-1].count == iteration:
            spans[-1] = Span(spans[-1].first, spans[-1].count + 1, epoch)
        else:
            spans.append(Span(iteration, 1, epoch))
    return spans


@dataclass(frozen=True, slots=True)
class Claim:
    """A span that one incarnation of a worker evaluates; `claim_id` is unique within the incarnation."""

    claim_id: int
    span: Span
    worker_id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Finish:
    """What became of a claim: results by status, and the spans it gives back."""

    claim_id: int
    counts: Counts
    returned: tuple[Span, ...] = ()
