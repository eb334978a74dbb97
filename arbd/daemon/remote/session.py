"""A session as a daemon has it evaluated elsewhere: what is sent of it, and its rows, which are written here alone.

Keeps I2: what `take` wrote is durable, and may be told to the ledger, once `sync` returned. Keeps I5: rows are taken
only from code that the session's record has, or that is recorded with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arbd.daemon.core.claims import spans_by_claim
from arbd.daemon.remote.objective_code import ObjectiveCode, read_code
from arbd.daemon.remote.wire import CODE, Answer, Chunk, Files, Job, encode
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask
from arbd.daemon.slots.shipped_plan import ShippedPlan, spans_of_task
from arbd.errors import CodeChangedError, DataError, ObjectiveError
from arbd.job.code import MODULE, base_parts, expected_parts
from arbd.job.policy import ObjectivePolicy
from arbd.job.stored import read_spec
from arbd.named_file import MAX_DATA_BYTES, ReadRule, open_named
from arbd.paper.market.days import DayFiles
from arbd.results.columns import RowBatch, RowRules, decode_rows
from arbd.results.generations import PublishedPlan
from arbd.results.segments import SegmentWriter
from arbd.results.session_code import SessionCode
from arbd.search.plan import NonAdaptivePlan, Plan
from arbd.spool.files import Files as SpoolFiles
from arbd.spool.frames import payloads
from arbd.spool.layout import SessionPaths
from arbd.spool.queue import Worker
from arbd.spool.spans import NO_COUNTS, Counts, add_counts
from arbd.spool.system import Clock
from arbd.values import dataclass

# A larger file would have to be held in memory several times on its way.
MAX_SENT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class HostRules:
    """What this host's settings say of jobs."""

    allow: tuple[str, ...]
    data_dirs: tuple[Path, ...] | None
    search_paths: tuple[Path, ...]


