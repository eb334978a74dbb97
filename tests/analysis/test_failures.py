"""Errors in the same words are one kind, whatever their numbers; what has no number for the metric is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.analysis.failures import MAX_KINDS, by_kind
from tests.conftest import Arbctl
from tests.jobs import write_job

NUMBERS = st.one_of(
    st.integers().map(str), st.floats().map(repr).filter(lambda text: text[-1].isdigit()), st.integers(0).map(hex)
)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_errors_that_differ_in_numbers_and_addresses_are_one_kind_with_the_words_of_its_first(
    values: list[tuple[str, str]],
) -> None:
    failures = [("failed", f"ValueError: {a} at <f object at {b}>", i) for i, (a, b) in enumerate(values, start=3)]
    (found,) = by_kind(reversed(failures))
    assert found == {"status": "failed", "error": failures[0][1], "count": len(values), "first_iteration": 3}


def test_the_most_frequent_kinds_come_first_and_statuses_are_kinds_of_their_own() -> None:
    words = "abcdefghijklmnop"
    failures = [("failed", f"no {word}", n) for n, word in enumerate(words)] + [
        ("timeout", "no p", 99),
        ("failed", "no p", 98),
    ]
    found = by_kind(failures)
    assert len(found) == MAX_KINDS
    assert found[0] == {"status": "failed", "error": "no p", "count": 2, "first_iteration": 15}
    assert [kind["error"] for kind in found[1:4]] == ["no a", "no b", "no c"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return float('nan')", "note: no result has a number for value: all 12 are nan"),
        ("return float('nan') if trial.iteration % 4 == 0 else 1.0", "note: 3 of 12 results have no number for value, and rank last"),
        ("return 1.0", None),
    ],
)  # fmt: skip
def test_summary_tells_of_results_without_a_number(
    arbctl: Arbctl, objectives: Path, tmp_path: Path, body: str, expected: str | None
) -> None:
    (objectives / "nans.py").write_text(f"def go(params, trial):\n    {body}\n")
    job = write_job(tmp_path / "job.yaml", "nans:go", 12)
    assert arbctl("run", job, "--session-id", "s")[0] == 0
    code, out, _ = arbctl("summary", "s")
    assert code == 0
    said: list[Any] = [line for line in out.splitlines() if line.startswith("note: ")]
    assert said == ([] if expected is None else [expected])
