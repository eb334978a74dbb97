"""How busy slots were, as results tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.analysis.slots import busy_share


def test_two_slots_that_take_turns_are_one_slot() -> None:
    assert busy_share(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0])) == (1.0, 1)


def test_a_slot_that_waits_between_iterations_is_not_busy() -> None:
    share, slots = busy_share(np.array([1.0, 4.0]), np.array([1.0, 1.0]))
    assert (share, slots) == (pytest.approx(0.5), 1)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 10)), min_size=1, max_size=30))
def test_no_slot_is_busier_than_always(found: list[tuple[float, float]]) -> None:
    started, duration = map(np.array, zip(*found, strict=True))
    share, slots = busy_share(started + duration, duration)
    assert 0 < share <= 1 + 1e-9
    assert 1 <= slots <= len(found)
