"""How a run of the reference engine is made. See `execution.py` for the loop."""

from __future__ import annotations

from collections.abc import Mapping

from arbd.paper.market.series import Series
from arbd.paper.params import Value
from arbd.paper.reference.convergence import ConvergenceRun
from arbd.paper.reference.execution import ReferenceRun
from arbd.paper.reference.inventory import InventoryRun
from arbd.paper.strategies import STRATEGIES

RUNS = (ConvergenceRun, InventoryRun)


def reference_run(market: Series, params: Mapping[str, Value]) -> ReferenceRun:
    """Run resolved parameters over a market and return the run with everything it counted."""
    code = STRATEGIES.get(str(params["strategy"])).code
    run = next(kind for kind in RUNS if kind.code == code)(market, params)
    run.walk()
    return run
