"""From segments to results: the winning row of each iteration, in order, duplicates with the result of their original.

Keeps I1 as read: one row per iteration, chosen by the rule of `arbd.results.precedence`. An external merge: batches are
runs that are sorted already, so one pass over the segments notes where they stand, and from then on the rows of a few
thousand iterations at a time are read and merged. In memory are these, and an index that does not grow with the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from arbd.arrays import Array
from arbd.errors import CorruptionError
from arbd.results.batch_index import BatchIndex, Presence, Stretch
from arbd.results.block_places import NOWHERE
from arbd.results.columns import CODE_FORM, RowBatch, RowRules, concatenate
from arbd.results.precedence import Winners, winning
from arbd.results.segments import SegmentDamage, SegmentReader, read_stretch, worker_of
from arbd.results.winning_rows import with_results
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.spans import NO_COUNTS, Counts, Span
from arbd.values import dataclass

GROUP_ROWS = 65_536
# Of a group whose rows take more than `GROUP_BYTES` together, no more than these are in memory at once.
SLICE_ROWS = 16_384
GROUP_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MergedGroup:
    """Up to `GROUP_ROWS` rows sorted by iteration; `worker` holds indices into `Merge.workers`.

    `places`: in which of `Merge.segments`, and at which byte of it, the batch with the return blocks of each row stands;
    NOWHERE where it has none.
    """

    rows: RowBatch
    worker: Array
    places: tuple[Array, Array] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WinningRows:
    """What is known of some winning rows without their results, sorted by iteration.

    `status` and `code` (the digest of the code that made it, empty where it is not known) are those of the original
    where the row is a duplicate of one that `has_result`; `own_status`, `epoch` and the places in `segments` are its own.
    """

    iteration: Array
    status: Array
    code: Array
    has_result: Array
    own_status: Array
    epoch: Array
    segment: Array
    offset: Array
    segments: Sequence[str]

    def made_with(self, digests: Sequence[str]) -> Array:
        """Which of them have a result of this code."""
        return np.isin(self.code, np.array([digest.encode() for digest in digests], dtype=CODE_FORM))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some of a session's iterations, and how many of them have which status."""

    iterations: Presence
    counts: Counts

    def __len__(self) -> int:
        return self.iterations.count


