"""Arguments of the Python API: what is given is looked at before anything is done, and what is wrong is told in one line."""

from __future__ import annotations

import math
import numbers
import operator
from pathlib import Path
from typing import Any

from arbd.errors import UsageError

MAX_SHOWN_CHARS = 80


def integer(given: Any, what: str, at_least: int, at_most: int | None = None) -> int:
    """An integer, of whichever library; UsageError for anything else, `what` names it."""
    span = f"an integer from {at_least:,}" + (f" to {at_most:,}" if at_most is not None else "")
    try:
        found = operator.index(given)
    except TypeError:
        raise UsageError(f"{what} takes {span}; given was {shown(given)}") from None
    if isinstance(given, bool) or found < at_least or (at_most is not None and found > at_most):
        raise UsageError(f"{what} takes {span}; given was {shown(given)}")
    return found


def seconds(given: Any, what: str) -> float:
    """A time in seconds from 0; UsageError for anything else."""
    if isinstance(given, bool) or not isinstance(given, numbers.Real) or not float(given) >= 0 or math.isinf(given):
        raise UsageError(f"{what} takes seconds, a number from 0; given was {shown(given)}")
    return float(given)


def name(given: Any, what: str) -> str:
    """A string; UsageError for anything else."""
    if not isinstance(given, str):
        raise UsageError(f"{what} takes a string; given was {shown(given)}")
    return given


def path(given: Any, what: str) -> Path:
    """A path, absolute; UsageError for what is none."""
    try:
        return Path(given).expanduser().absolute()
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{what} takes a path; given was {shown(given)}") from None


def shown(given: Any) -> str:
    """A value in a message."""
    try:
        text = repr(given)
    except Exception as error:  # of a class of the caller's
        text = f"a {type(given).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."
