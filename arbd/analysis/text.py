"""Results as lines for people."""

from __future__ import annotations

from collections.abc import Mapping

from arbd.plain_json import text_of
from arbd.results.result import TuningResult


def format_value(value: object) -> str:
    """Six significant digits for floats, everything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else text_of(value)


def format_pairs(values: Mapping[str, object]) -> str:
    """`a=1 b=0.25`."""
    return " ".join(f"{name}={format_value(value)}" for name, value in values.items())


def format_result_summary(result: TuningResult) -> str:
    """A result in a few lines: where it is from, its parameters, its metrics or its error."""
    lines = [
        f"iteration {result.iteration} of {result.session_id}: {result.status} on {result.worker_id}"
        + (f" at {result.timestamp}" if result.timestamp else ""),
        f"  params:  {format_pairs(result.params)}",
    ]
    if result.metrics:
        lines.append(f"  metrics: {format_pairs(result.metrics)}")
    if result.error:
        lines.append(f"  error:   {result.error}")
    return "\n".join(lines)