class Merge:
    """The winning rows of a session; the rows are read when asked for.

    Only rows that keep the session's `rules` count. Everybody who asks for rows reads the segments once more.
    """

    def __init__(self, files: Files, paths: SessionPaths, rules: RowRules | None = None) -> None:
        self._files = files
        self._paths = paths
        self._rules = rules
        self._index = BatchIndex()
        self._present = Presence()
        self._row_bytes = self._block_bytes = 0
        self._counts: Counts | None = None
        # It goes on from here for those who follow the session.
        self.reader = SegmentReader(files, paths, blocks=True, rules=rules)
        names: dict[str, None] = {}
        rows = 0
        for found in self.reader.poll():
            names.update(dict.fromkeys(found.rows.metrics))
            self._index.add(found)
            self._present.add(found.rows.iteration)
            self._row_bytes = max(self._row_bytes, _row_bytes(found.rows))
            self._block_bytes = max(self._block_bytes, _block_bytes(found.rows))
            rows += len(found.rows)
        self.damage: list[SegmentDamage] = self.reader.damage
        self.metric_names = list(names)
        self.workers = sorted(set(map(worker_of, self._index.segments)))
        self.duplicates = rows - self._present.count

    def __len__(self) -> int:
        """Iterations that have a row."""
        return self._present.count

    def missing(self, n: int, epoch: int) -> list[Span]:
        """The iterations of 1 to n that no row stands for."""
        return self._present.missing(n, epoch)

    @property
    def counts(self) -> Counts:
        """Winning rows by status, in the ledger's order."""
        if self._counts is None:
            self._counts = self.choose(lambda rows: np.ones(len(rows.iteration), dtype=bool)).counts
        return self._counts

    @property
    def waiting(self) -> Array:
        """Iterations that duplicate one that has no row yet, which `groups` leaves out."""
        parts = [rows.iteration[~rows.has_result] for rows in self.winning_rows()]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def choose(self, which: Callable[[WinningRows], Array]) -> Chosen:
        """The iterations of those of which `which` says True."""
        iterations, counts = Presence(), np.zeros(4, dtype=np.int64)
        for rows in self.winning_rows():
            chosen = which(rows)
            iterations.add(rows.iteration[chosen])
            counts += np.bincount(rows.status[chosen], minlength=4)
        return Chosen(iterations, _counts(counts))

    def winners(self, n: int) -> Winners:
        """The same rows, for those who follow the session of `n` iterations from here."""
        found = Winners(n)
        numbers = np.array([found.index_of(segment) for segment in self._index.segments], dtype=np.int32)
        for rows in self.winning_rows():
            known = (rows.iteration >= 1) & (rows.iteration <= n)
            found.put(
                rows.iteration[known],
                numbers[rows.segment[known]],
                rows.offset[known],
                rows.epoch[known],
                rows.own_status[known],
            )
        return found

    def winning_rows(self) -> Iterator[WinningRows]:
        """All of them, some thousands at a time."""
        numbers = {segment: number for number, segment in enumerate(self._index.segments)}
        for first, last, count in self._present.portions(GROUP_ROWS):
            parts = self._between(first, last, count, whole=False)
            own, part = _sorted(parts)
            shown = self._with_originals(own, whole=False)
            yield WinningRows(
                own.iteration,
                shown.status,
                shown.codes,
                self._have_results(own),
                own.status,
                own.epoch,
                np.array([numbers[found.segment] for found in parts], dtype=np.int64)[part],
                np.array([found.offset for found in parts], dtype=np.int64)[part],
                self._index.segments,
            )

    @property
    def segments(self) -> Sequence[str]:
        """The segments that have rows."""
        return self._index.segments

    def groups(self, *, blocks: bool = True) -> Iterator[MergedGroup]:
        """All winning rows with everything they hold, sorted by iteration, in groups of bounded size.

        A duplicate holds the result of its original; while there is none it is left out. Without `blocks` the rows have
        none, and it is said where they stand.
        """
        counts = np.zeros(4, dtype=np.int64)
        row_bytes = self._row_bytes + (self._block_bytes if blocks else 0)
        for first, last, count in self._present.portions(GROUP_ROWS):
            fits = count * row_bytes <= GROUP_BYTES
            parts = self._between(first, last, count, whole=fits, blocks=blocks)
            ready = [_selected(part, self._have_results(part.rows)) for part in parts]
            counts += _by_status(parts) - _by_status(ready)
            ready = [part for part in ready if len(part.rows)]
            if not ready:
                continue
            for group in [self._group(ready, blocks=blocks)] if fits else self._slices(ready, blocks=blocks):
                counts += group.rows.counts()
                yield group
        self._counts = _counts(counts)

    def _slices(self, parts: list[_Part], *, blocks: bool) -> Iterator[MergedGroup]:
        """A group of which the rows are too large to be in memory at once; `parts` are without results."""
        rows, _ = _sorted(parts)
        originals = rows.origins[_duplicates(rows)]
        of_originals = (
            [part.shell for part in self._holding(np.unique(originals), whole=False, blocks=blocks)]
            if len(originals)
            else []
        )
        # What one row has all rows of the group have, if only as NaN, whichever slice they are in.
        like = [*(part.shell for part in parts), *of_originals]
        for start in range(0, len(rows), SLICE_ROWS):
            some = rows.iteration[start : start + SLICE_ROWS]
            yield self._group(self._holding(some, whole=True, blocks=blocks), like, of_originals, blocks=blocks)

    def _group(
        self,
        parts: list[_Part],
        like: Sequence[RowBatch] = (),
        originals_like: Sequence[RowBatch] = (),
        *,
        blocks: bool,
    ) -> MergedGroup:
        rows, part = _sorted(parts, like)
        numbers = {worker: number for number, worker in enumerate(self.workers)}
        worker = np.array([numbers[worker_of(found.segment)] for found in parts], dtype=np.int32)[part]
        places = None if blocks else self._places(parts, part)
        return MergedGroup(self._with_originals(rows, originals_like, whole=True, places=places), worker, places)

    def _places(self, parts: Sequence[_Part], part: Array) -> tuple[Array, Array]:
        """As of `MergedGroup.places`."""
        numbers = {segment: number for number, segment in enumerate(self.segments)}
        segment = np.array([numbers[found.segment] if found.n_blocks else NOWHERE for found in parts], dtype=np.int64)
        offset = np.array([found.offset if found.n_blocks else 0 for found in parts], dtype=np.int64)
        return segment[part], offset[part]

    def _have_results(self, rows: RowBatch) -> Array:
        origins = rows.origins
        return np.asarray((origins <= 0) | self._present.has(origins))

    def _with_originals(
        self,
        rows: RowBatch,
        like: Sequence[RowBatch] = (),
        *,
        whole: bool,
        places: tuple[Array, Array] | None = None,
    ) -> RowBatch:
        """`rows`, the duplicates among them whose originals have rows with what these hold; their blocks' `places` too."""
        duplicates = np.flatnonzero(_duplicates(rows) & self._have_results(rows))
        if not len(duplicates):
            return rows
        originals, inverse = np.unique(rows.origins[duplicates], return_inverse=True)
        parts = self._holding(originals, whole=whole, blocks=whole and places is None)
        found, part = _sorted(parts, like)
        if not whole:
            found = replace(found, code=found.codes)
        for into, of in zip(places or (), self._places(parts, part), strict=False):
            into[duplicates] = of[inverse]
        return with_results(rows, duplicates, found.select(inverse))

    def _between(self, first: int, last: int, count: int, *, whole: bool, blocks: bool = False) -> list[_Part]:
        """The `count` winning rows of iterations `first` to `last`."""

        def inside(iteration: Array) -> slice:
            return slice(*np.searchsorted(iteration, (first, last + 1)))

        return self._winning(self._index.between(first, last), inside, count, whole=whole, blocks=blocks)

    def _holding(self, iterations: Array, *, whole: bool, blocks: bool = False) -> list[_Part]:
        """The winning rows of sorted iterations, which have some."""

        def among(iteration: Array) -> Array:
            place = np.searchsorted(iterations, iteration)
            return np.asarray(iterations[np.minimum(place, len(iterations) - 1)] == iteration)

        return self._winning(self._index.holding(iterations), among, len(iterations), whole=whole, blocks=blocks)

    def _winning(
        self,
        stretches: Iterator[Stretch],
        which: Callable[[Array], slice | Array],
        count: int,
        *,
        whole: bool,
        blocks: bool,
    ) -> list[_Part]:
        parts: list[_Part] = []
        for stretch in stretches:
            place = stretch.segment, stretch.offset, stretch.end
            for found in read_stretch(self._files, self._paths, *place, self._rules, blocks=blocks):
                rows = found.rows if whole else replace(found.rows, params={}, metrics={}, blocks=None)
                rows = rows.select(which(rows.iteration))
                if len(rows):
                    shell = rows if whole else found.rows.select(_NONE)
                    parts.append(_Part(found.segment, found.offset, rows, shell, found.n_blocks))
        if sum(len(part.rows) for part in parts) == count:
            return parts
        columns = [(part.rows.iteration, part.rows.epoch, part.rows.status) for part in parts]
        iteration, epoch, status = map(np.concatenate, zip(*columns, strict=True))
        won = np.zeros(len(iteration), dtype=bool)
        won[winning(iteration, epoch, status)] = True
        if np.count_nonzero(won) != count:
            raise CorruptionError(
                self._paths.segments, 0, "rows that were read a moment ago are not there any more; read them once more"
            )
        ends = np.cumsum([len(part.rows) for part in parts])
        masks = np.split(won, ends[:-1])
        chosen = [_selected(part, mask) for part, mask in zip(parts, masks, strict=True)]
        return [part for part in chosen if len(part.rows)]


