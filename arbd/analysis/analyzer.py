"""Summaries and rankings over results in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from arbd.errors import UsageError
from arbd.registry import hint
from arbd.results.result import TuningResult

if TYPE_CHECKING:
    from arbd.results.ranking import Ranking
    from arbd.search.problem import MetricGoal
    from arbd.search.space import Value


class TuningAnalyzer:
    """Looks at results of one or several sessions, in whatever order they come.

    They rank as everywhere (`arbd.results.ranking`): by the directions and constraints of their job, which results of
    `load_session` and `load_results_from_csv` carry.
    """

    def __init__(self, results: Iterable[TuningResult]) -> None:
        self.results = list(results)

    def summarize(self) -> dict[str, Any]:
        """Counts and sorted names.

        Keys: total_iterations, total_workers, unique_sessions, metrics_keys, param_keys, workers, sessions, and
        statuses (iterations by status).
        """
        workers = sorted({result.worker_id for result in self.results})
        sessions = sorted({result.session_id for result in self.results})
        statuses: dict[str, int] = {}
        for result in self.results:
            statuses[result.status] = statuses.get(result.status, 0) + 1
        return {
            "total_iterations": len(self.results),
            "total_workers": len(workers),
            "unique_sessions": len(sessions),
            "metrics_keys": sorted({name for result in self.results for name in result.metrics}),
            "param_keys": sorted({name for result in self.results for name in result.params}),
            "workers": workers,
            "sessions": sessions,
            "statuses": dict(sorted(statuses.items())),
        }

    def rank_by_metric(self, metric_name: str, top_n: int = 5, ascending: bool | None = None) -> list[TuningResult]:
        """The `top_n` completed results by a metric, best first.

        `ascending` says whether the lowest is best; left out, it is as the job means it, and the highest for a metric
        that is no objective of it. What breaks a constraint comes after the rest, what has no number last, those of a
        larger budget before those of a smaller one; equals keep the order of their iterations.
        UsageError when no result has the metric, or the jobs of the results mean opposite directions.
        """
        if not self.results:
            return []
        ranking, columns = self._ranking(metric_name, ascending)
        self._check_metric(metric_name)
        return [columns[position] for position in ranking.order(metric_name, max(0, top_n), ascending)]

    def get_best_params(self, metric_name: str, ascending: bool | None = None) -> dict[str, Value] | None:
        """The parameters of the best result by a metric; None when there is none that keeps every constraint.

        `ascending` and UsageError as of `rank_by_metric`.
        """
        if not any(result.status == "completed" for result in self.results):
            return None
        ranking, columns = self._ranking(metric_name, ascending)
        self._check_metric(metric_name)
        best = ranking.best(metric_name, ascending)
        return None if best is None else dict(columns[best].params)

    def pareto_front(self) -> list[TuningResult]:
        """The results that no other one dominates in the objectives of their job, by the first of them.

        Of equal results all are in it. UsageError when the results are of jobs with other objectives than each other,
        or do not say what their objectives are.
        """
        if not self.results:
            return []
        objectives = {tuple(result.directions.items()) for result in self.results}
        if len(objectives) > 1 or not next(iter(objectives)):
            raise UsageError("these results have no common objectives: take those of one session")
        ranking, columns = self._ranking("", ascending=None)
        return [columns[position] for position in ranking.front_order()]

    def objectives(self) -> tuple[MetricGoal, ...]:
        """The objectives of the results' jobs, in the order in which they come."""
        from arbd.search.problem import MetricGoal  # noqa: PLC0415 - who only counts needs no ranking

        found: dict[str, str] = {}
        for result in self.results:
            for name, direction in result.directions.items():
                found.setdefault(name, direction)
        return tuple(MetricGoal(name, direction) for name, direction in found.items())

    def _ranking(self, metric: str, ascending: bool | None) -> tuple[Ranking, list[TuningResult]]:
        from arbd.results.ranking import Ranking, ResultColumns  # noqa: PLC0415 - who only counts needs no numpy

        meant = {result.directions[metric] for result in self.results if metric in result.directions}
        if len(meant) > 1 and ascending is None:
            raise UsageError(
                f"these results are of jobs that mean opposite directions of {metric!r}: say which with ascending, "
                "or take the results of one session"
            )
        columns = ResultColumns(self.results)
        return Ranking(self.objectives(), columns), columns.results

    def _check_metric(self, name: str) -> None:
        if not any(result.status == "completed" and name in result.metrics for result in self.results):
            known = ", ".join(self.summarize()["metrics_keys"]) or "none"
            raise UsageError(
                f"no completed result has a metric {name!r}; {hint(name, known.split(', '))}metrics are: {known}"
            )
