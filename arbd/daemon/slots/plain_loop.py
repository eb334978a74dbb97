"""The innermost loop for objectives that are functions of their parameters alone.

It does for each iteration only what cannot be done for many at once afterwards: says which one runs, calls, keeps what
came back before the next call can change it, looks at the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

import numpy as np

from arbd.arrays import Array
from arbd.daemon.slots.cell import Cell
from arbd.daemon.slots.progress import FIRST, STARTED_NS, ProgressPage
from arbd.objective.protocol import Plain
from arbd.spool.system import Clock
from arbd.values import dataclass


@dataclass(slots=True)
class PlainRun:
    """Iterations one after the other from `began_ns` on, `count` of them: what each `returned`, and when it ended.

    What the one after them `raised` is not dealt with yet.
    """

    began_ns: int
    count: int = 0
    returned: list[object] = field(default_factory=list)
    ended_ns: list[int] = field(default_factory=list)
    raised: BaseException | None = None

    @property
    def times(self) -> Array:
        """When each ended and how long it took, both in nanoseconds: (2, n)."""
        ended = np.array(self.ended_ns, dtype=np.int64)
        return np.stack([ended, np.diff(ended, prepend=self.began_ns)])


def run_plainly(
    call: Plain,
    rows: Iterable[Mapping[str, Any]],
    iteration: int,
    progress: ProgressPage,
    cell: Cell,
    clock: Clock,
    window_ns: int,
) -> PlainRun:
    """Evaluate `rows`, numbered from `iteration` on, for so long, at least one. `rows` are not empty.

    What an objective puts in the place of built-ins reaches no further than its window: whatever of arbd stumbles over it
    in here counts as `raised`.
    """
    now_ns, cells, function, fixed = clock.monotonic_ns, progress.cells, call.function, call.fixed
    began = started = now_ns()
    run = PlainRun(began)
    deadline, keep, ended = began + window_ns, run.returned.append, run.ended_ns.append
    progress.evaluating(iteration, 1, started)
    first = iteration
    try:
        for given in rows:
            cells[STARTED_NS] = started
            cells[FIRST] = iteration
            returned = function({**fixed, **given} if fixed else given)
            if cell.is_foreign:
                cell.leave(None)
            kind = type(returned)
            keep(returned.copy() if kind is dict else returned if kind is float else call.outcome(returned))  # type: ignore[attr-defined]
            started = now_ns()
            ended(started)
            iteration += 1
            if started >= deadline:
                break
    except BaseException as error:  # also the ways out of a program: they are out of the iteration alone
        run.raised = error
    run.count = iteration - first
    return run
