"""Do the interpreters that this host allows for Python objectives run?"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

from arbd.cli.doctor.finding import BROKEN, OK, Finding
from arbd.job.policy import INTERPRETER, interpreter_fault

LOWEST = (3, 8)
PATIENCE_S = 10.0
_ASK = "import sys; print(*sys.version_info[:3])"


def examine(allow: Sequence[str]) -> Iterator[Finding]:
    """Each that the settings name; patterns with `*` name none."""
    for pattern in allow:
        path = pattern.removeprefix(INTERPRETER)
        if pattern.startswith(INTERPRETER) and not any(letter in path for letter in "*?["):
            yield _judged(path)


def _judged(path: str) -> Finding:
    remedy = "make the environment again (python3 -m venv), or take it out of `allow`"
    if (fault := interpreter_fault(path)) is not None:
        return Finding("interpreter", BROKEN, fault, remedy)
    try:
        done = subprocess.run(  # noqa: S603 - the settings name it
            [path, "-I", "-c", _ASK], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        version = tuple(map(int, done.stdout.split()))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        version = ()
    shown = ".".join(map(str, version))
    if not version:
        return Finding("interpreter", BROKEN, f"{path} does not run Python code", remedy)
    if version < LOWEST:
        least = ".".join(map(str, LOWEST))
        return Finding("interpreter", BROKEN, f"{path} is Python {shown}; objectives need {least} or newer", remedy)
    return Finding("interpreter", OK, f"{path} is Python {shown}")
