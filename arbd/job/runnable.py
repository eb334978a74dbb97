"""Whether a plan runs anything: a session that would be done with nothing is refused when it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from arbd.job.spec import JobSpec
from arbd.search.plan import INFEASIBLE, Limits, NonAdaptivePlan
from arbd.search.samplers import adaptive

# Points that are looked at, and the largest part of them at once.
MOST_LOOKED_AT, AT_ONCE = 1 << 20, 1 << 16


def runnable(spec: JobSpec, wrong: Callable[..., None]) -> JobSpec | None:
    """The job; None, after `wrong` was told, when no point of its plan may run. With a notice where that is uncertain."""
    looked = _refused(spec)
    if not looked:
        return spec
    part = "" if looked == spec.n else f"first {looked:,} of the "
    fault = f"none of the {part}{spec.n:,} points of the {spec.method} keeps the constraints between parameters"
    if looked < spec.n:
        return replace(spec, notices=(*spec.notices, fault))
    wrong(f"{fault}: loosen them, or name one that does in `enqueue`", "tuning", "constraints")
    return None


def _refused(spec: JobSpec) -> int:
    """So many points of a fixed plan were looked at, and none may run; 0 where one does."""
    if adaptive(spec.method) is not None or not Limits.of(spec).before:
        return 0
    plan, looked, count = NonAdaptivePlan(spec), 0, 1
    most = min(spec.n, MOST_LOOKED_AT)
    while looked < most:
        count = min(8 * count, AT_ONCE, most - looked)
        if (plan.rows(looked + 1, count).origin != INFEASIBLE).any():
            return 0
        looked += count
    return looked
