"""The table form of results: one line per iteration, every parameter and every metric in its own column."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from arbd.arrays import Array
from arbd.job.spec import JobSpec
from arbd.plain_json import text_of
from arbd.results.cells import float_cells, integer_cells, quoted, time_cells
from arbd.results.columns import RowBatch
from arbd.results.store_format import ResultGroup
from arbd.search.plan import NOT_RUN_NAMES, RUN, Limits
from arbd.search.space import ChoiceDimension, Dimension
from arbd.spool.ledger import COMPLETED, STATUS_NAMES
from arbd.values import dataclass

FIXED = ("session_id", "worker_id", "iteration", "status", "timestamp", "duration_s", "attempt", "error")
PARAM_PREFIX = "param_"
METRIC_PREFIX = "metric_"
# The part of the data that an iteration used, failed ones too, where a session has different ones; and its old name.
BUDGET, OLD_BUDGET = "budget", "data_share"
# Whether a result keeps the constraints of its job, and by how much it breaks them, where there are any.
FEASIBLE, VIOLATION = "feasible", "violation"
# What an iteration was run for, where a session has more than its own search.
PHASE, FOLD = "phase", "fold"
# One column for each objective of the job, the first one first: maximize or minimize in every line.
DIRECTION_PREFIX = "direction_"
# What makes a spreadsheet read a cell as a formula, wide forms too, behind any marks that say it is none and what is not
# seen or is taken off. Where a spreadsheet separates cells by something else than commas, cells begin within a text too.
_SIGN, _UNSEEN = "=+\\-@|%\uff1d\uff0b\uff0d\uff20", '" \u00a0\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff'
_FORMULA = re.compile(f"'*[{_UNSEEN}]*[{_SIGN}\t\r\n]")
_WITHIN = re.compile(f"(?<=[;\t\r\n])(?='*[{_UNSEEN}]*[{_SIGN}])")
_MARK_WITHIN = re.compile(f"(?<=[;\t\r\n])'(?='*[{_UNSEEN}]*[{_SIGN}])")


def status_name(status: int, origin: int) -> str:
    """What people read."""
    return NOT_RUN_NAMES.get(origin, "") or STATUS_NAMES[status]


def budgets(column: Array) -> Array:
    """The parts of the data that rows used; all of it where a row does not say."""
    return np.where((column > 0.0) & (column <= 1.0), column, 1.0)


def header(spec: JobSpec, metric_names: Sequence[str]) -> list[str]:
    """The column names."""
    params, metrics = (PARAM_PREFIX + n for n in spec.space.names), (METRIC_PREFIX + n for n in metric_names)
    budget = [OLD_BUDGET, BUDGET] if spec.has_shares else []
    feasible = [FEASIBLE, VIOLATION] if spec.constraints else []
    phase = [PHASE, FOLD] if spec.validation is not None else []
    return [
        *FIXED,
        *params,
        *metrics,
        *budget,
        *feasible,
        *phase,
        *(DIRECTION_PREFIX + goal.name for goal in spec.metrics),
    ]


def group_cells(
    spec: JobSpec, session_id: str, group: ResultGroup, metric_names: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The cells of each row; what a row does not have, parameter or metric, is an empty cell, an undefined metric `nan`."""
    return zip(*(column.cells for column in cell_columns(spec, session_id, group, metric_names)), strict=True)


@dataclass(frozen=True, slots=True)
class CellColumn:
    """A cell for each row; `is_text` where they may have to be quoted in a file."""

    cells: Sequence[str]
    is_text: bool = False


def cell_columns(
    spec: JobSpec, session_id: str, group: ResultGroup, metric_names: Sequence[str]
) -> Iterator[CellColumn]:
    """The same by column, in the order of `header`."""
    rows, n = group.rows, len(group.rows)
    origins = rows.origins
    workers = [_text(worker) for worker in group.workers]
    yield CellColumn([_text(session_id)] * n, is_text=True)
    yield CellColumn([workers[number] for number in group.worker.tolist()], is_text=True)
    yield CellColumn(integer_cells(rows.iteration))
    pairs = zip(rows.status.tolist(), origins.tolist(), strict=True)
    plain = list(STATUS_NAMES)
    yield CellColumn([plain[status] if origin >= RUN else status_name(status, origin) for status, origin in pairs])
    yield CellColumn(time_cells(rows.ended_ns))
    yield CellColumn(float_cells(rows.duration_s))
    yield CellColumn(integer_cells(rows.attempt))
    errors = {iteration: _text(text) for iteration, text in rows.errors.items()}
    yield CellColumn([errors.get(i, "") for i in rows.iteration.tolist()] if errors else [""] * n, is_text=bool(errors))
    exist = spec.space.active(rows.params)
    for dimension in spec.space.dimensions:
        yield _param(dimension, rows.params[dimension.name], exist.get(dimension.name))
    absent = np.flatnonzero((rows.status != COMPLETED) | (origins < RUN)).tolist()
    for name in metric_names:
        cells = float_cells(rows.metrics[name]) if name in rows.metrics else [""] * n
        for position in absent:
            cells[position] = ""
        yield CellColumn(cells)
    for column in _more_cells(spec, rows):
        yield CellColumn(column)
    for goal in spec.metrics:
        yield CellColumn([goal.direction] * n)


