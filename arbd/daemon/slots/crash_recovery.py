"""What a slot's death cost: from the segment and the progress page, who was recorded, who ran, who never began.

Keeps I1 for crashes: the iteration that was running is tried again while it has attempts left, else recorded
as crashed or timed out; the rest of the task goes on; nothing that is recorded is evaluated or counted again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from arbd.arrays import np
from arbd.daemon.slots.pool import ExitReport, Limits
from arbd.daemon.slots.protocol import ChunkTask, FailureRecord, SlotSetup, SubSpan
from arbd.results.segments import SegmentReader, segment_name
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import CRASHED, TIMEOUT
from arbd.spool.spans import NO_COUNTS, Counts, Span, add_counts
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is left of a task whose process died: rows that are recorded, and the task that does the rest.

    `left` goes back to the ledger for another worker to try, by claim id.
    """

    counts: dict[int, Counts]
    rest: ChunkTask | None
    left: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)
    exited_loading: bool = False


def recover(
    files: Files, task: ChunkTask, exit_report: ExitReport, limits: Limits, number: int, elsewhere: str = ""
) -> Recovery:
    """Work out a dead slot's task. The rows it counts are durable on return.

    `elsewhere` is this worker's id when another worker could try the culprit, else ''.
    """
    recorded, counts = _recorded(files, task, exit_report.setup)
    look = exit_report.progress
    todo = [SubSpan(sub_span.claim, span) for sub_span in task.sub_spans for span in _without(sub_span.span, recorded)]
    # Failure records that the dead process did not come to write are owed still.
    failures = tuple(v for v in task.failures if v[1].iteration not in recorded)
    running = look.task == task.number
    if exit_report.interrupted or not running or not look.of_iterations or look.first in recorded:
        if not todo and not failures:
            return Recovery(counts, None)
        rest = replace(task, number=number, sub_spans=tuple(todo), failures=failures, exits=task.exits + 1)
        return Recovery(counts, rest, exited_loading=running and look.of_loading)
    if look.count > 1:
        # Somewhere in this batch; one by one tells where.
        return Recovery(counts, replace(task, number=number, sub_spans=tuple(todo), failures=failures, scalar=True))
    rest = replace(task, number=number, sub_spans=tuple(todo), failures=failures, exits=task.exits + 1)
    if look.window != look.first and not exit_report.timed_out:
        # One of those that it was to be looked at with may be the cause; looked at one by one, each ends its own.
        return Recovery(counts, replace(rest, careful=_up_to(todo, look.first), exits=task.exits))
    if look.stained and not exit_report.timed_out:
        # An earlier one may be. In a process of its own, it ends by its own fault.
        return Recovery(counts, replace(rest, sub_spans=tuple(_from(todo, look.first)), fresh=True))
    return _attribute(task, exit_report, limits, number, elsewhere, counts, todo, failures)


def _attribute(
    task: ChunkTask,
    exit_report: ExitReport,
    limits: Limits,
    number: int,
    elsewhere: str,
    counts: dict[int, Counts],
    todo: list[SubSpan],
    failures: tuple[tuple[int, FailureRecord], ...],
) -> Recovery:
    suspect = exit_report.progress.first
    culprit = next(
        sub_span for sub_span in todo if sub_span.span.first <= suspect < sub_span.span.first + sub_span.span.count
    )
    others = [SubSpan(sub_span.claim, span) for sub_span in todo for span in _without(sub_span.span, {suspect})]
    attempts = dict(task.attempts)
    attempt = attempts.get(suspect, 1)
    left: dict[int, tuple[Span, ...]] = {}
    if attempt <= limits.retries and elsewhere:
        again = Span(suspect, 1, culprit.span.epoch, attempt + 1, elsewhere)
        left[culprit.claim.claim_id] = (again,)
    elif attempt <= limits.retries:
        attempts[suspect] = attempt + 1
        # Last, so that whatever it does again happens after the innocent ones are done.
        others.append(SubSpan(culprit.claim, culprit.span.part(suspect, 1)))
    else:
        duration_s = (time.monotonic_ns() - exit_report.progress.started_ns) / 1e9
        status = TIMEOUT if exit_report.timed_out else CRASHED
        failure = FailureRecord(suspect, culprit.span.epoch, status, attempt, duration_s, exit_report.error())
        failures = (*failures, (culprit.claim.claim_id, failure))
    if not others and not failures:
        return Recovery(counts, None, left)
    rest = replace(task, number=number, sub_spans=tuple(others), attempts=attempts, failures=failures)
    return Recovery(counts, rest, left)


def _recorded(files: Files, task: ChunkTask, setup: SlotSetup) -> tuple[set[int], dict[int, Counts]]:
    """Iterations of the task that the dead process recorded, and their counts per claim."""
    paths = SessionPaths(task.session)
    prefix = segment_name(setup.worker_id, setup.incarnation, setup.label).removesuffix(".seg") + "."
    recorded: set[int] = set()
    counts: dict[int, Counts] = {}
    wanted = [(p.claim.claim_id, p.span) for p in task.sub_spans]
    wanted += [(claim_id, Span(v.iteration, 1, v.epoch)) for claim_id, v in task.failures]
    for name in files.names(paths.segments):
        if name.startswith(prefix):
            # The kernel holds what the dead process wrote; synced from here it is as durable as if it had lived (I2).
            files.sync_file(paths.segments / name)
    for batch in SegmentReader(files, paths, prefix=prefix).poll():
        # A batch whose writing raised although it reached the disk was written again: each iteration counts once.
        rows = batch.rows.select(np.flatnonzero(~np.isin(batch.rows.iteration, list(recorded))))
        for claim_id, span in wanted:
            mask = (rows.iteration >= span.first) & (rows.iteration < span.first + span.count)
            mask &= rows.epoch == span.epoch
            if mask.any():
                found = rows.select(np.flatnonzero(mask))
                recorded.update(found.iteration.tolist())
                counts[claim_id] = add_counts(counts.get(claim_id, NO_COUNTS), found.counts())
    return recorded, counts


def _up_to(todo: Sequence[SubSpan], suspect: int) -> int:
    """How many iterations there are up to the suspect, in the order in which they are evaluated."""
    count = 0
    for sub_span in todo:
        span = sub_span.span
        if span.first <= suspect < span.first + span.count:
            return count + suspect - span.first + 1
        count += span.count
    raise AssertionError(f"iteration {suspect} is not to be done")


def _from(todo: Sequence[SubSpan], suspect: int) -> Iterator[SubSpan]:
    """What is to be done, the suspect first."""
    others: list[SubSpan] = []
    for sub_span in todo:
        span = sub_span.span
        if span.first <= suspect < span.first + span.count:
            yield SubSpan(sub_span.claim, span.part(suspect, 1))
            others += [SubSpan(sub_span.claim, part) for part in _without(span, {suspect})]
        else:
            others.append(sub_span)
    yield from others


def _without(span: Span, done: set[int]) -> Iterator[Span]:
    """The stretches of `span` whose iterations are not in `done`."""
    start: int | None = None
    for iteration in range(span.first, span.first + span.count + 1):
        missing = iteration < span.first + span.count and iteration not in done
        if missing and start is None:
            start = iteration
        elif not missing and start is not None:
            yield span.part(start, iteration - start)
            start = None
