"""Results that a new search starts from: those of another session of the spool, or of a table in CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from arbd.errors import DataError
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.csv_reader import read_table
from arbd.results.store_reader import read_rows
from arbd.search.problem import PastResult
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import COMPLETED
from arbd.spool.queue import SessionQueue

CSV_SUFFIX = ".csv"


def past_reader(
    layout: SpoolLayout, may_read: Callable[[Path], str | None] = lambda path: None
) -> Callable[[str, Sequence[Path]], list[PastResult]]:
    """A function of a session's id, or a table's name and the folders to look for it; ArbdError when there is none.

    `may_read` says why a table may not be read, before it is looked for; None when it may.
    """

    def read(source: str, folders: Sequence[Path]) -> list[PastResult]:
        if source.endswith(CSV_SUFFIX):
            return _of_table(source, folders, may_read)
        return _of_session(layout, source)

    return read


def _of_table(source: str, folders: Sequence[Path], may_read: Callable[[Path], str | None]) -> list[PastResult]:
    candidates = [Path(source)] if Path(source).is_absolute() else [folder / source for folder in folders]
    path = next((candidate for candidate in candidates if _is_readable(candidate, may_read)), None)
    if path is None:
        raise DataError(source, f"no such file: {', '.join(map(str, candidates)) or 'write an absolute path'}")
    return [
        PastResult(result.params, result.metrics if result.status == "completed" else {}, result.data_share, written)
        for result, written in read_table(path)
    ]


def _is_readable(path: Path, may_read: Callable[[Path], str | None]) -> bool:
    # Asked first: whether a file is there at all is not told of folders that may not be read.
    refusal = may_read(path)
    if refusal is not None:
        raise DataError(path, refusal)
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(path, f"cannot be looked for: {error.strerror}") from error


def _of_session(layout: SpoolLayout, session_id: str) -> list[PastResult]:
    files = layout.files()
    paths = layout.session(session_id)
    state = SessionQueue(files, paths).refresh()
    spec = read_spec(files, paths)
    found: list[PastResult] = []
    for group in read_rows(files, paths, done=state.done, rules=RowRules.of(spec)):
        rows = group.rows
        metrics = {name: column.tolist() for name, column in rows.metrics.items()}
        shares = metrics.get("budget") if spec.has_shares else None
        for position, params in enumerate(spec.space.rows(dict(rows.params))):
            completed = rows.status[position] == COMPLETED
            values = {name: column[position] for name, column in metrics.items()} if completed else {}
            # What failed used its share of the data too.
            share = 1.0 if shares is None else shares[position]
            found.append(PastResult({**spec.fixed, **params}, values, share if 0.0 < share <= 1.0 else 1.0))
    if state.counted and not found:
        raise DataError(session_id, f"its {state.counted:,} results are not there: they were purged or lost")
    return found
