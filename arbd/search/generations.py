"""Generations: the iterations of a search that learns, suggested together from the results of earlier ones.

Keeps I5: a generation is a function of the job and of the results of all generations but some just before it
(`arbd.search.schedule`).
So nobody waits for the last results to come in, any worker can compute it, and all get the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from arbd.arrays import Floats
from arbd.search.dimensions import BELOW_ONE
from arbd.search.generation import Generation
from arbd.search.history import History
from arbd.search.plan import INFEASIBLE, RUN, NonAdaptivePlan, PlannedRows, enqueued_rows, join
from arbd.search.problem import SearchProblem
from arbd.search.sampler import AdaptiveSampler, Sampler
from arbd.search.samplers import METHODS, adaptive, make_adaptive
from arbd.search.schedule import DEFAULT_SLOTS, Schedule
from arbd.search.seeds import generator
from arbd.search.seen import SeenPoints, keys_of
from arbd.search.space import Columns, SearchSpace, Unit
from arbd.search.start_points import EvenSampler, Viewed
from arbd.search.trial_history import TrialHistory, TrialResults
from arbd.search.unit_view import UnitView

DRAWS = 2_000


def default_schedule(method: str, n: int, slots: int = DEFAULT_SLOTS) -> Schedule:
    """What a search by so many slots gets when a job does not say, as the method declares."""
    return METHODS.get(method).generation.schedule(n, slots)


def schedule_of(spec: SearchProblem) -> Schedule:
    """That of a resolved job whose iterations come in generations."""
    return Schedule(spec.generation_size, spec.generation_lag)


class GenerationPlanner:
    """Computes generations of a session. Remembers what its sampler remembers, which changes no answer."""

    def __init__(self, spec: SearchProblem, versions: Mapping[str, str]) -> None:
        self.spec = spec
        self.schedule = schedule_of(spec)
        self.trial_history = TrialHistory(spec)
        self._view = self.trial_history.view
        self._versions = dict(versions)
        self._guide: AdaptiveSampler | None = None
        self._threads: ThreadpoolController | None = None
        self.seen = SeenPoints()
        self._plan = NonAdaptivePlan(spec) if adaptive(spec.method) is None else None

    def learn(self, results: TrialResults) -> None:
        """See `TrialHistory.learn`."""
        self.trial_history.learn(results)

    def missing(self, number: int) -> list[int]:
        """Iterations whose results generation `number` needs and that are not known."""
        return self.trial_history.missing(self.schedule.known_before(number))

    def pending(self, number: int) -> range:
        """The generations before `number` whose results it does not depend on."""
        return self.schedule.pending(number)

    def warm_up(self) -> None:
        """Import what later generations need."""
        if self._plan is None and self._guide is None:
            self._guide = make_adaptive(_with_space(self.spec, self._view.seen))
            self._threads = ThreadpoolController()

    def generation(self, number: int, pending: Sequence[Generation]) -> Generation:
        """Generation `number`, whose results up to `Schedule.known_before` are known.

        `pending` are those of `Schedule.pending`, in order: suggested, and not known yet.
        """
        spec = self.spec
        first = (number - 1) * spec.generation_size + 1
        count = min(spec.generation_size, spec.n - first + 1)
        up_to = self.schedule.known_before(number)
        stop = self.trial_history.stop_reason(up_to)
        if stop:
            nothing = self._start(1, 1).select(slice(0, 0))
            return Generation(number, first, nothing, stop, self._versions, self.schedule)
        if self._plan is not None:
            rows = self._plan.rows(first, count)
        else:
            assert [generation.number for generation in pending] == list(self.schedule.pending(number)), number
            rows = self._suggested(number, first, count, up_to, join([g.rows for g in pending]) if pending else None)
        thresholds = self.trial_history.thresholds(up_to)
        return Generation(number, first, rows, "", self._versions, self.schedule, thresholds)

    def points(self, first: int, count: int, up_to: int, pending: PlannedRows | None) -> PlannedRows:
        """`count` points that come after the results 1 to `up_to`, numbered from `first`, while `pending` are evaluated."""
        return self._suggested(first, first, count, up_to, pending)

    def _suggested(self, number: int, first: int, count: int, up_to: int, pending: PlannedRows | None) -> PlannedRows:
        spec = self.spec
        earlier = len(spec.enqueue)
        queued = spec.enqueue[first - 1 : first - 1 + count] if first <= earlier else ()
        parts: list[PlannedRows] = []
        if queued:
            columns = enqueued_rows(spec.space, queued, self._space_filling(), first)
            parts.append(PlannedRows(columns, np.zeros(len(queued), dtype=np.int64), self._first_budget(len(queued))))
        wanted = count - len(queued)
        if wanted:
            if self._suggests(first):
                parts.append(self._adaptive(number, wanted, self.trial_history.history(up_to, pending)))
            else:
                parts.append(self._start(first + len(queued), wanted))
        rows = parts[0] if len(parts) == 1 else _joined(parts)
        return self._settled(number, first, rows, up_to, pending, len(queued))

    def _suggests(self, first: int) -> bool:
        """True when the method has something to go by: results, and enough of them, or points of its own to start with."""
        start = method_start(self.spec)
        from_elsewhere = self.spec.past is not None and len(self.spec.past.points) > 0
        return start is None or from_elsewhere or first > self._first_of_method(start)

    def _first_of_method(self, start: int) -> int:
        """How many iterations fill the space evenly: whole generations, and a quarter of a short search at most."""
        size = self.schedule.size
        return max(self.schedule.reach, -(-min(start, self.spec.n // 4) // size) * size)

    def _adaptive(self, number: int, count: int, history: History) -> PlannedRows:
        self.warm_up()
        assert self._guide is not None and self._threads is not None
        # Several threads add up in another order than one, and the processors belong to the slots.
        with self._threads.limit(limits=1, user_api="blas"):
            proposal = self._guide.suggest(number, count, history, self._allowed)
        columns = self._view.from_unit(np.clip(proposal.points, 0.0, BELOW_ONE))
        return PlannedRows(columns, np.zeros(count, dtype=np.int64), proposal.budget)

    def _allowed(self, points: Unit) -> npt.NDArray[np.bool_]:
        limits = self.trial_history.limits
        if not limits.before:
            return np.ones(len(points), dtype=bool)
        return limits.may_run(self._view.from_unit(np.clip(points, 0.0, BELOW_ONE)), len(points))

    def _space_filling(self) -> Sampler:
        """The points of the generations that know nothing: together they fill the space evenly.

        They have a value for every parameter, whether it exists there or not.
        """
        spec, view = self.spec, self._view
        n = min(spec.n, self._first_of_method(method_start(spec) or 0))
        if spec.space.conditions:
            view = UnitView.of(spec.space.unconditional)
        return Viewed(EvenSampler(view.seen, spec.seed, n), view)

    def _start(self, first: int, count: int) -> PlannedRows:
        columns = self.spec.space.settled(self._space_filling().rows(first, count))
        return PlannedRows(columns, np.zeros(count, dtype=np.int64), self._first_budget(count))

    def _first_budget(self, count: int) -> Floats | None:
        return np.full(count, self.spec.budgets[0]) if self.spec.budgets else None

    def _settled(
        self, number: int, first: int, rows: PlannedRows, up_to: int, pending: PlannedRows | None, queued: int
    ) -> PlannedRows:
        """What need not or may not run is marked, after another point was looked for in its place."""
        seen = self.seen
        seen.begin(self.trial_history.rows(up_to), up_to)
        if pending is not None:
            seen.plan(pending, up_to + 1)
        columns = {name: column.copy() for name, column in rows.columns.items()}
        origin = rows.origin.copy()
        rng = generator(self.spec.seed, -number)
        budget, lowest = rows.budget, self._first_budget(1)
        for row in range(len(rows)):
            here = partial(_key, budget=1.0 if budget is None else float(budget[row]))
            source = seen.of(here(columns, row))
            allowed = self.trial_history.limits.may_run(_row(columns, row), 1)[0]
            promoted = lowest is not None and budget is not None and budget[row] > lowest[0]
            if row >= queued and not promoted and (source or not allowed):
                other = self._other(rng, 1.0 if budget is None else float(budget[row]), seen, any_point=not allowed)
                if other is not None:
                    for name, value in other.items():
                        columns[name][row] = value[0]
                    source, allowed = seen.of(here(columns, row)), True
            origin[row] = source or RUN if allowed else INFEASIBLE
            if not source:
                seen.put(here(columns, row), first + row)
        return PlannedRows(columns, origin, budget)

    def _other(self, rng: np.random.Generator, budget: float, seen: SeenPoints, *, any_point: bool) -> Columns | None:
        """A point that may run and did not stand before; with `any_point`, else one that may run."""
        space, view = self.spec.space, self._view
        if space.size is None and not any_point:
            return None
        drawn = view.from_unit(rng.random((DRAWS, len(space.dimensions))))
        allowed = np.flatnonzero(self.trial_history.limits.may_run(drawn, DRAWS))
        keys = keys_of(drawn, np.full(DRAWS, budget))
        for position in allowed.tolist():
            if not seen.of(keys[position]):
                return _row(drawn, position)
        return _row(drawn, int(allowed[0])) if any_point and len(allowed) else None


def method_start(spec: SearchProblem) -> int | None:
    """See `AdaptiveMethod.start`."""
    found = adaptive(spec.method)
    return found.start if found is not None else 0


def _with_space(spec: SearchProblem, space: SearchSpace) -> SearchProblem:
    # Whatever is a problem here is a dataclass; the protocol cannot say so.
    found: SearchProblem = replace(cast("Any", spec), space=space)
    return found


def _key(columns: Columns, row: int, budget: float) -> bytes:
    return keys_of(_row(columns, row), np.array([budget]))[0]


def _row(columns: Columns, row: int) -> Columns:
    return {name: column[row : row + 1] for name, column in columns.items()}


def _joined(parts: Sequence[PlannedRows]) -> PlannedRows:
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    budgets = [part.budget if part.budget is not None else np.ones(len(part)) for part in parts]
    has_budget = any(part.budget is not None for part in parts)
    origin = np.concatenate([part.origin for part in parts])
    return PlannedRows(columns, origin, np.concatenate(budgets) if has_budget else None)