_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one batch; `shell` has the names and forms of all its columns, `n_blocks` are those in the file."""

    segment: str
    offset: int
    rows: RowBatch
    shell: RowBatch
    n_blocks: int = 0


def _selected(part: _Part, which: Array) -> _Part:
    return part if which.all() else replace(part, rows=part.rows.select(which))


def _sorted(parts: Sequence[_Part], like: Sequence[RowBatch] = ()) -> tuple[RowBatch, Array]:
    """All rows by iteration, and of which part each is; the names of columns in the order of the parts, or of `like`."""
    batches = [part.rows for part in parts]
    order = sorted(range(len(parts)), key=lambda number: int(batches[number].iteration[0]))
    follow = all(batches[a].iteration[-1] < batches[b].iteration[0] for a, b in itertools.pairwise(order))
    if not follow:
        order = list(range(len(parts)))
    rows = concatenate([batches[number] for number in order], like or [part.shell for part in parts])
    part = np.repeat(np.array(order, dtype=np.int64), [len(batches[number]) for number in order])
    if not follow:
        by_iteration = np.argsort(rows.iteration, kind="stable")
        rows, part = rows.select(by_iteration), part[by_iteration]
    # What is said of single rows stands in the order of the parts too.
    return replace(
        rows,
        errors={i: text for batch in batches for i, text in batch.errors.items()},
        reports={i: steps for batch in batches for i, steps in batch.reports.items()},
    ), part


def _duplicates(rows: RowBatch) -> Array:
    return np.asarray((rows.origins > 0) & (rows.origins != rows.iteration))


def _by_status(parts: Sequence[_Part]) -> Array:
    return np.asarray(np.sum([NO_COUNTS, *(part.rows.counts() for part in parts)], axis=0, dtype=np.int64))


def _counts(found: Array) -> Counts:
    completed, failed, timeout, crashed = found.tolist()
    return completed, failed, timeout, crashed


def _row_bytes(rows: RowBatch) -> int:
    """What a row takes in memory, without its texts and blocks."""
    return 64 + 8 * (len(rows.params) + len(rows.metrics))


def _block_bytes(rows: RowBatch) -> int:
    return 0 if rows.blocks is None or not len(rows) else rows.blocks[0].nbytes
