"""The compiled engine, as it is called; what it does stands in `sweep`."""

from __future__ import annotations

from arbd.paper.arguments import Scalar
from arbd.paper.machine_code import Loop
from arbd.paper.market.prepared import CONVERGENCE, INVENTORY

BY_EVENTS, BY_WALKING = range(2)


def _sweep(name: str) -> Loop:
    return Loop("arbd.paper.kernel.sweep", name, Scalar.WHOLE, Scalar.WHOLE)


# By strategy: for all that there is, and for what is plain.
SWEEPS = {
    CONVERGENCE: (_sweep("sweep"), _sweep("sweep_plain")),
    INVENTORY: (_sweep("sweep_inventory"), _sweep("sweep_plain_inventory")),
}
