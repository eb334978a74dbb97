"""The best result of a session that goes on, read incrementally: what `arbctl watch` shows."""

from __future__ import annotations

import numpy as np

from arbd.analysis.source import open_results
from arbd.analysis.table import ResultTable
from arbd.job.spec import JobSpec
from arbd.results.columns import RowRules
from arbd.results.csv_writer import BUDGET, budgets
from arbd.results.precedence import Winners
from arbd.results.ranking import PlainColumns, Ranking
from arbd.results.segments import SegmentReader
from arbd.results.store_format import has_results
from arbd.search.plan import RUN, Limits
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import COMPLETED, LedgerState


class _Winning:
    """What decides, of the winning row of each iteration."""

    def __init__(self, spec: JobSpec) -> None:
        self._limits = Limits.of(spec)
        self._goals = spec.metrics
        self._winners = Winners(spec.n)
        # Zeros cost no memory where no row comes.
        n = spec.n + 1
        self._values = np.zeros(n)
        self._completed = np.zeros(n, dtype=bool)
        self._searched = spec.search_n
        self._violation = np.zeros(n) if self._limits.after else None
        self._budget = np.zeros(n) if spec.has_shares else None

    def read(self, reader: SegmentReader) -> bool:
        """Take in what is new; True when anything is."""
        news = False
        for found in reader.poll():
            news = True
            rows = found.rows.select(np.flatnonzero(self._winners.add(found).won))
            # A duplicate equals its original, which comes before it.
            self._completed[rows.iteration] = (rows.status == COMPLETED) & (rows.origins == RUN)
            self._values[rows.iteration] = rows.metrics.get(self._goals[0].name, np.nan)
            if self._violation is not None:
                self._violation[rows.iteration] = self._limits.violation(rows.params, rows.metrics, len(rows))
            if self._budget is not None:
                self._budget[rows.iteration] = budgets(rows.metrics[BUDGET]) if BUDGET in rows.metrics else 1.0
        return news

    def best(self) -> tuple[int, float] | None:
        """Iteration and value."""
        there = np.flatnonzero(self._completed[: self._searched + 1])
        metric, values = self._goals[0].name, self._values[there]
        columns = PlainColumns(
            np.ones(len(there), dtype=bool),
            None if self._violation is None else self._violation[there],
            None if self._budget is None else self._budget[there],
            {metric: values},
        )
        position = Ranking(self._goals, columns).best(metric)
        return None if position is None else (int(there[position]), float(values[position]))


class BestSoFar:
    """The best result by the first metric, by the rules of `arbd.results.ranking`.

    While a session goes on, of its segments; once it is done, of what every other command reads then. Of one that was
    extended since, beyond `n` iterations, another is made.
    """

    def __init__(self, files: Files, paths: SessionPaths, spec: JobSpec) -> None:
        self._files, self._paths, self._spec = files, paths, spec
        self._reader: SegmentReader | None = None
        self._winning: _Winning | None = None
        self._done_at: tuple[int, int] | None = None
        self.n = spec.n
        self.metric = spec.metrics[0].name
        self.value: float | None = None
        self.iteration = 0

    def look(self, state: LedgerState) -> None:
        """Read what is new."""
        if state.done and has_results(self._files, self._paths):
            if self._done_at != (state.epoch, state.n):
                self._of_results(state)
                self._done_at, self._reader, self._winning = (state.epoch, state.n), None, None
            return
        if self._reader is None or self._winning is None:
            self._reader = SegmentReader(self._files, self._paths, rules=RowRules.of(self._spec))
            self._winning = _Winning(self._spec)
            self._done_at = None
        try:
            if self._winning.read(self._reader):
                self._tell(self._winning.best())
        except BaseException:
            # Rows may have been read and not taken in.
            self._reader = None
            raise

    def _of_results(self, state: LedgerState) -> None:
        source = open_results(self._files, self._paths, RowRules.of(self._spec))
        table = ResultTable(self._paths.session_id, self._spec, state, source)
        position, values = table.ranking.best(self.metric), table.column(self.metric)
        if position is None or values is None:
            self._tell(None)
        else:
            self._tell((int(source.fixed("iteration")[position]), float(values[position])))

    def _tell(self, best: tuple[int, float] | None) -> None:
        self.iteration, self.value = best or (0, None)
