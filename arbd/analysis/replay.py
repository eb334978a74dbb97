"""One iteration of a session run again: does it give what was recorded, to the bit?"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from arbd.analysis.table import load_table
from arbd.errors import ArbdError, NotFoundError, ObjectiveError
from arbd.job.code import base_parts, expected_parts, is_code, with_parts
from arbd.job.code import differences as code_differences
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.named_file import ANY, ReadRule
from arbd.objective.error_place import describe
from arbd.objective.interpreter import InterpreterEvaluator
from arbd.objective.load import load_evaluator
from arbd.objective.modules import ObjectiveModules
from arbd.objective.protocol import Evaluator, Settings, Trial, innermost
from arbd.objective.randomness import seed_generators
from arbd.paper.engine import RULES, rules_of
from arbd.results.cells import iso_utc
from arbd.results.columns import RowRules
from arbd.results.csv_writer import BUDGET, status_name
from arbd.results.result import TuningResult
from arbd.results.session_code import CodeRecord, SessionCode
from arbd.results.session_rows import read_rows
from arbd.search.space import ChoiceDimension
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import STATUS_NAMES
from arbd.spool.queue import SessionQueue
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric that is not the same; None where one side does not have it."""

    metric: str
    recorded: float | None
    replayed: float | None


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded row and what running it again gave. `other_code` says what this host has otherwise than who made it.

    `other_rules` says so when the paper engine played by other rules then: the numbers cannot be the same.
    """

    spec: JobSpec
    recorded: TuningResult
    metrics: Mapping[str, float]
    differences: tuple[Difference, ...]
    other_code: tuple[str, ...] = ()
    other_rules: str = ""

    @property
    def equal(self) -> bool:
        """True when every metric has the recorded bits."""
        return not self.differences


def find_recorded(spool: Path, session_id: str, iteration: int) -> tuple[JobSpec, TuningResult]:
    """The job of a session and the row of one of its iterations; NotFoundError when there is no such row.

    The job is as if it had been accepted with the code that made the row, where the row tells.
    """
    layout = SpoolLayout(spool)
    layout.require_readable()
    files = layout.files()
    paths = layout.session(session_id)
    state = SessionQueue(files, paths).refresh()
    spec = read_spec(files, paths)
    if not 1 <= iteration <= spec.n:
        raise NotFoundError(
            f"session {session_id} has no iteration {iteration}: they are numbered from 1 to {spec.n:,}"
        )
    for group in read_rows(files, paths, done=state.done, rules=RowRules.of(spec)):
        position = int(np.searchsorted(group.rows.iteration, iteration))
        if position == len(group.rows) or group.rows.iteration[position] != iteration:
            continue
        row = group.rows.select(np.array([position]))
        record = SessionCode(files, paths, expected_parts(spec)).with_digest(bytes(row.codes[0]).decode())
        return _as_made_with(spec, record), TuningResult(
            session_id=session_id,
            worker_id=group.workers[int(group.worker[position])],
            iteration=iteration,
            params=spec.space.rows(dict(row.params))[0],
            metrics={name: float(column[0]) for name, column in row.metrics.items()},
            timestamp=iso_utc(int(row.ended_ns[0])),
            status=status_name(int(row.status[0]), int(row.origins[0])),
            duration_s=float(row.duration_s[0]),
            attempt=int(row.attempt[0]),
            error=row.errors.get(iteration, ""),
            duplicate_of=max(0, int(row.origins[0])),
            budget=float(row.metrics[BUDGET][0]) if spec.has_shares and BUDGET in row.metrics else 1.0,
        )
    raise NotFoundError(f"session {session_id} has no result of iteration {iteration} yet: wait until it has run")


def best_iteration(spool: Path, session_id: str) -> int:
    """The best iteration of a session by its first metric; NotFoundError where there is none yet."""
    table = load_table(spool, session_id)
    name = table.spec.metrics[0].name
    position = table.ranking.best(name) if table.column(name) is not None else None
    if position is None:
        raise NotFoundError(
            f"session {session_id} has no best iteration: none has a number for {name} and keeps every constraint; "
            f"see `arbctl summary {session_id}`"
        )
    return int(table.source.fixed("iteration")[position])


def replay(
    spool: Path,
    session_id: str,
    iteration: int,
    *,
    cache_dir: Path | None,
    search_paths: Sequence[Path] = (),
    allow: Sequence[str] | None = None,
    reading: ReadRule = ANY,
) -> Replay:
    """Run a completed iteration again, in this process, with its recorded parameters and the session's job.

    Data and code must have the digests that the job was accepted with. With `allow` only objectives on that list
    run; `reading` is the rule for files that the job names.
    ArbdError when the iteration did not complete, since there is nothing to reproduce then.
    """
    spec, recorded = find_recorded(spool, session_id, iteration)
    if recorded.status != "completed":
        again = f"; `arbctl retry {session_id}` runs such iterations again" if recorded.status in STATUS_NAMES else ""
        raise ArbdError(
            f"iteration {iteration} of session {session_id} is {recorded.status} ({recorded.error or 'no reason given'}) "
            f"and has no metrics to reproduce{again}"
        )
    refusal = ObjectivePolicy(tuple(allow)).check(spec.objective) if allow is not None else None
    if refusal is not None:
        raise ObjectiveError(refusal)
    with closing(load_evaluator(spec, session_id, cache_dir, search_paths, reading=reading)) as evaluator:
        return _replayed(spec, recorded, evaluator)


def _replayed(spec: JobSpec, recorded: TuningResult, evaluator: Evaluator) -> Replay:
    iteration, session_id = recorded.iteration, recorded.session_id
    other_code = tuple(each.text for each in code_differences(spec.code, base_parts(), ()))
    found: list[tuple[Mapping[str, float], tuple[Difference, ...]]] = []
    # What was recorded came from a batch or from a call of its own; an objective may round differently in these.
    for batched in (True, False) if evaluator.batch else (False,):
        try:
            metrics = _evaluate(evaluator, spec, recorded, batched=batched)
        except Exception as error:
            raise ObjectiveError(
                f"iteration {iteration} of session {session_id} completed when it was recorded, "
                f"and now fails: {describe(error, ObjectiveModules.of_this_process().folders)}"
            ) from error
        found.append((metrics, differences(recorded.metrics, metrics)))
        if not found[-1][1]:
            break
    metrics, different = min(found, key=lambda pair: len(pair[1]))
    if spec.objective.kind == "python" and (refused := _refusal(evaluator)):
        raise ObjectiveError(f"iteration {iteration} of session {session_id} needs other code: {refused}")
    return Replay(spec, recorded, metrics, different, other_code, _other_rules(spec, recorded))


def _refusal(evaluator: Evaluator) -> str:
    """Why something that a Python objective asked for was not run, where it ran; or ''."""
    inner = innermost(evaluator)
    if isinstance(inner, InterpreterEvaluator):
        return inner.code.refusal
    return ObjectiveModules.of_this_process().refusal


def _other_rules(spec: JobSpec, recorded: TuningResult) -> str:
    made_by = rules_of(recorded.metrics)
    if spec.objective.kind != "paper" or made_by == RULES:
        return ""
    return (
        f"it was made by rules {made_by} of the paper engine, and this version plays by rules {RULES}: other numbers are "
        "no fault (docs/engine.md, Rules of before)"
    )


def _as_made_with(spec: JobSpec, record: CodeRecord | None) -> JobSpec:
    if record is None:
        return spec
    own = {name: digest for name, digest in record.parts.items() if not is_code(name)}
    return dataclasses.replace(with_parts(spec, record.parts), code=own)


def _evaluate(evaluator: Evaluator, spec: JobSpec, recorded: TuningResult, *, batched: bool) -> Mapping[str, float]:
    share = {BUDGET: recorded.budget} if spec.has_shares else {}
    if not batched:
        # A row that shares another's result has the numbers that that one's seed gave.
        ran = recorded.duplicate_of or recorded.iteration
        trial = Trial.of(spec, recorded.session_id, ran, recorded.budget)
        seed_generators(trial.seed)
        return {**evaluator.evaluate(recorded.params, trial).metrics, **share}
    # As the slot asked: None and NaN for parameters that the row does not have.
    columns = {
        d.name: [recorded.params.get(d.name)]
        if isinstance(d, ChoiceDimension)
        else np.array([recorded.params.get(d.name, np.nan)])
        for d in spec.space.dimensions
    }
    setting = Settings(spec).of(recorded.duplicate_of or recorded.iteration)
    metrics, _ = evaluator.evaluate_batch(columns, recorded.budget, setting)
    return {**{name: float(np.asarray(column, dtype=np.float64)[0]) for name, column in metrics.items()}, **share}


def differences(recorded: Mapping[str, float], replayed: Mapping[str, float]) -> tuple[Difference, ...]:
    """Metrics whose bits differ. All NaN are one; rows of a session that lack a metric have NaN for it."""
    found = []
    for name in dict.fromkeys((*recorded, *replayed)):
        before, now = recorded.get(name), replayed.get(name)
        if _bits(before) != _bits(now):
            found.append(Difference(name, before, now))
    return tuple(found)


def _bits(value: float | None) -> bytes:
    return b"NaN" if value is None or math.isnan(value) else struct.pack("<d", value)
