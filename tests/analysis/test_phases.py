"""What a verdict says of phases whose winner is another one by now, or that have not run."""

from __future__ import annotations

import json

import pytest

from arbd.analysis.report.content import report_content
from arbd.analysis.table import load_table
from arbd.analysis.verdict import NONE_GIVEN
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


def test_the_history_of_a_session_ends_where_its_own_search_does(layout: SpoolLayout) -> None:
    make(layout)
    table = load_table(layout.root, "s")
    content = report_content(table, "value", False, "")
    assert content["iterations"] > content["searched"] == N


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


def test_without_returns_what_was_tested_is_told_by_the_metric(arbctl: Arbctl, layout: SpoolLayout) -> None:
    make(layout, test=(0.5, -1.0, 1.0), stress=(0.25, 1.0, -1.0), blocks=False)
    found = json.loads(arbctl("verdict", "s", "--json")[1])
    assert (found["verdict"], found["rule"]) == ("not enough data", NONE_GIVEN)
    test = found["out_of_sample"]
    assert (test["metric"], test["t"], test["p"], test["folds_won"]) == (0.5, None, None, None)
    assert test["degradation"]["rank_correlation"] is not None
    assert (found["stress"][0]["best"], found["plateau"] is None) == (0.25, False)
    # What is there is not called missing, and what is not there is, with its reason.
    assert {"plateau", "stress"}.isdisjoint(found["missing"])
    assert found["missing"]["out_of_sample.p"] == "iteration 41 has no return blocks"
    for words in (("verdict", "s"), ("summary", "s"), ("best", "s"), ("best", "s", "--robust")):
        code, out, err = arbctl(*words)
        assert (code, NONE_GIVEN in out + err) == (0, True), words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "(`arbctl verdict s`)\n"),
        (("--robust",), "(`arbctl verdict s`) (of the single best, iteration 36)"),
        (("--metric", "value", "--ascending"), "verdict: none, as verdicts are on the best in the job's own direction"),
    ],
)
def test_a_verdict_beside_parameters_says_of_which_it_is(
    arbctl: Arbctl, layout: SpoolLayout, words: tuple[str, ...], said: str
) -> None:
    make(layout)
    code, _, err = arbctl("best", "s", *words)
    assert (code, said in err) == (0, True), err
