"""How many steps of the equity grid a row's returns have: what makes blocks of them into time."""

from __future__ import annotations

import math
from typing import Any

from arbd.analysis.table import ResultTable
from arbd.arrays import Array
from arbd.paper.metrics import SECONDS_PER_YEAR

PAPER_ONLY = "how many steps a block has is known of sessions of the paper engine only"


def grid_steps(table: ResultTable, position: int, s: Array, q: Array) -> tuple[int | None, float | None, str]:
    """Grid steps in all, and the seconds of each, as the winner had them; or the reason why they are not known.

    A session of the paper engine records the annualised Sharpe ratio of the very returns that its blocks sum up, and
    there is one number of steps with which sum, sum of squares and ratio agree. So sessions of every version tell it. Rows
    whose ratio leaves out a last step that is no whole one, which blocks have, agree about: to within a hundredth or so.
    """
    if table.spec.objective.kind != "paper":
        return None, None, PAPER_ONLY
    from arbd.paper.engine import RULES, rules_of  # noqa: PLC0415 - as below
    from arbd.paper.params import PARAMETERS  # noqa: PLC0415 - sessions of other objectives have no use for it

    (row,) = table.results([position])
    given: dict[str, Any] = {**table.spec.fixed, **row.params}
    if "grid_s" not in given and table.spec.scenarios:
        return None, None, "a scenario's risk profile may set grid_s, so that the length of a step is not known"
    grid_s = float(given.get("grid_s", PARAMETERS["grid_s"].default))
    total, squares, ratio = float(s.sum()), float(q.sum()), row.metrics.get("sharpe", math.nan)
    if not math.isfinite(ratio) or ratio == 0 or squares == 0:
        return None, None, "the winner has no Sharpe ratio, from which the number of steps follows"
    a = ratio * ratio * grid_s / SECONDS_PER_YEAR
    b = total * total * (a + 1)
    n = (b + math.sqrt(max(0.0, b * b - 4 * a * squares * total * total))) / (2 * a * squares)
    is_whole = abs(n - round(n)) <= max(1e-3, 1e-6 * n) if math.isfinite(n) else False
    if not math.isfinite(n) or round(n) < 1 or not (is_whole or rules_of(row.metrics) == RULES):
        return None, None, "the recorded Sharpe ratio and return blocks agree on no integer number of steps"
    return round(n), grid_s, ""