class ShippedSession:
    """See the module. Opening raises ArbdError when this host may not have it evaluated."""

    def __init__(
        self, files: SpoolFiles, clock: Clock, folder: Path, label: str, worker: Worker, rules: HostRules
    ) -> None:
        self.paths = SessionPaths(folder)
        self.spec = read_spec(files, self.paths)
        refusal = ObjectivePolicy(rules.allow, rules.data_dirs).check_job(self.spec)
        if refusal is not None:
            raise ObjectiveError(refusal)
        self._host = rules
        self._raw = next(iter(payloads(files.read(self.paths.spec))))
        self._plan: Plan = (
            PublishedPlan(files, clock, self.paths, self.spec.layout)
            if self.spec.generation_size
            else NonAdaptivePlan(self.spec)
        )
        self._record = SessionCode(files, self.paths, expected_parts(self.spec))
        self._rules = RowRules.of(self.spec)
        self._writer = SegmentWriter(files, self.paths, worker.worker_id, worker.incarnation, label)
        self._code = self._read_code()
        self._job: tuple[int, Job] | None = None

    def _read_code(self) -> ObjectiveCode:
        if self.spec.objective.kind != "python":
            return ObjectiveCode({})
        module = self.spec.objective.target[0].partition(":")[0]
        known = [part.removeprefix(MODULE) for part in self._record.current.parts if part.startswith(MODULE)]
        return read_code(module, known, self._host.search_paths)

    def job(self) -> bytes:
        """What every chunk of it needs, with the code as far as it is known now."""
        self._record.look()
        number = len(self._record.records)
        if self._job is None or self._job[0] != number:
            current = self._record.current
            if self._job is not None:
                self._code = self._read_code()
            job = Job(
                self.paths.session_id,
                bytes(self._raw),
                dict(base_parts()),
                current.era,
                dict(current.parts),
                tuple(dict(parts) for parts in current.given_up),
                self._code.digest,
                self._host.allow,
            )
            self._job = (number, job)
        return self._job[1].encoded

    def chunk(self, task: ChunkTask) -> bytes:
        """A task with what its iterations are to run."""
        planned = ShippedPlan.of(self._plan, spans_of_task(task), prunes=self.spec.prune is not None).encode()
        execution = self.spec.execution
        chunk = Chunk(
            task.sub_spans,
            planned,
            execution.timeout_s,
            execution.retries,
            dict(task.attempts),
            task.failures,
            task.scalar,
            task.careful,
            task.fresh,
        )
        return encode(chunk)

    def files_of(self, name: str) -> bytes:
        """The files that a host wants; ObjectiveError or DataError when it may not have them."""
        if name.startswith(CODE):
            return encode(self._code.files)
        if name not in (*self.spec.data, *self.spec.scenarios):
            raise ObjectiveError(f"a host asks for {name}, which the job does not name")
        days, reading = DayFiles.parse(name), ReadRule(self._host.data_dirs)
        found: Files = {}
        for path in [Path(name)] if days is None else days.files(reading):
            with open_named(path, MAX_DATA_BYTES, reading) as file:
                if file.size > MAX_SENT_BYTES:
                    raise DataError(
                        path,
                        f"has {file.size:,} bytes; {MAX_SENT_BYTES:,} are the maximum that is sent to workers of an "
                        "executor: put it where they see it under the same name",
                    )
                found[path.name] = file.read(file.size)
        return encode(found)

    def take(self, task: ChunkTask, answer: Answer) -> ChunkReport:
        """Write the rows of an answer; none of it counts before `sync`.

        A report without rows where they were made with other code; ValueError when they are not those of the task.
        """
        batches = [decode_rows(rows, f"an answer of {answer.host}") for rows in answer.rows]
        counts = self._counts(task, batches)
        self._require_all(task, answer, counts)
        code_changed = answer.code_changed
        try:
            digest = self._record.pin(answer.parts, self._host.search_paths)
        except CodeChangedError as error:
            batches, code_changed = [], str(error)
        left = dict(answer.left)
        if code_changed and not batches:
            counts, left = {}, spans_by_claim(task)
        for rows in batches:
            self._writer.write(rows.made_with(digest))
        return ChunkReport(
            counts=counts,
            left=left,
            busy_s=answer.busy_s,
            first_error=answer.first_error,
            code_changed=code_changed,
            notes=answer.notes,
            missing=answer.missing,
            metrics=answer.metrics,
        )

    def _counts(self, task: ChunkTask, batches: Sequence[RowBatch]) -> dict[int, Counts]:
        """By claim; ValueError when rows are not the task's, or stand twice."""
        wanted = [(p.claim.claim_id, p.span.first, p.span.count, p.span.epoch) for p in task.sub_spans]
        wanted += [(claim_id, failure.iteration, 1, failure.epoch) for claim_id, failure in task.failures]
        counts: dict[int, Counts] = {claim_id: NO_COUNTS for claim_id, *_ in wanted}
        seen: set[int] = set()
        for rows in batches:
            self._rules.check(rows)
            ours = 0
            for claim_id, first, count, epoch in wanted:
                mask = (rows.iteration >= first) & (rows.iteration < first + count) & (rows.epoch == epoch)
                if mask.any():
                    found = rows.select(np.flatnonzero(mask))
                    counts[claim_id] = add_counts(counts[claim_id], found.counts())
                    ours += len(found)
            numbers = set(rows.iteration.tolist())
            if ours != len(rows) or numbers & seen:
                raise ValueError("rows of iterations that it was not asked for")
            seen |= numbers
        return counts

    def _require_all(self, task: ChunkTask, answer: Answer, counts: dict[int, Counts]) -> None:
        left = sum(span.count for spans in answer.left.values() for span in spans)
        if sum(map(sum, counts.values())) + left != task.size + len(task.failures):
            raise ValueError("not the rows of all iterations that it was asked for")

    def sync(self) -> None:
        """Return once all that `take` wrote is durable. After an OSError it can be called again."""
        self._writer.sync()

    def close(self) -> None:
        """Close the segment, which is not opened again."""
        self._writer.close()
