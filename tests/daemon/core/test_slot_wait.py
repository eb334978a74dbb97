"""How much of their time slots wait for suggestions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.core.slot_wait import MEMORY_S, SlotWait


def test_it_is_the_share_of_slots_that_were_idle() -> None:
    wait = SlotWait()
    assert wait.share == 0.0
    wait.observe(0.0, 3, 4)
    wait.observe(10.0, 3, 4)
    assert wait.share == pytest.approx(0.75)


def test_what_was_long_ago_is_forgotten() -> None:
    wait = SlotWait()
    wait.observe(0.0, 4, 4)
    wait.observe(100.0, 0, 4)
    wait.observe(100.0 + 5 * MEMORY_S, 0, 4)
    assert wait.share < 0.01


@given(st.lists(st.tuples(st.floats(0.001, 100), st.integers(0, 9), st.integers(0, 8)), max_size=20))
def test_it_is_always_a_share(seen: list[tuple[float, int, int]]) -> None:
    wait, now_s = SlotWait(), 0.0
    for past_s, idle, slots in seen:
        now_s += past_s
        wait.observe(now_s, idle, slots)
        assert 0.0 <= wait.share <= 1.0 + 1e-12
