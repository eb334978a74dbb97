"""A session's results for pandas, polars and Arrow: read when they are asked for, in columns with plain names."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbd.errors import UsageError
from arbd.registry import hint

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable

_SHOWN = 10
# Columns that every session has.
_OWN = frozenset({"iteration", "status", "worker", "ended", "duration_s", "attempt", "error"})


class Results:
    """All results of a session, one row per iteration: `iteration`, `status`, the parameters, the metrics, and how it ran.

    A metric with the name of a parameter or of another column is `metric_NAME`, a parameter with such a name
    `param_NAME`. Rows are those that were recorded when the results were first looked at.
    """

    def __init__(self, spool: Path, session_id: str) -> None:
        self._spool, self._session_id = spool, session_id

    @cached_property
    def _table(self) -> ResultTable:
        from arbd.analysis.table import load_table

        return load_table(self._spool, self._session_id)

    @cached_property
    def columns(self) -> Mapping[str, Any]:
        """Arrays and lists by column name; times are of the workers' clocks, in UTC."""
        import numpy as np

        from arbd.results.csv_writer import status_name

        table = self._table
        rows = table.rows
        found: dict[str, Any] = {
            "iteration": rows.iteration,
            "status": [status_name(*pair) for pair in zip(rows.status.tolist(), rows.origins.tolist(), strict=True)],
        }
        ran: dict[str, Any] = {
            "worker": [table.workers[at] for at in table.worker.tolist()],
            "ended": rows.ended_ns.astype("datetime64[ns]"),
            "duration_s": rows.duration_s,
            "attempt": rows.attempt,
            "error": [rows.errors.get(iteration, "") for iteration in rows.iteration.tolist()],
        }
        assert {*found, *ran} == _OWN
        for name, values in table.spec.space.decode(rows.params).items():
            found[self._param(name)] = values
        taken = _OWN | found.keys()
        for name in table.metric_names:
            values = np.where(table.completed, rows.metrics[name], np.nan)
            found[f"metric_{name}" if name in taken else name] = values
        return {**found, **ran}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, name: str) -> Any:
        """One column, as in a DataFrame; UsageError for a name that there is not."""
        if name not in self.columns:
            raise UsageError(
                f"the results of session {self._session_id} have no column {name!r}; {hint(str(name), self.columns)}"
                f"columns are: {', '.join(self.columns)}"
            )
        return self.columns[name]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        lists = [column if isinstance(column, list) else column.tolist() for column in self.columns.values()]
        return (dict(zip(self.columns, values, strict=True)) for values in zip(*lists, strict=True))

    def to_pandas(self) -> Any:
        """A pandas DataFrame."""
        return _library("pandas").DataFrame(dict(self.columns))

    def to_polars(self) -> Any:
        """A polars DataFrame. Choices of several types become strings."""
        return _library("polars").DataFrame(self._plain())

    def to_arrow(self) -> Any:
        """A pyarrow Table. Choices of several types become strings."""
        return _library("pyarrow").table(self._plain())

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """For every library that speaks Arrow's PyCapsule interface."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _plain(self) -> dict[str, Any]:
        found = {name: _of_one_type(c) if isinstance(c, list) else c for name, c in self.columns.items()}
        space = self._table.spec.space
        for name, exists in space.active(self._table.rows.params).items():
            # What does not exist is no number, and an integer stays one.
            if not isinstance(found[self._param(name)], list):
                values = self._table.rows.params[name].tolist()
                found[self._param(name)] = [v if e else None for v, e in zip(values, exists.tolist(), strict=True)]
        return found

    def _param(self, name: str) -> str:
        """The column of a parameter."""
        return f"param_{name}" if name in _OWN else name

    def _repr_html_(self) -> str:
        import itertools

        more = f"<p>{len(self):,} rows; the first {_SHOWN} are shown</p>" if len(self) > _SHOWN else ""
        return html_table(list(self.columns), [list(row.values()) for row in itertools.islice(self, _SHOWN)]) + more


def _of_one_type(values: list[Any]) -> list[Any]:
    known = {type(value) for value in values if value is not None}
    return values if len(known) <= 1 else [None if value is None else str(value) for value in values]


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"{name} is not installed for this Python: pip install {name}") from error


def html_table(head: list[str], rows: list[list[Any]]) -> str:
    """A table for notebooks; nothing of a job or a result is markup."""
    import html

    def cell(value: object) -> str:
        return html.escape(f"{value:.6g}" if isinstance(value, float) else str(value))

    titles = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"
