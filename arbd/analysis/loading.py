"""Results from where they are kept: a table in CSV, or a session in a spool."""

from __future__ import annotations

from pathlib import Path

from arbd.results.csv_reader import load_results_from_csv
from arbd.results.result import TuningResult


def load_session(spool: str | Path, session_id: str) -> list[TuningResult]:
    """All results of a session, finished or still running, sorted by iteration. NotFoundError when there is none."""
    from arbd.analysis.table import load_table  # noqa: PLC0415 - CSV readers need no numpy

    table = load_table(Path(spool), session_id)
    return table.results(range(len(table)))


__all__ = ["load_results_from_csv", "load_session"]
