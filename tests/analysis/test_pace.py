"""Rates as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.analysis.pace import rate_text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.0225, "0.022"),
        (1 / 86_400, "1.2e-05"),
        (2.46, "2.5"),
        (12.3, "12"),
        (1e6, "1,000,000"),
    ],
)
def test_a_slow_objective_has_a_rate_too(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


@given(st.floats(1e-9, 1e9))
def test_what_is_shown_is_within_five_percent(rate: float) -> None:
    assert float(rate_text(rate).replace(",", "")) == pytest.approx(rate, rel=0.051)
