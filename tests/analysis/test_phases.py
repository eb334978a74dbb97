"""What a verdict says of phases whose winner is another one by now, or that have not run."""

from __future__ import annotations

import json

import pytest

from arbd.spool.layout import SpoolLayout
from tests.analysis.test_robust_and_promote import N, make, session_of
from tests.conftest import Arbctl


def test_stress_and_test_are_those_of_the_winner_and_not_of_the_first_finalist(
    arbctl: Arbctl, layout: SpoolLayout
) -> None:
    make(layout, test=(0.5, -1.0, 1.0), stress=(0.25, 1.0, -1.0))
    found = json.loads(arbctl("verdict", "s", "--json")[1])
    assert found["out_of_sample"]["metric"] == 0.5
    (line,) = found["stress"]
    assert (line["best"], line["above_zero"], line["finalists"]) == (0.25, 2, 3)
    (window,) = found["out_of_sample"]["windows"]
    assert (window["train"], window["test"]) == ([[[0, 100]]], [[[100, 200]]])


@pytest.mark.parametrize("last", [N, N + 2])
def test_what_has_not_run_is_missing_with_the_reason(arbctl: Arbctl, layout: SpoolLayout, last: int) -> None:
    session_of(layout, last=last)
    code, out, err = arbctl("verdict", "s", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["out_of_sample"] is None
    assert found["missing"]["out_of_sample"] == found["missing"]["stress"] == "it has not run yet"
    assert found["rule"] == "the test out of sample has no result: it has not run yet"
    assert arbctl("cancel", "s")[0] == 0
    found = json.loads(arbctl("verdict", "s", "--json")[1])
    assert found["missing"]["stress"] == "the session ended before it ran"
    assert arbctl("best", "s", "--robust")[0] == 3
