"""Numbers in jobs: what YAML reads as one, in quotes too, and nothing that only looks like one to somebody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Arbctl

JOB = """objective: {{python: "samples:quick"}}
metric: value
fixed: {{held: {fixed}}}
tuning:
  method: random
  max_iterations: 5
  search_space:
    x: {{type: float, bounds: [{low}, {high}]{more}}}
"""
NUMBERS = {"0": 0.0, "1e5": 1e5, '"1e5"': 1e5, "-.5": -0.5, '"+2."': 2.0, "1E-3": 1e-3, "-0.0": 0.0, "007": 7.0}
NO_NUMBERS = [
    "true", "yes", "no", "on", "null", "x", '""', '" 1"', '"1_0"', "1_000", '"1,5"', "\u0665", "\uff15", "1:30", "0b11", "2025-01-01", "[1]",
    "{a: 1}", '"0x10"', '"nan"', '"inf"', "1e", "--1", "1.2.3", "\u22121", "\u00bd", "\u00b2",
]  # fmt: skip


def validated(arbctl: Arbctl, tmp_path: Path, **given: str) -> tuple[int, str, str]:
    path = tmp_path / "job.yaml"
    path.write_text(JOB.format(**{"low": "-1e6", "high": "1e6", "fixed": "1", "more": "", **given}))
    return arbctl("validate", path, "--json")


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_one_with_quotes_or_without(arbctl: Arbctl, tmp_path: Path, text: str) -> None:
    code, out, err = validated(arbctl, tmp_path, low=text)
    assert (code, err) == (0, "")
    (dimension,) = json.loads(out)["resolved"]["space"]
    assert NUMBERS[text] in dimension.values() or NUMBERS[text] == dimension["bounds"][0]


@pytest.mark.parametrize("place", ["low", "high", "step"])
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_told_with_its_line(arbctl: Arbctl, tmp_path: Path, text: str, place: str) -> None:
    given = {"more": f", step: {text}"} if place == "step" else {place: text}
    code, out, err = validated(arbctl, tmp_path, **given)
    if place == "step" and text == "null":
        assert code == 0
        return
    assert (code, out) == (2, "")
    assert "line 8: tuning.search_space.x." in err
    assert "number" in err


def test_a_parameter_is_not_held_at_nan_which_no_result_could_tell_from_null(arbctl: Arbctl, tmp_path: Path) -> None:
    code, _, err = validated(arbctl, tmp_path, fixed=".nan")
    assert (code, "line 3: fixed.held: nan is no value" in err) == (2, True)
    assert validated(arbctl, tmp_path, fixed=".inf")[0] == 0
