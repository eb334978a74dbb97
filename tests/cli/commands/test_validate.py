"""What `arbctl validate` says of the parameters that are searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Arbctl


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "float", "bounds": [0.1, 1.0], "step": 0.4}, "0.1 to 1 in steps of 0.4 (the last is 0.9), 3 values"),
        ({"type": "float", "bounds": [0.1, 0.9], "step": 0.4}, "0.1 to 0.9 in steps of 0.4, 3 values"),
        ({"type": "float", "bounds": [0.001, 1.0], "log": True}, "0.001 to 1, logarithmic"),
        ({"type": "int", "bounds": [1, 30]}, "1 to 30, 30 values"),
        ({"type": "int", "bounds": [1, 30], "step": 10}, "1 to 30 in steps of 10 (the last is 21), 3 values"),
        ({"type": "choice", "values": ["a", 2, True]}, "a | 2 | True, 3 values"),
    ],
)
def test_a_parameter_is_shown_with_bounds_step_and_number_of_values(
    arbctl: Arbctl, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    job = {
        "objective": {"python": "samples:quick"},
        "metric": "value",
        "tuning": {"method": "random", "max_iterations": 5, "search_space": {"edge": given}},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    code, out, err = arbctl("validate", tmp_path / "job.yaml")
    assert code == 0, err
    assert f"searched    edge  {told}" in out.replace("   searched", "searched")
