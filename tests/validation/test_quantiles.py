"""A quantile is interpolated between numbers, and is one of the values where some are infinite."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.validation.quantiles import quantile

VALUES = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 2.5, math.inf]), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("values", "share", "told"),
    [([1.0, 2.0], 0.5, 1.5), ([1.0, math.inf], 0.5, 1.0), ([-math.inf, -math.inf, 1.0], 0.1, -math.inf)],
)
def test_quantiles_that_were_computed_by_hand(values: list[float], share: float, told: float) -> None:
    assert quantile(np.array(values), share) == told


@given(VALUES, st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_so_many_values_are_not_above_a_quantile(values: list[float], share: float) -> None:
    found = quantile(np.array(values), share)
    assert min(values) <= found <= max(values)
    if not all(map(math.isfinite, values)):
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values)
