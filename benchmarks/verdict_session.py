"""A whole session with its validation in this process: the planner, the engine and the judge of the farm, without a disk."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from arbd.analysis.source import LoadedRows
from arbd.analysis.table import ResultTable
from arbd.analysis.verdict import judge_table
from arbd.analysis.verdict_document import SessionVerdict
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.objective.paper import PaperEvaluator
from arbd.objective.protocol import Settings
from arbd.paper.market.quotes import Quotes
from arbd.results.columns import RowBatch, concatenate
from arbd.results.store_format import ResultGroup
from arbd.search.generation import Generation
from arbd.search.phase_planner import PhasePlanner
from arbd.search.plan import RUN
from arbd.search.trial_history import TrialResults
from arbd.search.versions import sampler_versions
from arbd.spool.ledger import LedgerState


def judged_session(quotes: Quotes, job: dict[str, Any]) -> tuple[SessionVerdict, float]:
    """The verdict on a job over these quotes, and what its winner earned."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.npz"
        np.savez(path, **quotes.told())  # type: ignore[arg-type]
        spec = resolve_job(parse_job(yaml.safe_dump({**job, "data": [str(path)]}), "job"), base_dirs=())
        rows = _run(spec, PaperEvaluator(spec, None, verify=False))
    group = ResultGroup(rows, np.zeros(len(rows), dtype=np.int32), ("host",))
    table = ResultTable("session", spec, LedgerState(n=spec.n, done=True), LoadedRows([group]), True)
    found = judge_table(table)
    return found, found.best


def _run(spec: JobSpec, evaluator: PaperEvaluator) -> RowBatch:
    """Everything, one generation after the other."""
    planner, settings = PhasePlanner(spec, sampler_versions(spec.method)), Settings(spec)
    made: list[Generation] = []
    batches: list[RowBatch] = []
    for number in range(1, spec.layout.generations + 1):
        assert not planner.missing(number)
        generation = planner.generation(number, [made[at - 1] for at in planner.pending(number)])
        # Plans of published searches are told at once here.
        made.append(generation)
        rows = _evaluated(spec, evaluator, settings, generation)
        batches.append(rows)
        planner.learn(TrialResults(rows.iteration, rows.status == 0, rows.origins, rows.params, rows.metrics))
    return concatenate(batches)


def _evaluated(spec: JobSpec, evaluator: PaperEvaluator, settings: Settings, generation: Generation) -> RowBatch:
    planned, n = generation.rows, len(generation.rows)
    iteration = np.arange(generation.first, generation.first + n, dtype=np.int64)
    ran = np.flatnonzero(planned.origin == RUN)
    metrics: dict[str, Any] = {}
    blocks = np.full((n, 64, 2), np.nan)
    for setting, where in settings.groups(iteration[ran]) if len(ran) else ():
        index = ran[where]
        found, parts = evaluator.evaluate_batch(spec.space.decode(planned.select(index).columns), 1.0, setting)
        blocks[index] = parts
        for name, column in found.items():
            metrics.setdefault(name, np.full(n, np.nan))[index] = column
    rows = RowBatch(
        iteration=iteration, status=np.zeros(n, dtype=np.uint8), ended_ns=np.zeros(n, dtype=np.int64),
        duration_s=np.zeros(n), attempt=np.ones(n, dtype=np.int32), epoch=np.zeros(n, dtype=np.int32),
        params=planned.columns, metrics=metrics, blocks=blocks, origin=planned.origin,
    )  # fmt: skip
    repeats = np.flatnonzero(planned.origin > 0)
    if len(repeats) and (planned.origin[repeats] >= generation.first).all():
        return _repeated(rows, repeats)
    return rows


def _repeated(rows: RowBatch, repeats: np.ndarray[Any, Any]) -> RowBatch:
    """Rows that repeat others of their generation have their results."""
    sources = rows.origins[repeats] - rows.iteration[0]
    metrics = {name: column.copy() for name, column in rows.metrics.items()}
    for column in metrics.values():
        column[repeats] = column[sources]
    return replace(rows, metrics=metrics)
