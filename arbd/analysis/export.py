"""A session's results in formats that other programs read; see `formats`."""

from __future__ import annotations

from pathlib import Path

from arbd.analysis.export_format import STDOUT
from arbd.analysis.formats import FORMATS
from arbd.analysis.table import load_table
from arbd.atomic_file import check_output
from arbd.errors import NotFoundError, UsageError


def export_session(spool: Path, session_id: str, form: str, output: Path) -> int:
    """Write all results of a session, finished or still running, to `output`; the number of rows.

    The file appears whole, by rename. `-` is standard output, for formats that can be streamed. NotFoundError, after
    all that there is has been written, when recorded results are missing.
    """
    chosen = FORMATS.get(form)
    if output != STDOUT:
        check_output(output)
    elif not chosen.stream:
        raise UsageError(f"{form} needs a file: --output FILE")
    table = load_table(spool, session_id, blocks=chosen.blocks)
    rows = chosen.write(table, output)
    if table.missing:
        raise NotFoundError(f"session {session_id}: {rows:,} rows are in {output}, but {table.missing_text}")
    return rows
