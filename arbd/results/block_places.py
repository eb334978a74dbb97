"""Where return blocks stand: results that are compacted name the batches of segments that hold them, and copy none.

Blocks are most of a row's bytes and none of what is ranked; only statistics and two exports read them. So they are kept
where slots wrote them, and results say of each row in which batch that is: in runs, as neighbours stand in one batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arbd.arrays import Array
from arbd.errors import CorruptionError, DamageWarning
from arbd.results.column_bytes import common_number, widened_blocks
from arbd.results.columns import RowBatch
from arbd.results.segments import NAME, read_batch
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths

NOWHERE = -1
_RUN_BYTES = 24


def encode_runs(segment: Array, offset: Array) -> bytes | None:
    """Runs of rows that stand in one batch, (segment, offset, count) each; None when no row has blocks anywhere."""
    if not len(segment) or segment.max() == NOWHERE:
        return None
    changes = (segment[1:] != segment[:-1]) | (offset[1:] != offset[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    counts = np.diff(np.append(starts, len(segment)))
    return np.stack([segment[starts], offset[starts], counts], axis=1).astype("<i8").tobytes()


def decode_runs(content: bytes, n: int, n_segments: int) -> Array:
    """What `encode_runs` made of n rows; ValueError for anything else."""
    if not content or len(content) % _RUN_BYTES:
        raise ValueError(f"{len(content)} bytes of places of blocks")
    runs = np.frombuffer(content, "<i8").reshape(-1, 3)
    segment, offset, count = runs.T
    inside = (segment >= NOWHERE) & (segment < n_segments)
    if not inside.all() or offset.min() < 0 or count.min() < 1 or count.max() > n or count.sum() != n:
        raise ValueError("places of blocks that there are not")
    return runs


def checked_segments(names: Sequence[str]) -> tuple[str, ...]:
    """Names of segments as results hold them; ValueError for one that no segment can have."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"a segment called {name[:40]!a}")
    return tuple(names)


class BlockReader:
    """Reads the blocks of rows of one session group by group, each batch once where neighbours share it."""

    def __init__(self, files: Files, paths: SessionPaths, segments: Sequence[str]) -> None:
        self._files = files
        self._paths = paths
        self._segments = segments
        self._held: tuple[str, int, RowBatch] | None = None
        self._unread = 0
        self._reason: CorruptionError | OSError | None = None

    def read(self, runs: Array, iterations: Array) -> Array | None:
        """The blocks of a group's rows, NaN where there are none or nobody can read them; None where no row has any.

        `iterations`: whose blocks each row has, its own number or that of the row that it repeats.
        """
        found: list[tuple[slice, Array]] = []
        start = 0
        for segment, offset, count in runs.tolist():
            chosen, start = slice(start, start + count), start + count
            if segment == NOWHERE:
                continue
            part = self._of_batch(self._segments[segment], offset, iterations[chosen])
            if part is not None:
                found.append((chosen, part))
        if not found:
            return None
        if len(found) == 1 and len(found[0][1]) == len(iterations):
            return found[0][1]
        # As of `columns.concatenate`: NaN behind those of rows that have fewer.
        n_blocks = common_number([part for _, part in found], len(iterations))
        form = np.result_type(*(part.dtype for _, part in found))
        blocks = np.full((len(iterations), n_blocks, 2), np.nan, dtype=form)
        for chosen, part in found:
            blocks[chosen] = widened_blocks(part, len(part), n_blocks)
        return blocks

    def _of_batch(self, segment: str, offset: int, iterations: Array) -> Array | None:
        try:
            rows = self._batch(segment, offset)
        except (CorruptionError, OSError) as error:
            self._unread += len(iterations)
            self._reason = self._reason or error
            return None
        if rows.blocks is None or not len(rows):
            return None
        at = np.minimum(np.searchsorted(rows.iteration, iterations), len(rows) - 1)
        if (rows.iteration[at] != iterations).any():
            self._unread += len(iterations)
            self._reason = CorruptionError(self._paths.segments / segment, offset, "other rows than the results say")
            return None
        first = int(at[0])
        # A duplicate may stand in the same batch as its original, so the ends of `at` say nothing of what is between them.
        is_slice = bool((np.diff(at) == 1).all())
        return rows.blocks[first : first + len(at)] if is_slice else rows.blocks[at]

    def _batch(self, segment: str, offset: int) -> RowBatch:
        if self._held is None or self._held[:2] != (segment, offset):
            self._held = (segment, offset, read_batch(self._files, self._paths, segment, offset))
        return self._held[2]

    def warn(self, path: Path) -> None:
        """DamageWarning when blocks could not be read."""
        if self._reason is not None:
            warnings.warn(
                f"{path}: the return blocks of {self._unread:,} iterations cannot be read, and these do not count in "
                f"statistics: {self._reason}",
                DamageWarning,
                stacklevel=3,
            )
