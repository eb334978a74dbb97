"""What went wrong in a session, each kind of error once."""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.analysis.table import ResultTable
from arbd.spool.ledger import COMPLETED, STATUS_NAMES

MAX_KINDS = 10


def grouped_failures(table: ResultTable) -> list[dict[str, Any]]:
    """The most frequent errors by status and text: status, error, count, first_iteration."""
    if table.source.counts[COMPLETED] == table.source.n:
        return []
    status = table.source.fixed("status")
    bad = np.flatnonzero(status != COMPLETED)
    errors = table.source.errors()
    found: dict[tuple[str, str], list[int]] = {}
    for kind, iteration in zip(status[bad].tolist(), table.source.fixed("iteration")[bad].tolist(), strict=True):
        found.setdefault((STATUS_NAMES[kind], errors.get(iteration, "")), []).append(iteration)
    kinds = sorted(found.items(), key=lambda kind: -len(kind[1]))[:MAX_KINDS]
    return [
        {"status": status, "error": error, "count": len(iterations), "first_iteration": iterations[0]}
        for (status, error), iterations in kinds
    ]
