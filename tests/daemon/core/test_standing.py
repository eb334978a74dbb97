"""A session stands in one way at a time, waits longer each time it is the same, and never for good."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.core.standing import (
    LEGAL,
    LONGEST_COMPACTION_PAUSE_S,
    PAUSES_S,
    Compaction,
    SessionStanding,
    Standing,
)

PAUSED = sorted(PAUSES_S, key=lambda standing: standing.value)


def test_every_standing_has_its_moves_and_only_over_has_none() -> None:
    assert LEGAL.keys() == set(Standing)
    assert [standing for standing in Standing if not LEGAL[standing]] == [Standing.OVER]


@pytest.mark.parametrize("standing", PAUSED)
def test_each_pause_is_twice_the_one_before_up_to_the_longest_and_begins_anew_after_a_recovery(
    standing: Standing,
) -> None:
    first_s, longest_s = PAUSES_S[standing]
    session = SessionStanding()
    pauses = []
    for now_s in range(0, 10_000, 1_000):
        session.pause(standing, "why", float(now_s))
        pauses.append(session.until_s - now_s)
        assert session.is_waiting(session.until_s - 0.01, standing) and not session.is_waiting(
            session.until_s, standing
        )
    assert pauses[0] == first_s and pauses[-1] == longest_s
    assert all(later == min(2 * earlier, longest_s) for earlier, later in itertools.pairwise(pauses))
    assert session.recover(standing) and not session.recover(standing)
    session.pause(standing, "why", 0.0)
    assert session.until_s == first_s


@given(st.lists(st.tuples(st.sampled_from(["pause", "recover", "end"]), st.sampled_from(PAUSED)), max_size=30))
def test_whatever_happens_in_whatever_order_the_standing_is_consistent_or_the_move_is_refused(
    steps: list[tuple[str, Standing]],
) -> None:
    session, now_s = SessionStanding(), 0.0
    for step, standing in steps:
        now_s += 1.0
        before = session.standing
        try:
            if step == "pause":
                session.pause(standing, "why", now_s)
            elif step == "recover":
                session.recover(standing)
            else:
                session.end()
        except AssertionError:
            wanted = {"pause": standing, "recover": Standing.USABLE, "end": Standing.OVER}[step]
            assert wanted not in LEGAL[before] and session.standing is before
        session.assert_consistent()


def test_a_compaction_that_fails_waits_longer_each_time_and_keeps_the_reason() -> None:
    compaction, pauses = Compaction(), []
    for _ in range(12):
        compaction.begin()
        assert compaction.is_running
        compaction.ended("no space left", 100.0, 0.5)
        pauses.append(compaction.not_before_s - 100.0)
        assert compaction.reason == "no space left" and not compaction.is_running
    assert pauses == sorted(pauses) and pauses[0] == 0.5 and pauses[-1] == LONGEST_COMPACTION_PAUSE_S
    compaction.begin()
    compaction.ended("", 200.0, 0.5)
    assert (compaction.reason, compaction.not_before_s) == ("", 200.5)


def test_a_session_is_not_compacted_twice_at_once() -> None:
    compaction = Compaction()
    with pytest.raises(AssertionError):
        compaction.ended("", 0.0, 0.5)
    compaction.begin()
    with pytest.raises(AssertionError):
        compaction.begin()
