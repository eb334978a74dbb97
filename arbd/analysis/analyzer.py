"""Summaries and rankings over results in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from arbd.errors import UsageError
from arbd.results.result import TuningResult


class TuningAnalyzer:
    """Looks at results of one or several sessions, in whatever order they come."""

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

    def rank_by_metric(self, metric_name: str, top_n: int = 5, ascending: bool = False) -> list[TuningResult]:
        """The `top_n` completed results with the highest (`ascending`: lowest) value of a metric, best first.

        Those of more of the data come before those of less. Results without that metric are left out, NaN ranks last,
        equals keep the order of their iterations.
        UsageError when no result has the metric.
        """
        ranked = [r for r in self.results if r.status == "completed" and metric_name in r.metrics]
        if not ranked:
            known = ", ".join(self.summarize()["metrics_keys"]) or "none"
            raise UsageError(f"no completed result has a metric {metric_name!r}; metrics are: {known}")

        def key(result: TuningResult) -> tuple[bool, float, float, str, int]:
            value = result.metrics[metric_name]
            order = 0.0 if math.isnan(value) else value if ascending else -value
            return (math.isnan(value), -result.data_share, order, result.session_id, result.iteration)

        return sorted(ranked, key=key)[: max(0, top_n)]

    def get_best_params(self, metric_name: str, ascending: bool = False) -> dict[str, float | int | str]:
        """The parameters of the best result by a metric."""
        return dict(self.rank_by_metric(metric_name, 1, ascending)[0].params)