def _param(dimension: Dimension, column: Array, exists: Array | None) -> CellColumn:
    is_choice = isinstance(dimension, ChoiceDimension)
    if isinstance(dimension, ChoiceDimension):
        names = [_cell(value) for value in dimension.values]
        cells = [names[index] for index in column.tolist()]
    else:
        cells = float_cells(column) if column.dtype.kind == "f" else integer_cells(column)
    for position in [] if exists is None else np.flatnonzero(~exists).tolist():
        cells[position] = ""
    return CellColumn(cells, is_text=is_choice)


def group_lines(
    spec: JobSpec,
    session_id: str,
    group: ResultGroup,
    metric_names: Sequence[str],
    more: Sequence[Sequence[str]] = (),
) -> bytes:
    """The rows of a group as CSV; `more` columns stand at the end."""
    columns = [
        quoted(column.cells) if column.is_text else column.cells
        for column in cell_columns(spec, session_id, group, metric_names)
    ]
    lines = map(",".join, zip(*columns, *more, strict=True))
    return "".join(f"{line}\n" for line in lines).encode()


def _more_cells(spec: JobSpec, rows: RowBatch) -> list[list[str]]:
    """Budget, feasibility, violation, phase and fold, where the job has them."""
    cells: list[list[str]] = []
    if spec.has_shares:
        column = rows.metrics.get(BUDGET, np.full(len(rows), np.nan)).tolist()
        cells += [[repr(value) if 0.0 < value <= 1.0 else "" for value in column]] * 2
    if spec.constraints:
        results = ((rows.status == COMPLETED) & (rows.origins >= RUN)).tolist()
        violation = Limits.of(spec).violation(rows.params, rows.metrics, len(rows)).tolist()
        pairs = list(zip(results, violation, strict=True))
        cells.append([str(result and value <= 0) for result, value in pairs])
        cells.append([repr(value) if result else "" for result, value in pairs])
    if spec.validation is not None:
        layout = spec.layout
        places = [layout.stretches[at] for at in layout.indices(rows.iteration).tolist()]
        cells += [[str(place.phase) for place in places], [str(place.fold) for place in places]]
    return cells


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    return _text(value) if isinstance(value, str) else text_of(value)


def _text(value: str) -> str:
    """A text that no spreadsheet takes for a formula; `plain_text` gives it back as it was."""
    marked = _WITHIN.sub("'", value)
    return f"'{marked}" if _FORMULA.match(value) else marked


def plain_text(cell: str) -> str | None:
    """The text in a cell that was marked as one, or None when it is not."""
    if "'" not in cell:
        # As of nearly all, and of the longest.
        return None
    plain = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    plain = _MARK_WITHIN.sub("", plain)
    return plain if plain != cell else None


def metric_names_of(groups: Iterable[ResultGroup]) -> list[str]:
    """Every metric name in the order in which the groups first show them."""
    names: dict[str, None] = {}
    for group in groups:
        names.update(dict.fromkeys(group.rows.metrics))
    return list(names)


def encode_cells(lines: Iterable[Sequence[object]]) -> bytes:
    """CSV text (RFC 4180, LF line ends, UTF-8)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def csv_lines(
    spec: JobSpec,
    session_id: str,
    groups: Iterable[ResultGroup],
    more: Mapping[str, Sequence[object]] | None = None,
    metric_names: Sequence[str] | None = None,
) -> Iterator[bytes]:
    """A whole results table, piece by piece; `more` columns stand at the end.

    Metric columns are those that any row has. Who does not say which these are has all groups in memory.
    """
    if metric_names is None:
        groups = list(groups)
        metric_names = metric_names_of(groups)
    names = metric_names
    extra = more or {}
    yield encode_cells([[*header(spec, names), *extra]])
    done = 0
    for group in groups:
        stop = done + len(group.rows)
        yield group_lines(spec, session_id, group, names, [list(map(str, c[done:stop])) for c in extra.values()])
        done = stop
