"""What a daemon and a slot tell each other: set-up, tasks, reports. Values alone, which cross between processes."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from arbd.spool.spans import Claim, Counts, Span
from arbd.values import dataclass


def may_run_engine(allow: tuple[str, ...]) -> bool:
    """True when a host that allows this may be asked for the paper engine."""
    return any(fnmatch.fnmatchcase("paper", pattern) for pattern in allow)


@dataclass(frozen=True, slots=True)
class SlotSetup:
    """What a slot's process must know at its start; `label` is unique within the incarnation.

    `takes_jobs_up`: its daemon does, by a process that is a copy of the same server.
    """

    label: str
    worker_id: str
    incarnation: int
    parent_pid: int
    progress: Path
    output: Path
    cache_dir: Path
    search_paths: tuple[Path, ...]
    allow: tuple[str, ...]
    data_dirs: tuple[Path, ...] | None = None
    takes_jobs_up: bool = False

    @property
    def may_run_engine(self) -> bool:
        """True when the paper engine may be asked for here."""
        return may_run_engine(self.allow)


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """The row of an iteration whose process did not live to write it."""

    iteration: int
    epoch: int
    status: int
    attempt: int
    duration_s: float
    error: str


@dataclass(frozen=True, slots=True)
class SubSpan:
    """A part of a claim that is to be evaluated."""

    claim: Claim
    span: Span


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """Work for one slot.

    `attempts` is by iteration, 1 where absent. `scalar` forbids evaluating in batches; the first `careful` iterations
    are looked at one by one. `fresh` asks for a process that evaluated nothing before. `exits` counts the processes
    that ended on this task without an iteration to attribute it to. `planned` is a `ShippedPlan` of its iterations, of a
    session that is not on this host: then its rows go to a segment of its own, which is no session's.
    """

    number: int
    session: Path
    sub_spans: tuple[SubSpan, ...]
    attempts: Mapping[int, int] = field(default_factory=dict)
    failures: tuple[tuple[int, FailureRecord], ...] = ()
    scalar: bool = False
    careful: int = 0
    fresh: bool = False
    exits: int = 0
    planned: bytes = b""

    @property
    def size(self) -> int:
        """Iterations to evaluate."""
        return sum(sub_span.span.count for sub_span in self.sub_spans)

    @property
    def last(self) -> int:
        """The last iteration that it is about."""
        ends = [sub_span.span.first + sub_span.span.count - 1 for sub_span in self.sub_spans]
        return max((*ends, *(failure.iteration for _, failure in self.failures)), default=0)

    def without(self, rest: ChunkTask) -> ChunkTask:
        """What of it was evaluated when `rest` was not: of each sub-span the first part, all or nothing.

        The sub-spans of a claim may stand in any order: what is tried again comes last.
        """
        done: list[SubSpan] = []
        for sub_span in self.sub_spans:
            span = sub_span.span
            end = span.first + span.count
            left = [part.span.first for part in rest.sub_spans if part.claim.claim_id == sub_span.claim.claim_id]
            first_left = min((first for first in left if span.first <= first < end), default=end)
            if first_left > span.first:
                done.append(SubSpan(sub_span.claim, span.part(span.first, first_left - span.first)))
        return replace(self, sub_spans=tuple(done))


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What became of a task: per claim id the rows written by status, and the spans that were not evaluated.

    With `retire`, why its process has to be replaced, `rest` is what a fresh one is to go on with. `notes` are about
    the objective, for people. `missing` are metrics to optimise that no completed iteration returned; some of those
    that they did return are in `metrics`. `code_changed` says why it ended early, where this host has other code than
    the session.
    """

    counts: Mapping[int, Counts]
    left: Mapping[int, tuple[Span, ...]]
    busy_s: float
    first_error: str = ""
    code_changed: str = ""
    retire: str = ""
    rest: ChunkTask | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """This host cannot evaluate the session at all; nothing was recorded."""

    reason: str


@dataclass(frozen=True, slots=True)
class StaleProcess:
    """This process has loaded other code than the task needs; nothing was recorded, and a fresh one is to try.

    With `engine`, one that begins from the disk, because arbd's own code was changed there.
    """

    reason: str
    engine: bool = False


@dataclass(frozen=True, slots=True)
class TaskReturned:
    """A task that nobody evaluates any more; nothing was recorded. `reason` is '' where it was asked for."""

    reason: str
