"""`results.msgpack`: all rows of a finished session, sorted by iteration, each iteration once.

Owns the file's form: a header frame, then per group of rows one frame for each column, at the end an index that
tells where each is, and a trailer that tells where the index is. So whoever wants one column of a million rows
reads that column, and how many rows there are of which status and worker stands in the index. Every frame has its
checksum; nothing that the index says is believed without looking (I7). Return blocks stay in the segments, and the
file says where (`arbd.results.block_places`); one that is to do without segments holds them itself.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgpack
import numpy as np

from arbd import schema
from arbd.errors import DamageWarning
from arbd.results.block_places import encode_runs
from arbd.results.code_runs import TRAILER
from arbd.results.column_bytes import compressed, contiguous_bytes, stored_blocks
from arbd.results.columns import FIXED_COLUMNS, RowBatch, RowRules, code_runs
from arbd.results.merge import SLICE_ROWS, Merge, MergedGroup
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import STATUS_NAMES
from arbd.values import dataclass

BLOCK_PIECE_BYTES = 16 * 1024 * 1024
WORKER, ORIGIN, ERRORS, REPORTS = "worker", "origin", "errors", "reports"
BLOCKS, BLOCK_PLACES = "blocks", "block_places"
# Behind the form of a column that is compressed, and of return blocks with single precision.
PACKED, SINGLE = "z", "f4"
_COMPRESSIBLE = frozenset({"<i8", "<f8", "<i4", "|u1"})
PARAM, METRIC = "p:", "m:"


@dataclass(frozen=True, slots=True)
class ResultGroup:
    """Rows sorted by iteration, and the worker of each (`workers[worker[i]]`)."""

    rows: RowBatch
    worker: np.ndarray[tuple[int], np.dtype[np.int32]]
    workers: tuple[str, ...]


class Encodable(Protocol):
    """What results are made of."""

    @property
    def workers(self) -> Sequence[str]:
        """Names of all workers."""
        ...

    @property
    def segments(self) -> Sequence[str]:
        """As of `Merge.segments`."""
        ...

    @property
    def duplicates(self) -> int:
        """How many rows lost against another one of the same iteration."""
        ...

    def groups(self, *, blocks: bool = True) -> Iterator[MergedGroup]:
        """As of `Merge.groups`."""
        ...


def encode_results(session_id: str, n: int, merge: Encodable, *, blocks: bool = False) -> Iterator[bytes]:
    """The bytes of `results.msgpack`, frame by frame; with `blocks` it holds the return blocks itself."""
    header = encode_frame(bytes(msgpack.packb({**schema.RESULTS.stamp(), "session_id": session_id, "n": n})))
    yield header
    offset = len(header)
    groups: list[dict[str, Any]] = []
    codes: list[tuple[str, int]] = []
    counts = np.zeros(len(STATUS_NAMES), dtype=np.int64)
    shares = np.zeros(len(merge.workers), dtype=np.int64)
    is_placed = False
    for group in _slices(merge.groups(blocks=blocks)):
        places: dict[str, list[Any]] = {}
        for name, form, payload in _columns(group):
            smaller = compressed(payload) if form in _COMPRESSIBLE else None
            is_placed |= name == BLOCK_PLACES
            frame = encode_frame(payload if smaller is None else smaller)
            places.setdefault(name, [form if smaller is None else form + PACKED]).extend((offset, len(frame)))
            offset += len(frame)
            yield frame
        groups.append({"n": len(group.rows), "at": places})
        codes += code_runs(group.rows.codes)
        counts += group.rows.counts()
        shares += np.bincount(group.worker, minlength=len(shares))
    index: Mapping[str, Any] = {
        **schema.RESULTS.stamp(),
        "rows": int(counts.sum()),
        "counts": counts.tolist(),
        "duplicates": merge.duplicates,
        "workers": merge.workers,
        "shares": shares.tolist(),
        "groups": groups,
        # Of all rows, in their order; readers of earlier versions do not look.
        "code": _joined(codes),
        **({"segments": list(merge.segments)} if is_placed else {}),
    }
    frame = encode_frame(bytes(msgpack.packb(index)))
    yield frame
    yield encode_frame(TRAILER.pack(offset, len(frame)))


def _joined(runs: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Runs of the same code become one."""
    return [
        (digest, sum(count for _, count in group)) for digest, group in itertools.groupby(runs, key=lambda run: run[0])
    ]


