"""Whether a worker of an executor computes what this daemon would: the versions and the code that decide the digits."""

from __future__ import annotations

from collections.abc import Mapping

from arbd.job.code import ENGINE, SHORT

_NAMES = {ENGINE: "arbd's own code", "python": "Python", "numpy": "NumPy"}


def unfitness(wanted: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Why it does not, in words; '' when it does. Both are of `arbd.job.code.base_parts`."""
    return "; ".join(
        f"{_NAMES.get(part, part)} is {_shown(part, there.get(part, 'missing'))} there, and {_shown(part, value)} here"
        for part, value in wanted.items()
        if there.get(part) != value
    )


def _shown(part: str, value: str) -> str:
    return value[:SHORT] if part == ENGINE else value
