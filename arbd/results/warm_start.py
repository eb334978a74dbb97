"""Results that a new search starts from: those of another session of the spool, or of a table in CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from arbd.errors import DataError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.named_file import ANY, ReadRule, first_of
from arbd.paper.params import defaults
from arbd.results.columns import RowRules
from arbd.results.csv_reader import FEWER, read_table
from arbd.results.csv_writer import BUDGET, budgets
from arbd.results.session_rows import read_rows
from arbd.search.problem import EarlierResult
from arbd.search.space import Value
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED
from arbd.spool.queue import SessionQueue

CSV_SUFFIX = ".csv"
MAX_PAST_RESULTS = 200_000
MAX_TABLE_BYTES = 128 << 20


def past_reader(layout: SpoolLayout, reading: ReadRule = ANY) -> Callable[[str, Sequence[Path]], list[EarlierResult]]:
    """A function of a session's id, or a table's name and the folders to look for it; ArbdError when there is none.

    `reading` is the rule for tables. There may be MAX_PAST_RESULTS results at most: more would fill memory.
    """

    def read(source: str, folders: Sequence[Path]) -> list[EarlierResult]:
        if source.endswith(CSV_SUFFIX):
            return _of_table(source, folders, reading)
        return _of_session(layout, source)

    return read


def _of_table(source: str, folders: Sequence[Path], reading: ReadRule) -> list[EarlierResult]:
    candidates = [Path(source)] if Path(source).is_absolute() else [folder / source for folder in folders]
    if not candidates:
        raise DataError(source, "no such file: write an absolute path")
    with first_of(candidates, MAX_TABLE_BYTES, reading) as file, file.errors_unquoted("a table of results"):
        return [
            EarlierResult(result.params, result.metrics if result.status == "completed" else {}, result.budget, written)
            for result, written in read_table(file, MAX_PAST_RESULTS)
            if result.is_ranked
        ]


def _of_session(layout: SpoolLayout, session_id: str) -> list[EarlierResult]:
    files = layout.files()
    paths = layout.session(session_id)
    state = SessionQueue(files, paths).refresh()
    spec = read_spec(files, paths)
    if state.counted > MAX_PAST_RESULTS:
        raise DataError(session_id, f"has {state.counted:,} results; {MAX_PAST_RESULTS:,} are the maximum: {FEWER}")
    found: list[EarlierResult] = []
    stands, conditions = spec.layout, _conditions(spec)
    for group in read_rows(files, paths, done=state.done, rules=RowRules.of(spec)):
        # What judges another search is no result of it, and of other windows of the data.
        rows = group.rows.select(stands.own_search(group.rows.iteration))
        metrics = {name: column.tolist() for name, column in rows.metrics.items()}
        budget = budgets(rows.metrics[BUDGET]).tolist() if spec.has_shares and BUDGET in rows.metrics else None
        for position, params in enumerate(spec.space.rows(dict(rows.params))):
            completed = rows.status[position] == COMPLETED
            values = {name: column[position] for name, column in metrics.items()} if completed else {}
            # What failed used its budget too.
            found.append(EarlierResult({**conditions, **params}, values, 1.0 if budget is None else budget[position]))
    if state.counted and not found:
        raise DataError(session_id, f"its {state.counted:,} results are not there: they were purged or lost")
    return found


def _conditions(spec: JobSpec) -> dict[str, Value]:
    """What parameters were that a session did not search, as far as it is known: scenarios may say otherwise."""
    if spec.objective.kind != "paper" or spec.scenarios:
        return dict(spec.fixed)
    return {name: value for name, value in {**defaults(), **spec.fixed}.items() if name not in spec.space.names}
