"""One chunk on its way through a slot of an agent: what a daemon does with its own slots, with a folder for a spool.

Timeouts, crashes and retries are what they are to local slots, because the same code makes them: the process is
watched by its progress page, and after its death its segment says what it recorded (`crash_recovery`).
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np

from arbd.daemon.remote.wire import Answer, Chunk, Job, Outcome
from arbd.daemon.slots.crash_recovery import recover
from arbd.daemon.slots.pool import Slot, SlotEvent
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, LoadFailure, StaleProcess
from arbd.job.code import expected_parts
from arbd.job.spec import JobSpec
from arbd.results.columns import RowBatch
from arbd.results.segments import SegmentReader
from arbd.results.session_code import CodeRecord, SessionCode
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SpoolLayout
from arbd.spool.spans import Span

# Deaths of the process on one chunk that no iteration is to blame for.
MAX_EXITS = 5
HOST = platform.node()


class Scratch:
    """A session's folder on this host that one slot alone writes to, for as long as the agent lives."""

    def __init__(self, root: Path, job: Job, spec: JobSpec) -> None:
        self._layout = SpoolLayout(root)
        self.paths = self._layout.session(job.session_id)
        self.files = Files()
        self._accepted = {**job.base, **expected_parts(spec)}
        for folder in (self.paths.segments, self.paths.code, self._layout.workers):
            folder.mkdir(parents=True, exist_ok=True)
        spec = replace(spec, code={**job.base, **spec.code})
        self.paths.spec.write_bytes(encode_frame(bytes(msgpack.packb(spec.to_plain()))))
        record = CodeRecord(job.era, job.parts, job.given_up)
        self.files.publish_once(self.paths.code / "000001.code", record.encode())

    def parts(self) -> dict[str, str]:
        """The code that rows were made with."""
        return dict(SessionCode(self.files, self.paths, self._accepted).current.parts)

    def take_rows(self) -> list[RowBatch]:
        """All that was recorded, each iteration once; nothing of it is left."""
        seen: set[int] = set()
        batches: list[RowBatch] = []
        for found in SegmentReader(self.files, self.paths, blocks=True).poll():
            # A batch whose writing raised although it reached the disk was written again.
            rows = found.rows.select(np.flatnonzero(~np.isin(found.rows.iteration, list(seen))))
            seen.update(rows.iteration.tolist())
            batches += [rows] if len(rows) else []
        self.clear()
        return batches

    def clear(self) -> None:
        """Forget what was recorded, as by a chunk before."""
        for path in self.paths.segments.iterdir():
            path.unlink()


class Call:
    """One chunk in one slot. `step` is told what the slot came back with, until there is an answer."""

    def __init__(self, slot: Slot, scratch: Scratch, chunk: Chunk, numbers: itertools.count[int]) -> None:
        self.slot = slot
        self.answer: Answer | None = None
        self._scratch = scratch
        self._limits = chunk.limits
        self._numbers = numbers
        self._reports: list[ChunkReport] = []
        scratch.clear()
        task = ChunkTask(
            next(numbers),
            scratch.paths.folder,
            chunk.sub_spans,
            chunk.attempts,
            chunk.failures,
            chunk.scalar,
            chunk.careful,
            chunk.fresh,
            planned=chunk.planned,
        )
        slot.submit(task)

    def enforce(self, now_ns: int) -> None:
        """Kill the process when its iteration takes too long."""
        reason = self.slot.overdue(self._limits.timeout_s, now_ns)
        if reason:
            self.slot.kill(reason)

    def step(self, event: SlotEvent) -> None:
        """The slot's task ended, or its process did."""
        slot, task, error = event.slot, event.task, event.future.exception()
        if isinstance(error, BrokenProcessPool):
            exit_report = slot.exit_report()
            slot.restart()
            saved = recover(self._scratch.files, task, exit_report, self._limits, next(self._numbers))
            if saved.rest is None:
                self._evaluated()
            elif saved.exited_loading or saved.rest.exits > MAX_EXITS:
                what = "while loading the objective" if saved.exited_loading else "between iterations, several times"
                self._unloadable(f"the slot {exit_report.error()} ({what})")
            else:
                slot.submit(saved.rest)
            return
        slot.finished()
        if error is not None:
            self._unloadable(f"{type(error).__name__}: {error}")
            return
        result = event.future.result()
        if isinstance(result, StaleProcess):
            slot.restart(from_disk=result.engine)
            slot.submit(replace(task, fresh=True))
        elif isinstance(result, LoadFailure):
            self._unloadable(result.reason)
        else:
            self._reported(result)

    def _reported(self, report: ChunkReport) -> None:
        self._reports.append(report)
        if report.retire:
            self.slot.restart()
        if report.rest is not None:
            self.slot.submit(replace(report.rest, number=next(self._numbers)))
        else:
            self._evaluated()

    def _unloadable(self, reason: str) -> None:
        self.answer = Answer(Outcome.UNLOADABLE, HOST, reason)

    def _evaluated(self) -> None:
        reports = self._reports
        left: dict[int, tuple[Span, ...]] = {}
        for report in reports:
            for claim_id, spans in report.left.items():
                left[claim_id] = (*left.get(claim_id, ()), *spans)
        self.answer = Answer(
            Outcome.EVALUATED,
            HOST,
            rows=tuple(rows.encode() for rows in self._scratch.take_rows()),
            parts=self._scratch.parts(),
            left=left,
            busy_s=sum(report.busy_s for report in reports),
            first_error=_first(report.first_error for report in reports),
            code_changed=_first(report.code_changed for report in reports),
            notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
            missing=_missing(reports),
            metrics=next((report.metrics for report in reports if report.metrics), ()),
        )


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")


def _missing(reports: Sequence[ChunkReport]) -> tuple[str, ...]:
    """Metrics that no part of the chunk returned."""
    completed = [set(report.missing) for report in reports if any(counts[0] for counts in report.counts.values())]
    return tuple(sorted(set.intersection(*completed))) if completed else ()
