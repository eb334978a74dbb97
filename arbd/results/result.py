"""One result as a value: what the Python API hands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from arbd.search.space import Value
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What one iteration gave. `timestamp` is when it ended, ISO 8601 UTC; `metrics` is empty unless completed.

    `duplicate_of` is the iteration that was run with these parameters already and whose result this is; 0 for none.
    `budget` is how much of the data was used, 0 to 1; what used less is no match for what used more.
    `violation` is by how much it breaks the constraints of its job: 0 where it keeps all, inf where nobody can say.
    `phase` and `fold` say what it was run for: `search` and 0 is the session's own search, and only such are ranked.
    `directions` are the job's objectives, the first one first, each `maximize` or `minimize`; empty where unknown.
    `reports` are the intermediate values, (step, value), as they came; none where a table does not keep them. Status
    `pruned`: it was ended by them, and `error` says at which.
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
    duplicate_of: int = 0
    budget: float = 1.0
    violation: float = 0.0
    directions: Mapping[str, str] = field(default_factory=dict)
    phase: str = "search"
    fold: int = 0
    reports: Sequence[tuple[int, float]] = ()

    @property
    def feasible(self) -> bool:
        """True for a result that keeps every constraint of its job."""
        return self.status == "completed" and self.violation <= 0

    @property
    def is_ranked(self) -> bool:
        """True for a result of the session's own search."""
        return self.phase == "search" and self.fold == 0

    @property
    def same_as(self) -> int:
        """The name that `duplicate_of` had before."""
        return self.duplicate_of

    @property
    def data_share(self) -> float:
        """The name that `budget` had before."""
        return self.budget

    def to_plain(self) -> dict[str, Any]:
        """For JSON and msgpack, in the order of the table's columns; `same_as` and `data_share` are names of before."""
        return {
            "session_id": self.session_id,
            "worker_id": self.worker_id,
            "iteration": self.iteration,
            "status": self.status,
            "timestamp": self.timestamp,
            "duration_s": self.duration_s,
            "attempt": self.attempt,
            "error": self.error,
            "same_as": self.duplicate_of,
            "duplicate_of": self.duplicate_of,
            "data_share": self.budget,
            "budget": self.budget,
            "feasible": self.feasible,
            "violation": self.violation,
            "phase": self.phase,
            "fold": self.fold,
            "directions": dict(self.directions),
            "params": dict(self.params),
            "metrics": dict(self.metrics),
        }
