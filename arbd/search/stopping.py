"""Stop rules that look at results: has the target been reached, has nothing improved for long?

They are looked at between generations, over all results but those of the last one, so that every host comes to the
same answer at the same iteration.
"""

from __future__ import annotations

import numpy as np

from arbd.search.history import Floats, Ints
from arbd.search.problem import SearchProblem


def reason(spec: SearchProblem, losses: Floats, iterations: Ints) -> str:
    """Why a session should end, given the losses of iterations (NaN: no result that counts); '' when it should go on."""
    stop, goal = spec.stop, spec.metrics[0]
    sign = 1.0 if goal.direction == "minimize" else -1.0
    if stop.target is not None:
        reached = np.flatnonzero(losses[:, 0] <= sign * stop.target)
        if len(reached):
            value = sign * losses[reached[0], 0]
            return f"target {goal.name} {stop.target:g} reached by iteration {iterations[reached[0]]} with {value:g}"
    if stop.no_improvement is not None:
        last = _last_improvement(losses)
        if len(losses) - last >= stop.no_improvement:
            of = f"iteration {iterations[last - 1]}" if last else "the beginning"
            return f"no improvement in {len(losses) - last} iterations since {of}"
    return ""


def _last_improvement(losses: Floats) -> int:
    """The last iteration that was better than all before it (with several objectives: dominated by none of them)."""
    if losses.shape[1] == 1:
        best = np.fmin.accumulate(losses[:, 0])
        improved = np.flatnonzero(np.concatenate([~np.isnan(best[:1]), (best[1:] < best[:-1]) | _first(best)]))
        return int(improved[-1]) + 1 if len(improved) else 0
    last, front = 0, np.empty((0, losses.shape[1]))
    for position in np.flatnonzero(~np.isnan(losses).any(axis=1)):
        point = losses[position]
        if (front <= point).all(axis=1).any():
            continue
        front = np.concatenate([front[~(point <= front).all(axis=1)], point[None, :]])
        last = int(position) + 1
    return last


def _first(best: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(np.isnan(best[:-1]) & ~np.isnan(best[1:]))
