"""Whether a plan runs anything: a session that would be done with nothing is refused when it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from arbd.job.resolve_validation import with_validation
from arbd.job.spec import JobSpec
from arbd.job.validation import ValidationSpec
from arbd.search.plan import INFEASIBLE, NonAdaptivePlan

# Points that are looked at, and the largest part of them at once.
MOST_LOOKED_AT, AT_ONCE = 1 << 20, 1 << 16


def runnable(spec: JobSpec, validation: ValidationSpec | None, wrong: Callable[..., None]) -> JobSpec | None:
    """The job with its validation; None, after `wrong` was told, when no point of its plan may run.

    Where not all points were looked at, that is a notice.
    """
    looked = _refused(spec)
    if looked < spec.n:
        told = replace(spec, notices=(*spec.notices, _told(spec, looked))) if looked else spec
        return told if validation is None else with_validation(told, validation)
    wrong(f"{_told(spec, looked)}: loosen them, or name one that does in `enqueue`", "tuning", "constraints")
    return None


def _told(spec: JobSpec, looked: int) -> str:
    part = "" if looked == spec.n else f"first {looked:,} of the "
    return f"none of the {part}{spec.n:,} points of the {spec.method} keeps the constraints between parameters"


def _refused(spec: JobSpec) -> int:
    """So many points of a non-adaptive plan were looked at, and none may run; 0 where one does."""
    plan, looked, count = NonAdaptivePlan(spec), 0, 1
    most = min(spec.n, MOST_LOOKED_AT)
    while looked < most:
        count = min(8 * count, AT_ONCE, most - looked)
        if (plan.rows(looked + 1, count).origin != INFEASIBLE).any():
            return 0
        looked += count
    return looked
