"""One result as a value: what the Python API hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arbd.search.space import Value


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What one iteration gave. `timestamp` is when it ended, ISO 8601 UTC; `metrics` is empty unless completed.

    `same_as` is the iteration that was run with these parameters already and whose result this is; 0 for none.
    `data_share` is how much of the data was used; what used less is no match for what used more.
    """

    session_id: str
    worker_id: str
    iteration: int
    params: Mapping[str, Value]
    metrics: Mapping[str, float]
    timestamp: str
    status: str = "completed"
    duration_s: float = float("nan")
    attempt: int = 1
    error: str = ""
    same_as: int = 0
    data_share: float = 1.0

    def to_plain(self) -> dict[str, Any]:
        """For JSON and msgpack, in the order of the table's columns."""
        return {
            "session_id": self.session_id,
            "worker_id": self.worker_id,
            "iteration": self.iteration,
            "status": self.status,
            "timestamp": self.timestamp,
            "duration_s": self.duration_s,
            "attempt": self.attempt,
            "error": self.error,
            "same_as": self.same_as,
            "data_share": self.data_share,
            "params": dict(self.params),
            "metrics": dict(self.metrics),
        }
