"""What went wrong in a session, each kind of error once."""

from __future__ import annotations

from typing import Any

import numpy as np

from arbd.spool.ledger import COMPLETED, STATUS_NAMES
from arbd.spool.rows import RowBatch

MAX_KINDS = 10


def grouped_failures(rows: RowBatch) -> list[dict[str, Any]]:
    """The most frequent errors by status and text: status, error, count, first_iteration."""
    bad = np.flatnonzero(rows.status != COMPLETED)
    found: dict[tuple[str, str], list[int]] = {}
    for position in bad.tolist():
        iteration = int(rows.iteration[position])
        key = (STATUS_NAMES[int(rows.status[position])], rows.errors.get(iteration, ""))
        found.setdefault(key, []).append(iteration)
    kinds = sorted(found.items(), key=lambda kind: -len(kind[1]))[:MAX_KINDS]
    return [
        {"status": status, "error": error, "count": len(iterations), "first_iteration": iterations[0]}
        for (status, error), iterations in kinds
    ]
