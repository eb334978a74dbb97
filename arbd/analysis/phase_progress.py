"""How far a session's phases are, as its ledger tells."""

from __future__ import annotations

from typing import Any

from arbd.job.spec import JobSpec
from arbd.spool.ledger import LedgerState


def phase_progress(spec: JobSpec, state: LedgerState) -> list[dict[str, Any]]:
    """Each phase with its iterations, and how many of them are recorded with all before them; none of a search alone."""
    if spec.validation is None:
        return []
    found: dict[str, dict[str, Any]] = {}
    for stretch in spec.layout.stretches:
        name = str(stretch.phase) if stretch.phase != "search" or stretch.is_own_search else "folds"
        line = found.setdefault(name, {"phase": name, "iterations": 0, "recorded": 0})
        line["iterations"] += stretch.count
        line["recorded"] += min(max(0, state.settled - stretch.first + 1), stretch.count)
    return list(found.values())
