"""What a daemon and a slot tell each other: set-up, tasks, reports. Values alone, which cross between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arbd.spool.ledger import Claim, Counts, Span


@dataclass(frozen=True, slots=True)
class SlotSetup:
    """What a slot's process must know at its start; `label` is unique within the incarnation."""

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

    `attempts` is by iteration, 1 where absent. `scalar` forbids evaluating in batches. `exits` counts the
    processes that died on this task without an iteration to blame. `fresh`: the process has just begun, for this task.
    """

    number: int
    session: Path
    sub_spans: tuple[SubSpan, ...]
    attempts: Mapping[int, int] = field(default_factory=dict)
    failures: tuple[tuple[int, FailureRecord], ...] = ()
    scalar: bool = False
    exits: int = 0
    fresh: bool = False

    @property
    def size(self) -> int:
        """Iterations to evaluate."""
        return sum(sub_span.span.count for sub_span in self.sub_spans)


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What became of a task: per claim id the rows written by status, and the spans that were not evaluated.

    `code_changed` says why it ended early, where this host has other code than the session.
    """

    counts: Mapping[int, Counts]
    left: Mapping[int, tuple[Span, ...]]
    busy_s: float
    first_error: str = ""
    code_changed: str = ""


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """This host cannot evaluate the session at all; nothing was recorded."""

    reason: str


@dataclass(frozen=True, slots=True)
class StaleProcess:
    """This process has loaded other code than the task needs; nothing was recorded, and a fresh one is to try."""

    reason: str