def _slices(groups: Iterator[MergedGroup]) -> Iterator[MergedGroup]:
    """Smaller groups: who shows a few rows reads only those around them."""
    for group in groups:
        for start in range(0, len(group.rows), SLICE_ROWS):
            chosen = slice(start, start + SLICE_ROWS)
            places = None if group.places is None else (group.places[0][chosen], group.places[1][chosen])
            yield MergedGroup(group.rows.select(chosen), group.worker[chosen], places)


def _columns(group: MergedGroup) -> Iterator[tuple[str, str, memoryview]]:
    """Name, form and bytes of each column; the blocks of a large group come in several pieces."""
    rows = group.rows
    for name, form in FIXED_COLUMNS.items():
        yield name, form, contiguous_bytes(getattr(rows, name), form)
    yield WORKER, "<i4", contiguous_bytes(group.worker, "<i4")
    if rows.origin is not None and rows.origin.any():
        yield ORIGIN, "<i8", contiguous_bytes(rows.origin, "<i8")
    for name, column in rows.params.items():
        form = "<f8" if column.dtype.kind == "f" else "<i8"
        yield PARAM + name, form, contiguous_bytes(column, form)
    for name, column in rows.metrics.items():
        yield METRIC + name, "<f8", contiguous_bytes(column, "<f8")
    if rows.errors:
        yield ERRORS, "", memoryview(bytes(msgpack.packb(dict(rows.errors))))
    if rows.reports:
        reports = {iteration: [list(step) for step in steps] for iteration, steps in rows.reports.items()}
        yield REPORTS, "", memoryview(bytes(msgpack.packb(reports)))
    if group.places is not None and (runs := encode_runs(*group.places)) is not None:
        yield BLOCK_PLACES, "", memoryview(runs)
    if rows.blocks is not None and rows.blocks[0].nbytes:
        stored = stored_blocks(rows.blocks)
        # Said of what earlier versions knew, without a name for its precision.
        form = str(stored.shape[1]) + (SINGLE if stored.dtype == np.float32 else "")
        step = max(1, BLOCK_PIECE_BYTES // stored[0].nbytes)
        for start in range(0, len(rows), step):
            yield BLOCKS, form, contiguous_bytes(stored[start : start + step], stored.dtype.str)


def has_results(files: Files, paths: SessionPaths) -> bool:
    """True when the session's results were compacted; asked of the listing, as `sessions.exists` is."""
    return paths.results.name in files.names(paths.folder)


def read_segments(
    files: Files, paths: SessionPaths, *, blocks: bool = False, rules: RowRules | None = None
) -> Iterator[ResultGroup]:
    """All rows of a session from its segments, sorted by iteration; those that do not keep its `rules` do not count."""
    merge = Merge(files, paths, rules)
    for found in merge.damage:
        warnings.warn(
            f"{found.path}, bytes {found.damage.offset} to {found.damage.end}: damaged; its rows do not count: "
            f"see `arbctl repair {paths.session_id} --check`",
            DamageWarning,
            stacklevel=2,
        )
    yield from groups_of(merge, blocks=blocks)


def groups_of(merge: Merge, *, blocks: bool = False) -> Iterator[ResultGroup]:
    """The winning rows of segments as those of results."""
    for group in merge.groups(blocks=blocks):
        yield ResultGroup(group.rows, group.worker, tuple(merge.workers))
