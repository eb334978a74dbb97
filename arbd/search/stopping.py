"""Stop rules that look at results: has the target been reached, has nothing improved for long?

They are looked at between generations, over all results but those of the last one, so that every host comes to the
same answer at the same iteration.
"""

from __future__ import annotations

import numpy as np

from arbd.arrays import Floats, Ints
from arbd.search.ordering import improvements
from arbd.search.problem import SearchProblem


def reason(spec: SearchProblem, losses: Floats, iterations: Ints) -> str:
    """Why a session should end, given the losses of iterations (NaN: no result that counts); '' when it should go on."""
    stop, goal = spec.stop, spec.metrics[0]
    if stop.target is not None:
        reached = np.flatnonzero(losses[:, 0] <= goal.sign * stop.target)
        if len(reached):
            value = goal.sign * losses[reached[0], 0]
            return f"target {goal.name} {stop.target:g} reached by iteration {iterations[reached[0]]} with {value:g}"
    if stop.no_improvement is not None:
        improved = improvements(losses, stop.min_delta)
        last = int(improved[-1]) + 1 if len(improved) else 0
        if len(losses) - last >= stop.no_improvement:
            of = f"iteration {iterations[last - 1]}" if last else "the beginning"
            by = f" of more than {stop.min_delta:g}" if stop.min_delta else ""
            return f"no improvement{by} in {len(losses) - last} iterations since {of}"
    return ""
