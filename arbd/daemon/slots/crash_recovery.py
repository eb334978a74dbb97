"""What a slot's death cost: from the segment and the progress page, who was recorded, who ran, who never began.

Keeps I1 for crashes: the iteration that was running is tried again while it has attempts left, else recorded
as crashed or timed out; the rest of the task goes on; nothing that is recorded is evaluated or counted again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from arbd.daemon.slots.pool import Autopsy, Limits
from arbd.daemon.slots.progress import EVALUATING, LOADING
from arbd.daemon.slots.protocol import ChunkTask, Piece, SlotSetup, Verdict
from arbd.results.segments import SegmentReader, segment_name
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import CRASHED, NO_COUNTS, TIMEOUT, Counts, Span, add_counts


@dataclass(frozen=True, slots=True)
class Salvage:
    """What is left of a task whose process died: rows that are recorded, and the task that does the rest.

    `left` goes back to the ledger for another worker to try, by claim id.
    """

    counts: dict[int, Counts]
    rest: ChunkTask | None
    left: Mapping[int, tuple[Span, ...]] = field(default_factory=dict)
    died_loading: bool = False


def salvage(
    files: Files, task: ChunkTask, autopsy: Autopsy, limits: Limits, number: int, elsewhere: str = ""
) -> Salvage:
    """Work out a dead slot's task. The rows it counts are durable on return.

    `elsewhere` is this worker's id when another worker could try the culprit, else ''.
    """
    recorded, counts = _recorded(files, task, autopsy.setup)
    look = autopsy.progress
    todo = [Piece(piece.claim, span) for piece in task.pieces for span in _without(piece.span, recorded)]
    # Verdicts that the dead process did not come to write are owed still.
    verdicts = tuple(v for v in task.verdicts if v[1].iteration not in recorded)
    running = look.task == task.number
    if autopsy.interrupted or not running or look.phase != EVALUATING or look.first in recorded:
        if not todo and not verdicts:
            return Salvage(counts, None)
        rest = replace(task, number=number, pieces=tuple(todo), verdicts=verdicts, deaths=task.deaths + 1)
        return Salvage(counts, rest, died_loading=running and look.phase == LOADING)
    if look.count > 1:
        # Somewhere in this batch; one by one tells where.
        return Salvage(counts, replace(task, number=number, pieces=tuple(todo), verdicts=verdicts, scalar=True))
    return _blame(task, autopsy, limits, number, elsewhere, counts, todo, verdicts)


def _blame(
    task: ChunkTask,
    autopsy: Autopsy,
    limits: Limits,
    number: int,
    elsewhere: str,
    counts: dict[int, Counts],
    todo: list[Piece],
    verdicts: tuple[tuple[int, Verdict], ...],
) -> Salvage:
    suspect = autopsy.progress.first
    culprit = next(piece for piece in todo if piece.span.first <= suspect < piece.span.first + piece.span.count)
    others = [Piece(piece.claim, span) for piece in todo for span in _without(piece.span, {suspect})]
    attempts = dict(task.attempts)
    attempt = attempts.get(suspect, 1)
    left: dict[int, tuple[Span, ...]] = {}
    if attempt <= limits.retries and elsewhere:
        again = Span(suspect, 1, culprit.span.epoch, attempt + 1, elsewhere)
        left[culprit.claim.claim_id] = (again,)
    elif attempt <= limits.retries:
        attempts[suspect] = attempt + 1
        # Last, so that whatever it does again happens after the innocent ones are done.
        others.append(Piece(culprit.claim, culprit.span.part(suspect, 1)))
    else:
        duration_s = (time.monotonic_ns() - autopsy.progress.started_ns) / 1e9
        status = TIMEOUT if autopsy.timed_out else CRASHED
        verdict = Verdict(suspect, culprit.span.epoch, status, attempt, duration_s, autopsy.error())
        verdicts = (*verdicts, (culprit.claim.claim_id, verdict))
    if not others and not verdicts:
        return Salvage(counts, None, left)
    rest = replace(task, number=number, pieces=tuple(others), attempts=attempts, verdicts=verdicts)
    return Salvage(counts, rest, left)


def _recorded(files: Files, task: ChunkTask, setup: SlotSetup) -> tuple[set[int], dict[int, Counts]]:
    """Iterations of the task that the dead process recorded, and their counts per claim."""
    paths = SessionPaths(task.session)
    prefix = segment_name(setup.worker_id, setup.incarnation, setup.label).removesuffix(".seg") + "."
    recorded: set[int] = set()
    counts: dict[int, Counts] = {}
    wanted = [(p.claim.claim_id, p.span) for p in task.pieces]
    wanted += [(claim_id, Span(v.iteration, 1, v.epoch)) for claim_id, v in task.verdicts]
    for name in files.names(paths.segments):
        if name.startswith(prefix):
            # The kernel holds what the dead process wrote; synced from here it is as durable as if it had lived (I2).
            files.sync_file(paths.segments / name)
    for batch in SegmentReader(files, paths, prefix=prefix).poll():
        rows = batch.rows
        for claim_id, span in wanted:
            mask = (rows.iteration >= span.first) & (rows.iteration < span.first + span.count)
            mask &= rows.epoch == span.epoch
            if mask.any():
                found = rows.select(np.flatnonzero(mask))
                recorded.update(found.iteration.tolist())
                counts[claim_id] = add_counts(counts.get(claim_id, NO_COUNTS), found.counts())
    return recorded, counts


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
