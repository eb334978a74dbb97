"""How compiled code reads the records of `state` at their addresses, and what it knows of their types."""

from __future__ import annotations

from arbd.paper.kernel.memory import knows, record_at
from arbd.paper.kernel.state import DESK, FILL, INVENTORY_DESK, PLAIN_DESK, PLAIN_INVENTORY_DESK, RUN

run_at, fill_at = record_at(RUN), record_at(FILL)
desk_at, plain_desk_at = record_at(DESK), record_at(PLAIN_DESK)
inventory_desk_at, plain_inventory_desk_at = record_at(INVENTORY_DESK), record_at(PLAIN_INVENTORY_DESK)
plain, converges = knows("plain"), knows("converging")
