"""CSV: the table of a session, one row per iteration."""

from __future__ import annotations

from collections.abc import Iterable

from arbd.analysis.export_format import ExportFormat, more_columns, streamed
from arbd.analysis.table import ResultTable
from arbd.results.csv_writer import csv_lines


def _lines(table: ResultTable) -> Iterable[bytes]:
    return csv_lines(table.spec, table.session_id, table.source.groups(), more_columns(table), table.metric_names)


FORMAT = ExportFormat(summary="A table, one row per iteration.", write=streamed(_lines), stream=True)
