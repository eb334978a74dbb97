"""Job files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SPACE: dict[str, Any] = {"x": {"type": "float", "bounds": [0, 1]}, "k": {"type": "int", "bounds": [1, 9]}}


def write_job(
    path: Path, objective: str, n: int, *, space: dict[str, Any] | None = None, method: str = "random", **more: Any
) -> Path:
    """A job with a Python objective."""
    execution = more.pop("execution", {})
    job = {
        "objective": {"python": objective},
        "metric": "value",
        "tuning": {"method": method, "search_space": space or SPACE, "max_iterations": n, "seed": 3},
        "execution": execution,
        **more,
    }
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path
