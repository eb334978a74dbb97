"""What workers see of each other: who can take a session, and who has fallen silent and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, write_beat
from arbd.spool.peers import LATE_BEATS, Peers, silent_s
from tests.spool.test_intake import Clock

FILES = Files()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_peers_are_workers_that_beat_and_can_evaluate_the_session(layout: SpoolLayout, clock: Clock) -> None:
    peers = Peers(FILES, layout, clock, "me", lease_s=10.0)

    def beats(counter: int, **about: object) -> None:
        write_beat(FILES, layout, Beat("w", 7, counter, {"state": "running", **about}))
        peers.look()

    beats(1)
    assert not peers.can_take("s")  # seen once: it may have stood there for years
    beats(2)
    assert peers.can_take("s")
    clock.now_s += 11.0
    assert not peers.can_take("s")
    beats(3, blocked={"s": "no such module"})
    assert (peers.can_take("s"), peers.can_take("other")) == (False, True)
    beats(4, only="other")
    assert (peers.can_take("s"), peers.can_take("other")) == (False, True)
    beats(5, state="draining")
    assert not peers.can_take("other")
    write_beat(FILES, layout, Beat("me", 1, 1, {"state": "running"}))
    peers.look()
    assert not peers.can_take("other")


def test_who_stands_still_is_silent_for_as_long_as_he_was_watched_and_no_longer_when_he_moves(
    layout: SpoolLayout, clock: Clock
) -> None:
    peers = Peers(FILES, layout, clock, "me", lease_s=60.0)

    def look(**counters: int) -> dict[str, float]:
        for name, counter in counters.items():
            about = {"state": "ended" if name == "gone" else "running", "beat_s": 2.0 if name == "slow" else 1.0}
            write_beat(FILES, layout, Beat(name, 1, counter, about))
        peers.look()
        beats = [Beat("me", 1, 1, {"silent": peers.silent(1.0)})]
        beats += [Beat(name, 1, counter, {}) for name, counter in counters.items()]
        return silent_s(beats)

    # A file that was there before this worker may be years old: only what one has seen counts.
    assert look(one=5, slow=5, gone=5) == {}
    clock.now_s += LATE_BEATS - 0.5
    assert look(one=5, slow=5, gone=5) == {}
    clock.now_s += 1.0
    assert look(one=5, slow=5, gone=5) == {"one": LATE_BEATS + 0.5}
    clock.now_s += LATE_BEATS
    assert look(one=6, slow=5, gone=5) == {"slow": 2 * LATE_BEATS + 0.5}
    # Started again: another life.
    write_beat(FILES, layout, Beat("slow", 2, 5, {"beat_s": 2.0}))
    peers.look()
    assert peers.silent(1.0) == {}


beats_of_three = st.lists(
    st.tuples(st.integers(0, 3), st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 3), st.floats(0, 99)))),
    min_size=3, max_size=3,
)  # fmt: skip


@given(beats_of_three)
def test_what_was_said_of_a_beat_that_is_no_longer_shown_counts_for_nothing(
    said: list[tuple[int, dict[str, tuple[int, float]]]],
) -> None:
    beats = [Beat(name, 1, counter, {"silent": of}) for name, (counter, of) in zip("abc", said, strict=True)]
    counters = {beat.worker_id: beat.counter for beat in beats}
    found = silent_s(beats)
    for worker_id in "abc":
        told = [of[worker_id][1] for _, of in said if worker_id in of and of[worker_id][0] == counters[worker_id]]
        assert found.get(worker_id) == (max(told) if told else None)
