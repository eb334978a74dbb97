"""Objectives that are functions of their parameters alone, and what many calls of one returned, as columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import ObjectiveError
from arbd.objective.protocol import MAX_METRICS, Outcome, Trial, check_outcome, metric_name
from arbd.values import dataclass

Columns = dict[str, npt.NDArray[np.float64]]
# What cannot change after it was returned.
_UNCHANGING = (float, int, str, Decimal, np.generic, type(None))


@dataclass(frozen=True, slots=True)
class PlainCall:
    """As of `Plain`; `the_metric` as of `check_outcome`."""

    function: Callable[[Mapping[str, Any]], object]
    fixed: Mapping[str, Any]
    the_metric: str

    def columns(self, returned: Sequence[object]) -> Columns | None:
        """Metrics of many calls, where all returned a number alone, or numbers under the same names; else None."""
        kinds = set(map(type, returned))
        if kinds == {float}:
            return {self.the_metric: np.array(returned, dtype=np.float64)} if self.the_metric else None
        if kinds != {dict}:
            return None
        rows: Sequence[dict[Any, Any]] = returned  # type: ignore[assignment]
        names = tuple(rows[0])
        if not 0 < len(names) <= MAX_METRICS or set(map(len, rows)) != {len(names)}:
            return None
        found: Columns = {}
        try:
            for name in names:
                values = list(map(itemgetter(name), rows))
                if not set(map(type, values)) <= {float, int}:
                    return None
                found[metric_name(name)] = np.array(values, dtype=np.float64)
        except (KeyError, OverflowError, ObjectiveError):
            return None
        return found

    def outcome(self, returned: object) -> Outcome:
        """One result; ObjectiveError as of `check_outcome`."""
        return returned if isinstance(returned, Outcome) else check_outcome(returned, _NO_TRIAL, self.the_metric)


def may_have_changed(returned: Sequence[object]) -> bool:
    """True when a later call may have changed what one of these returned, though not which names it had."""
    rows = [each.values() for each in returned if type(each) is dict]
    return len(returned) > 1 and not all(isinstance(value, _UNCHANGING) for row in rows for value in row)


# Of a function that knows of no trial.
_NO_TRIAL = Trial(0, 0, "")
