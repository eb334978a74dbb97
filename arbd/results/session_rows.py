"""All rows of a session, from where they are whole: `results.msgpack`, or the segments that it was made of.

One damaged byte in the results costs nothing while the segments are there: whoever reads goes on with these, and says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

from arbd.errors import CorruptionError, DamageWarning
from arbd.results.columns import RowRules
from arbd.results.merge import Merge
from arbd.results.store_format import ResultGroup, groups_of, has_results, read_segments
from arbd.results.store_reader import read_results
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.queue import SessionQueue


def in_results(files: Files, paths: SessionPaths, *, done: bool) -> bool:
    """True when the rows of a session are those of its `results.msgpack`.

    They are when it is `done`; and when the ledger has lost the record that says so and nothing else is there.
    """
    if not has_results(files, paths):
        return False
    return done or not _has_segments(files, paths)


def _has_segments(files: Files, paths: SessionPaths) -> bool:
    return paths.segments.name in files.names(paths.folder) and bool(files.names(paths.segments))


def read_rows(files: Files, paths: SessionPaths, *, done: bool, rules: RowRules | None = None) -> Iterator[ResultGroup]:
    """All rows of a session, sorted by iteration: from `results.msgpack` when `done`, else from the segments.

    Where the results are damaged the segments are read, with a DamageWarning; CorruptionError when these do not hold
    every iteration.
    """
    if in_results(files, paths, done=done):
        return _stored_or_segments(files, paths, rules)
    return read_segments(files, paths, rules=rules)


def _stored_or_segments(files: Files, paths: SessionPaths, rules: RowRules | None) -> Iterator[ResultGroup]:
    last = 0
    try:
        for group in read_results(files, paths, rules=rules):
            yield group
            last = int(group.rows.iteration[-1])
    except CorruptionError as error:
        merge = whole_segments(files, paths, rules, error)
        yield from beyond(groups_of(merge), last)


def beyond(groups: Iterable[ResultGroup], last: int) -> Iterator[ResultGroup]:
    """What of sorted rows comes behind iteration `last`."""
    for group in groups:
        chosen = group.rows.iteration > last
        if chosen.all():
            yield group
        elif chosen.any():
            yield ResultGroup(group.rows.select(chosen), group.worker[chosen], group.workers)


def whole_segments(files: Files, paths: SessionPaths, rules: RowRules | None, error: CorruptionError) -> Merge:
    """The rows of a session whose results are damaged, as `error` tells; raised again unless the segments hold all."""
    if not _has_segments(files, paths):
        raise error
    merge = Merge(files, paths, rules)
    n = SessionQueue(files, paths).refresh().n
    if len(merge) - len(merge.waiting) < n:
        raise CorruptionError(
            error.path, error.offset, f"{error.reason}; its segments hold {len(merge):,} of {n:,} iterations"
        ) from error
    warnings.warn(f"{error}; the rows come from the segments beside it", DamageWarning, stacklevel=2)
    return merge
