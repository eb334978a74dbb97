"""What the phases of a session found: its winner out of sample, under stress, among its neighbours, and against luck."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from arbd.analysis.paths import edges_of, path_mean
from arbd.analysis.some_rows import SomeRows
from arbd.analysis.steps import grid_steps
from arbd.analysis.table import ResultTable
from arbd.arrays import Array, Ints
from arbd.errors import NotComputableError
from arbd.job.validation import FoldWindows
from arbd.paper.metrics import block_counts
from arbd.results.column_bytes import block_numbers
from arbd.results.ranking import Ranking
from arbd.search.neighbourhood import near_of
from arbd.search.phases import Phase, Stretch
from arbd.validation.claim import Beyond
from arbd.validation.out_of_sample import OutOfSample, block_sharpe, null_p, out_of_sample, rank_correlation
from arbd.validation.robustness import Plateau, plateau
from arbd.values import dataclass

NOT_ASKED = "the job asks for no such validation"
NOT_RUN = "it has not run yet"


def return_blocks(table: ResultTable) -> Array | None:
    """The return blocks of all rows, (n, n_blocks, 2), NaN behind those of rows with fewer; None where no row has any."""
    groups = [(len(group.rows), group.rows.blocks) for group in table.source.groups(blocks=True)]
    n_blocks = max((blocks.shape[1] for _, blocks in groups if blocks is not None), default=0)
    if not n_blocks:
        return None
    found = np.full((sum(n for n, _ in groups), n_blocks, 2), np.nan)
    start = 0
    for n, blocks in groups:
        if blocks is not None:
            found[start : start + n, : blocks.shape[1]] = blocks
        start += n
    return found


def finite_blocks(blocks: Array, n_blocks: int) -> Array:
    """Which rows of (n, most_blocks, 2) have so many return blocks, all of them finite."""
    return np.asarray((block_numbers(blocks) == n_blocks) & np.isfinite(blocks[:, :n_blocks]).all(axis=(1, 2)))


@dataclass(frozen=True)
class PhaseResults:
    """The rows of a table that are not of its own search, by what they are for; `metric` is what the winner won by."""

    table: ResultTable
    metric: str

    @cached_property
    def _iterations(self) -> Ints:
        return np.asarray(self.table.source.fixed("iteration"), dtype=np.int64)

    @cached_property
    def _blocks(self) -> Array | None:
        return return_blocks(self.table)

    @cached_property
    def score(self) -> Array:
        """The metric of all rows, higher for better, NaN where there is none."""
        values = self.table.column(self.metric)
        if values is None:
            return np.full(len(self.table), np.nan)
        sign = -1.0 if self.table.ranking.ascending(self.metric) else 1.0
        return np.where(self.table.completed, sign * values, np.nan)

    def stretches(self, phase: Phase) -> list[Stretch]:
        """Those of a phase."""
        return [stretch for stretch in self.table.spec.layout.stretches if stretch.phase is phase]

    def rows(self, stretch: Stretch) -> Ints:
        """Positions of the rows of a stretch that are there."""
        first, last = np.searchsorted(self._iterations, [stretch.first, stretch.last + 1]).tolist()
        return np.arange(first, last)

    def ranked(self, stretch: Stretch) -> Ints:
        """Positions of a stretch's results that can be its best, the best first."""
        mask = np.zeros(len(self.table), dtype=bool)
        mask[self.rows(stretch)] = True
        ranking = Ranking(self.table.spec.metrics, SomeRows(self.table, mask))
        order = np.array(ranking.order(self.metric), dtype=np.int64)
        return order[ranking.comparable(self.metric)[order]] if len(order) else order

    def is_complete(self, stretch: Stretch) -> bool:
        """True when every row of a stretch is there."""
        return len(self.rows(stretch)) == stretch.count

    def returns(self, position: int, steps: int | None = None) -> Array:
        """A row's sums of returns in blocks of time, without blocks that are no time at all where that is known.

        NotComputableError where it has none.
        """
        blocks = self._finite(position)
        if blocks is None:
            raise NotComputableError(f"iteration {self._iterations[position]} has no return blocks")
        sums: Array = blocks[:, 0]
        return sums if steps is None else sums[block_counts(steps, len(sums)) > 0]

    def _finite(self, position: int) -> Array | None:
        """A row's return blocks; None where it has none, or ones that are not finite."""
        if self._blocks is None:
            return None
        own = self._blocks[[position]]
        n_blocks = int(block_numbers(own)[0])
        return own[0, :n_blocks] if n_blocks and finite_blocks(own, n_blocks)[0] else None

    @cached_property
    def tests(self) -> list[tuple[Stretch, Ints]]:
        """The finalists of each fold that was tested, in the order of their ranking."""
        return [(stretch, self.rows(stretch)) for stretch in self.stretches(Phase.TEST) if self.is_complete(stretch)]

    def steps_of(self, rows: Ints) -> int | None:
        """Grid steps of a window, as far as any row of it tells."""
        for position in rows.tolist():
            blocks = self._finite(position)
            if blocks is not None and self.table.completed[position]:
                found, _, _ = grid_steps(self.table, position, blocks[:, 0], blocks[:, 1])
                if found is not None:
                    return found
        return None

    def test(self) -> OutOfSample:
        """The stitched test of the folds' winners. NotComputableError where there is none."""
        if not self.stretches(Phase.TEST):
            raise NotComputableError(NOT_ASKED)
        if len(self.tests) < len(self.stretches(Phase.TEST)):
            raise NotComputableError(self._not_run)
        parts = []
        for (stretch, rows), winner in zip(self.tests, self._winners, strict=True):
            if not self.table.completed[winner]:
                raise NotComputableError(f"the winner of fold {stretch.fold} has no result on its test window")
            parts.append(self.returns(winner, self.steps_of(rows)))
        validation = self.table.spec.validation
        if validation is None or validation.scheme != "cpcv":
            return out_of_sample(parts)
        # Every group of time is tested by several folds, which are no more evidence than one: they are averaged.
        found = out_of_sample([path_mean(parts, validation.folds[1:])])
        return replace(found, folds=len(parts), folds_won=sum(1 for part in parts if part.sum() > 0))

    @cached_property
    def _winners(self) -> list[int]:
        """The row of each tested fold's winner on its test window. NotComputableError where it is not among those run."""
        return [self._row_of_winner(stretch) for stretch, _ in self.tests]

    def _row_of_winner(self, stretch: Stretch) -> int:
        """The row in which a stretch runs the winner of its search, by the metric that is asked about."""
        search = self._search_of(stretch)
        ranked = self.ranked(search)
        if not len(ranked):
            raise NotComputableError(f"the search of fold {search.fold} has no winner")
        key = self._key(int(ranked[0]))
        for row in self.rows(stretch).tolist():
            if self._key(row) == key:
                return int(row)
        raise NotComputableError(
            f"the winner by {self.metric} of fold {search.fold} is not among its finalists, which were the best by "
            f"{self.table.spec.metrics[0].name} when they were chosen"
        )

    def _search_of(self, stretch: Stretch) -> Stretch:
        search = self.table.spec.layout.find(Phase.SEARCH, stretch.fold if stretch.phase is Phase.TEST else 0)
        assert search is not None, stretch
        return search

    @property
    def _not_run(self) -> str:
        return "the session ended before it ran" if self.table.state.over else NOT_RUN

    def null(self, winner: int) -> tuple[int, float]:
        """How many null searches there are, and the p of the winner's Sharpe ratio among those of theirs."""
        found = self.stretches(Phase.NULL)
        if not found:
            raise NotComputableError(NOT_ASKED)
        complete = [stretch for stretch in found if self.is_complete(stretch)]
        if len(complete) < len(found):
            raise NotComputableError(self._not_run)
        own = self._studentised(np.array([winner]))
        if math.isnan(own):
            raise NotComputableError("the winner's returns have no spread: there is no Sharpe ratio to compare")
        scores = [self._studentised(self.ranked(stretch)) for stretch in complete]
        return len(scores), null_p(own, scores)

    def _studentised(self, ranked: Ints) -> float:
        """What the best earned in units of its own deviation: luck is larger where a market wanders wider."""
        found = block_sharpe(self.returns(int(ranked[0]))) if len(ranked) else None
        return math.nan if found is None else found

    def finalists(self, stretch: Stretch) -> list[int]:
        """Positions, in the search, of the sets that a stretch runs, in its order; those of them that were run."""
        # Of equal sets the first: it was run.
        by_params = {self._key(at): at for at in self.rows(self._search_of(stretch))[::-1].tolist()}
        origin = self.table.source.origin()
        rows = self.rows(stretch)
        ran = rows if origin is None else rows[origin[rows] >= 0]
        return [by_params[self._key(row)] for row in ran.tolist()]

    def earned(self, rows: Ints) -> Array:
        """What rows earned: the sum of their returns, or without returns their score; NaN where they failed."""
        own = {row: self._finite(row) for row in rows.tolist() if self.table.completed[row]}
        sums = [self.score[row] if (blocks := own.get(row)) is None else blocks[:, 0].sum() for row in rows.tolist()]
        return np.array(sums, dtype=np.float64)

    @property
    def tells_earned(self) -> bool:
        """False where 0 is no line between good and bad: less of the metric is better, and there are no returns."""
        return self._sign > 0 or self._blocks is not None

    def keeps_constraints(self, rows: Ints) -> Array:
        """Which rows break no constraint that speaks of metrics."""
        violation = self.table.violation
        return np.ones(len(rows), dtype=bool) if violation is None else np.asarray(violation[rows] <= 0)

    def neighbours(self, winner: int) -> Plateau:
        """What the sets around the winner score. NotComputableError where none were run."""
        found = self.stretches(Phase.NEIGHBOUR)
        if not found:
            raise NotComputableError(NOT_ASKED)
        if not self.is_complete(found[0]):
            raise NotComputableError(self._not_run)
        rows = self.rows(found[0])
        origin = self.table.source.origin()
        ran = rows if origin is None else rows[origin[rows] >= 0]
        space = self.table.spec.space
        points = space.to_unit({name: column[np.append(ran, winner)] for name, column in self._params.items()})
        reach = np.array(list(map(near_of, space.dimensions)))
        # Rounding to a step may lead half a step beyond.
        if (np.abs(points[:-1] - points[-1]) > 1.5 * reach + 1e-9).any():
            raise NotComputableError(
                "the sets that were run are around another winner: it was the best when they were chosen"
            )
        return plateau(float(self.score[winner]), self.score[ran])

    def stress(self, winner: int) -> list[dict[str, Any]]:
        """One line for each condition: what the winner came to under it, and how many finalists still earn."""
        validation = self.table.spec.validation
        lines: list[dict[str, Any]] = []
        for stretch in self.stretches(Phase.STRESS):
            rows = self.rows(stretch)
            if validation is None or not self.is_complete(stretch):
                continue
            stress = validation.stresses[stretch.fold - 1]
            scores = self.score[rows]
            own, key = float(self.score[winner]), self._key(winner)
            value = next((float(self.score[row]) for row in rows.tolist() if self._key(row) == key), math.nan)
            lines.append(
                {
                    "name": stress.name,
                    "changes": [str(change) for change in stress.changes],
                    "best": _metric(self._sign * value),
                    "kept": value / own if own > 0 and math.isfinite(value) else None,
                    "finalists": int(np.isfinite(scores).sum()),
                    # Of what is to be small, 0 is no line between good and bad.
                    "above_zero": None if self._sign < 0 else int((scores > 0).sum()),
                    "break_constraints": self._breaking(rows),
                }
            )
        return lines

    def _breaking(self, rows: Ints) -> int | None:
        """How many of some rows have a result that breaks a constraint; None where the job has none."""
        if self.table.violation is None:
            return None
        return int((self.table.completed[rows] & ~self.keeps_constraints(rows)).sum())

    @property
    def _sign(self) -> float:
        return -1.0 if self.table.ranking.ascending(self.metric) else 1.0

    def beyond(self, winner: int, test_share: float, missing: dict[str, str]) -> Beyond:
        """What the verdict is to know; why something is not there goes into `missing`."""
        validation = self.table.spec.validation
        test, p_null = None, None
        try:
            _, p_null = self.null(winner)
        except NotComputableError as error:
            missing["null_searches"] = str(error)
        try:
            test = self.test()
            if test.no_p:
                missing["out_of_sample.p"] = test.no_p
        except NotComputableError as error:
            missing["out_of_sample"] = str(error)
        if not self.stretches(Phase.STRESS):
            missing["stress"] = NOT_ASKED
        elif not self.stress(winner):
            missing["stress"] = self._not_run
        scheme = validation.scheme if validation is not None else ""
        return Beyond(scheme, test, missing.get("out_of_sample", ""), test_share, p_null)

    def out_of_sample_document(self, found: OutOfSample | None, per_year: float) -> dict[str, Any] | None:
        """For `--json`: the stitched test, and how what was good in sample did out of it.

        Without returns the test is what the metric says of it; None where nothing was tested.
        """
        validation = self.table.spec.validation
        if validation is None or not self.tests or len(self.tests) < len(self.stretches(Phase.TEST)):
            return None
        try:
            winners = np.array(self._winners, dtype=np.int64)
        except NotComputableError:
            return None
        values = self._sign * self.score[winners]
        return {
            "scheme": validation.scheme,
            "folds": len(winners),
            "folds_won": None if found is None else found.folds_won,
            "share_won": None if found is None else found.folds_won / found.folds,
            "t": None if found is None else found.t,
            "sharpe": None if found is None or found.sharpe is None else found.sharpe * per_year,
            "p": None if found is None else found.p,
            "total_return": None if found is None else found.total,
            "pnl": self._pnl(winners),
            "metric": _metric(float(values.sum()) / self._paths),
            "blocks": None if found is None else found.blocks,
            "windows": [_windows(validation.folds[stretch.fold], stretch.fold) for stretch, _ in self.tests],
            "degradation": self._degradation(),
            "drift": self._drift(),
        }

    def _pnl(self, rows: Ints) -> float | None:
        pnl = self.table.column("pnl")
        return None if pnl is None else _metric(float(pnl[rows].sum()) / self._paths)

    @property
    def _paths(self) -> float:
        """How often every time is tested: what all folds' winners came to is so many times what one history did."""
        validation = self.table.spec.validation
        if validation is None or validation.scheme != "cpcv":
            return 1.0
        edges = edges_of(validation.folds[1:])
        tested = sum(end - start for fold in validation.folds[1:] for start, end in fold.test[0])
        return tested / (edges[-1] - edges[0])

    def _degradation(self) -> dict[str, Any]:
        """In sample against out of sample, finalist by finalist."""
        pairs: list[tuple[int, int, float, float]] = []
        for stretch, rows in self.tests:
            for row, source in zip(rows.tolist(), self.finalists(stretch), strict=False):
                pairs.append((stretch.fold, int(self._iterations[source]), self.score[source], self.score[row]))
        correlation, why = None, ""
        try:
            correlation = rank_correlation([pair[2] for pair in pairs], [pair[3] for pair in pairs])
        except NotComputableError as error:
            why = str(error)
        sign = self._sign
        return {
            "rank_correlation": correlation,
            "reason": why,
            "finalists": [
                {"fold": fold, "iteration": at, "in_sample": _metric(sign * a), "out_of_sample": _metric(sign * b)}
                for fold, at, a, b in pairs
            ],
        }

    @cached_property
    def _params(self) -> Mapping[str, Array]:
        return {name: self.table.source.param(name) for name in self.table.spec.space.names}

    def _key(self, position: int) -> tuple[Any, ...]:
        return tuple(column[position].item() for column in self._params.values())

    def _drift(self) -> dict[str, float] | None:
        """How far the folds' winners are from one another: each parameter's deviation, as a share of its range."""
        if len(self.tests) < 2:
            return None
        winners = np.array(self._winners, dtype=np.int64)
        space = self.table.spec.space
        points = space.to_unit({name: column[winners] for name, column in self._params.items()})
        return dict(zip(space.names, points.std(axis=0, ddof=1).tolist(), strict=True))


def _metric(value: float) -> float | None:
    return None if math.isnan(value) else value


def _windows(fold: FoldWindows, number: int) -> dict[str, Any]:
    """What a fold's search saw of each market, and what its winner was tested on: nanoseconds UTC, ends not included."""
    plain = {"train": fold.train, "test": fold.test}
    return {"fold": number, **{name: [list(map(list, market)) for market in told] for name, told in plain.items()}}
