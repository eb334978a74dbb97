"""How many iterations are suggested at once, and how many generations are in work, by slots and length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.search.generations import default_schedule
from arbd.search.samplers import METHODS, built_in
from arbd.search.schedule import MAX_LAG, GenerationSizes, Schedule, busy_share

ADAPTIVE = built_in(learns=True)
SIZES = (1, 3, 8, 12, 40)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 200))
def test_what_is_pending_is_what_lies_between_what_is_known_and_what_is_suggested(size: int, lag: int, at: int) -> None:
    schedule = Schedule(size, lag)
    known, pending = schedule.known_before(at), schedule.pending(at)
    assert known % size == 0
    assert known + len(pending) * size == (at - 1) * size
    assert schedule.known_before(lag) == 0 < schedule.known_before(lag + 1)
    assert schedule.reach == at * size - schedule.known_before(at) or not known


@pytest.mark.parametrize("method", ADAPTIVE)
@given(n=st.integers(1, 10**6), slots=st.integers(1, 1_024))
def test_every_method_gets_a_schedule_that_it_can_search_by(method: str, n: int, slots: int) -> None:
    schedule, sizes = default_schedule(method, n, slots), METHODS.get(method).generation
    assert 1 <= schedule.lag <= min(MAX_LAG, sizes.max_lag)
    assert schedule.size >= 1
    assert schedule.size >= sizes.required or n < 4 * sizes.required
    # Half of the generations of a short search know something.
    assert schedule.size <= max(n // 4, sizes.short, 1) or schedule.size <= sizes.usual


@pytest.mark.parametrize(("n", "size"), [(1, 1), (12, 3), (60, 4), (200, 4), (1_000, 10), (10_000, 100), (10**6, 256)])
def test_generations_grow_with_the_search(n: int, size: int) -> None:
    assert default_schedule("tpe", n, 1) == Schedule(size, 1)


def test_points_are_chosen_together_only_where_none_is_on_its_way() -> None:
    assert [default_schedule("tpe", 100, slots) for slots in (1, 4)] == [Schedule(4, 1), Schedule(1, 9)]


@pytest.mark.parametrize("method", ["tpe", "bayesian", "cmaes", "nsga2"])
def test_one_slot_waits_for_every_result(method: str) -> None:
    assert default_schedule(method, 400, 1).lag == 1
    assert default_schedule(method, 400, 8).lag > 1


def test_a_method_says_how_many_slots_wait_for_every_result() -> None:
    assert default_schedule("bayesian", 100, 1) == Schedule(1, 1)
    assert [default_schedule("cmaes", 400, slots).lag for slots in (3, 4, 5)] == [1, 1, 2]


@pytest.mark.parametrize("method", ["tpe", "bayesian"])
@pytest.mark.parametrize(("slots", "least"), [(4, 0.95), (8, 0.93), (16, 0.9), (64, 0.85)])
def test_slots_are_busy_though_durations_differ(method: str, slots: int, least: float) -> None:
    assert busy_share(default_schedule(method, 64 * slots, slots), slots) >= least


@given(st.sampled_from(SIZES), st.integers(2, 6), st.integers(1, 32))
def test_more_generations_at_a_time_keep_more_slots_busy(size: int, lag: int, slots: int) -> None:
    fewer, more = busy_share(Schedule(size, lag), slots), busy_share(Schedule(size, lag + 4), slots)
    assert 0 < fewer <= 1
    assert more >= fewer - 0.05


def test_slots_that_cannot_all_be_busy_are_counted() -> None:
    assert busy_share(Schedule(1, 1), 4) == pytest.approx(0.25)
    assert busy_share(Schedule(1, 2), 1) == pytest.approx(1.0)


def test_a_method_may_ask_for_a_population_and_for_all_of_its_results() -> None:
    sizes = GenerationSizes(usual=8, short=4, required=4, max_lag=2, waits=1)
    assert sizes.schedule(400, 1) == Schedule(8, 1)
    assert sizes.schedule(400, 16) == Schedule(25, 2)
