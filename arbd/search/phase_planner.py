"""Plans the phases of a session: the searches of its folds, each by itself, and what judges what they chose.

Keeps I5: every generation is a function of the job and of recorded results that its layout names, like those of a search.
Keeps the test data out of the search: the planner of a fold is told of the results of its own search, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from arbd.arrays import Ints
from arbd.search import ordering
from arbd.search.dimensions import BELOW_ONE
from arbd.search.generation import Generation
from arbd.search.generations import GenerationPlanner, schedule_of
from arbd.search.neighbourhood import near_of, same_parameters
from arbd.search.phases import SEARCHES, Layout, Phase, Stretch
from arbd.search.plan import RUN, SKIPPED, PlannedRows
from arbd.search.problem import SearchProblem
from arbd.search.pruning import Thresholds
from arbd.search.seeds import generator
from arbd.search.seen import keys_of
from arbd.search.space import Columns
from arbd.search.trial_history import TrialResults, renumbered

DRAWS = 64


class PhasedProblem(SearchProblem, Protocol):
    """A search that phases follow."""

    @property
    def layout(self) -> Layout:
        """Where everything stands."""

    def search(self, stretch: Stretch) -> SearchProblem:
        """The search that a stretch is, by itself: numbered from 1, with random numbers of its own."""
        ...


class PhasePlanner:
    """Computes generations of a session with phases: `GenerationPlanner` of each search, and of what follows them."""

    def __init__(self, spec: PhasedProblem, versions: Mapping[str, str]) -> None:
        self._spec = spec
        self._layout = spec.layout
        self._versions = dict(versions)
        self._planners: dict[Stretch, GenerationPlanner] = {}

    def warm_up(self) -> None:
        """Import what later generations need."""
        self._planner(self._layout.stretches[0]).warm_up()

    def _planner(self, stretch: Stretch) -> GenerationPlanner:
        assert stretch.phase in SEARCHES, stretch
        if stretch not in self._planners:
            self._planners[stretch] = GenerationPlanner(self._spec.search(stretch), self._versions)
        return self._planners[stretch]

    def learn(self, results: TrialResults) -> None:
        """Results of iterations, each told to the search that it is of; those of other phases decide nothing."""
        where = self._layout.indices(results.iterations)
        for index in np.unique(where).tolist():
            stretch = self._layout.stretches[index]
            if stretch.phase in SEARCHES:
                self._planner(stretch).learn(results.counted_from(stretch.first, where == index))

    def missing(self, number: int) -> list[int]:
        """Iterations whose results generation `number` needs and that are not known."""
        stretch, _ = self._layout.generation(number)
        up_to = self._layout.known_before(number)
        needed = [stretch] if stretch.phase in SEARCHES else [s for s in self._layout.stretches if s.last <= up_to]
        return [
            stretch.first - 1 + own
            for stretch in needed
            if stretch.phase in SEARCHES and up_to >= stretch.first
            for own in self._planner(stretch).trial_history.missing(min(up_to, stretch.last) - stretch.first + 1)
        ]

    def pending(self, number: int) -> range:
        """The generations before `number` that it is to know, though not their results."""
        return self._layout.pending(number)

    def generation(self, number: int, pending: Sequence[Generation]) -> Generation:
        """Generation `number`; `pending` are those of the method of this name, in order."""
        stretch, own = self._layout.generation(number)
        first = self._layout.last_of(number - 1) + 1
        count = self._layout.last_of(number) - first + 1
        thresholds = Thresholds.none()
        if stretch.phase in SEARCHES:
            rows, thresholds = self._searched(stretch, own, pending, count)
        elif stretch.phase is Phase.NEIGHBOUR:
            rows = self._neighbours(stretch, first - stretch.first, count)
        else:
            start = first - stretch.first
            rows = self._filled(self._finalists(stretch).select(slice(start, start + count)), count)
        return Generation(number, first, rows, "", self._versions, schedule_of(self._spec), thresholds)

    def _searched(
        self, stretch: Stretch, own: int, pending: Sequence[Generation], count: int
    ) -> tuple[PlannedRows, Thresholds]:
        shift, planner = stretch.first - 1, self._planner(stretch)
        before = [
            Generation(number, each.first - shift, replace(each.rows, origin=renumbered(each.rows.origin, -shift)))
            for number, each in zip(planner.pending(own), pending, strict=True)
        ]
        found = planner.generation(own, before)
        # A search that ends early leaves the rest of its iterations to nobody: those behind it keep their numbers.
        rows = self._filled(found.rows, count)
        return replace(rows, origin=renumbered(rows.origin, shift)), found.thresholds

    def _ranked(self, fold: int) -> tuple[PlannedRows, Ints]:
        """What a fold's search ran, and the positions of what can be its best, the best first."""
        stretch = self._layout.find(Phase.SEARCH, fold)
        assert stretch is not None, fold
        history = self._planner(stretch).trial_history
        rows = history.rows(stretch.count)
        losses, violation = history.results(stretch.count)
        losses[rows.origin != RUN] = np.nan
        budget = rows.budget if self._spec.has_shares else None
        one = losses[:, 0]
        order = ordering.best_first(one, violation, budget)
        return rows, order[ordering.comparable(one, violation, budget)[order]]

    def _finalists(self, stretch: Stretch) -> PlannedRows:
        """The first distinct parameter sets of the ranking, as many as there are and are asked for."""
        rows, order = self._ranked(stretch.fold if stretch.phase is Phase.TEST else 0)
        chosen: list[int] = []
        known: set[bytes] = set()
        for position in order.tolist():
            one = {name: column[position : position + 1] for name, column in rows.columns.items()}
            key = keys_of(one, np.ones(1))[0]
            if key not in known:
                known.add(key)
                chosen.append(position)
            if len(chosen) == stretch.count:
                break
        return self._whole(rows.select(np.array(chosen, dtype=np.int64)))

    def _neighbours(self, stretch: Stretch, start: int, count: int) -> PlannedRows:
        """Sets around the winner, those that may run; none where there is no winner."""
        rows, order = self._ranked(0)
        if not len(order):
            return self._filled(rows.select(slice(0, 0)), count)
        planner = self._planner(self._layout.stretches[0])
        view, limits = planner.trial_history.view, planner.trial_history.limits
        winner = rows.select(order[:1])
        point = view.to_unit(winner.columns)[0]
        dimensions = view.seen.dimensions
        near = np.array([near_of(dimension) for dimension in dimensions])
        wanted = stretch.count
        # A generator of its own, far from those of generations.
        draws = generator(self._spec.seed, -(1 << 40)).uniform(-1, 1, (DRAWS * wanted, len(dimensions)))
        columns = view.from_unit(np.clip(point + near * draws, 0.0, BELOW_ONE))
        other = np.zeros(DRAWS * wanted, dtype=bool)
        for name, column in columns.items():
            other |= column != winner.columns[name][0]
        # A set with other parameters is no neighbour.
        other &= same_parameters(self._spec.space, columns, winner.columns)
        chosen = np.flatnonzero(other & limits.may_run(columns, len(other)))[:wanted][start : start + count]
        found = {name: column[chosen] for name, column in columns.items()}
        return self._filled(self._whole(PlannedRows(found, np.zeros(len(chosen), dtype=np.int64))), count)

    def _whole(self, rows: PlannedRows) -> PlannedRows:
        """The same sets, run with all of the data."""
        n = len(rows)
        return PlannedRows(rows.columns, np.zeros(n, dtype=np.int64), np.ones(n) if self._spec.has_shares else None)

    def _filled(self, rows: PlannedRows, count: int) -> PlannedRows:
        """`rows`, and behind them as many that are not run as are missing."""
        rest = count - len(rows)
        if not rest:
            return rows
        space = self._spec.space
        filler: Columns = space.from_unit(np.zeros((rest, len(space.dimensions))))
        columns = {name: np.concatenate([rows.columns[name], column]) for name, column in filler.items()}
        origin = np.concatenate([rows.origin, np.full(rest, SKIPPED, dtype=np.int64)])
        shares = rows.budget if rows.budget is not None else np.ones(len(rows))
        return PlannedRows(columns, origin, np.concatenate([shares, np.ones(rest)]) if self._spec.has_shares else None)
