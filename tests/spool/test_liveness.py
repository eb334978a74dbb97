"""Who is dead: by lock and standstill, by the observer's own clock alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.errors import SpoolError, UsageError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout, check_name
from arbd.spool.liveness import (
    Beat,
    LivenessLock,
    Observer,
    beat_path,
    is_held,
    read_beat,
    read_beats,
    take_liveness_lock,
    write_beat,
)
from tests.spool.test_intake import Clock

FILES = Files()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer(layout: SpoolLayout, clock: Clock) -> Observer:
    return Observer(FILES, layout, clock, beat_s=1.0, lease_s=30.0)


def beat(layout: SpoolLayout, counter: int, incarnation: int = 7) -> None:
    write_beat(FILES, layout, Beat("w", incarnation, counter, {"slots": 2}))


def held(layout: SpoolLayout) -> LivenessLock:
    lock = take_liveness_lock(FILES, layout, "w")
    assert lock is not None
    return lock


def test_beats_are_read_as_written_and_torn_ones_are_not(layout: SpoolLayout) -> None:
    beat(layout, 3)
    found = read_beat(FILES, layout, "w")
    assert found is not None
    assert (found.counter, found.about["slots"]) == (3, 2)
    data = beat_path(layout, "w").read_bytes()
    for torn in (data[:-1], b"", b"\0" * 50, b"x" * 50):
        beat_path(layout, "w").write_bytes(torn)
        assert read_beat(FILES, layout, "w") is None
    assert read_beats(FILES, layout) == []
    assert read_beat(FILES, layout, "nobody") is None


def test_a_worker_that_lost_its_lock_is_dead_after_two_still_beats(
    layout: SpoolLayout, observer: Observer, clock: Clock
) -> None:
    lock = held(layout)
    beat(layout, 1)
    assert observer.dead("w", 7) is None
    lock.release()
    clock.now_s += 1.9
    assert observer.dead("w", 7) is None
    clock.now_s += 0.2
    assert "gave up its lock" in str(observer.dead("w", 7))


def test_a_worker_that_holds_its_lock_is_dead_after_the_lease(
    layout: SpoolLayout, observer: Observer, clock: Clock
) -> None:
    lock = held(layout)
    beat(layout, 1)
    for _ in range(3):
        assert observer.dead("w", 7) is None
        clock.now_s += 9.9
    assert observer.dead("w", 7) is None
    clock.now_s += 0.4
    assert "lease 30 s" in str(observer.dead("w", 7))
    lock.release()


def test_a_worker_that_beats_lives_whatever_clocks_say(layout: SpoolLayout, observer: Observer, clock: Clock) -> None:
    lock = held(layout)
    for counter in range(10):
        beat(layout, counter)
        clock.now_s += 25
        assert observer.dead("w", 7) is None
    lock.release()


def test_an_incarnation_whose_worker_was_started_again_is_dead(layout: SpoolLayout, observer: Observer) -> None:
    beat(layout, 1, incarnation=8)
    assert "started again" in str(observer.dead("w", 7))


def test_a_mount_whose_locks_do_not_hold_is_refused(layout: SpoolLayout, observer: Observer, clock: Clock) -> None:
    with pytest.raises(SpoolError, match="locks do not hold across hosts"):
        for counter in range(10):
            beat(layout, counter)
            clock.now_s += 1
            assert observer.dead("w", 7) is None


def test_a_second_life_under_one_name_is_refused(layout: SpoolLayout) -> None:
    lock = held(layout)
    assert take_liveness_lock(FILES, layout, "w") is None
    assert is_held(FILES, layout, "w")
    lock.release()
    assert not is_held(FILES, layout, "w")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "x" * 65, "a b", "a\n"])
def test_names_cannot_leave_the_spool(name: str, layout: SpoolLayout) -> None:
    with pytest.raises(UsageError, match="is not usable"):
        check_name(name, "session id")
    with pytest.raises(UsageError):
        layout.session(name)


def test_a_spool_that_cannot_be_used_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="does not exist: mount the shared folder"):
        SpoolLayout(tmp_path / "absent").prepare()
    with pytest.raises(SpoolError, match="is not a spool"):
        SpoolLayout(tmp_path).require_readable()
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="is no folder"):
        SpoolLayout(tmp_path / "file").prepare()


def test_a_lock_that_is_held_times_out_with_its_name(tmp_path: Path) -> None:
    with (
        FILES.lock(tmp_path / "l", 1),
        pytest.raises(TimeoutError, match="was not free within"),
        FILES.lock(tmp_path / "l", 0.05),
    ):
        raise AssertionError("the lock was given twice")


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> object:
        yield b"some"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        FILES.publish_stream(tmp_path / "x", chunks())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_life_lock_that_is_held_stays_and_one_that_was_lost_is_taken_again(layout: SpoolLayout) -> None:
    lock = held(layout)
    assert not lock.keep()
    # As when the folder is removed and comes back: what is locked is a file without a name.
    (layout.workers / "w.lock").unlink()
    assert not is_held(FILES, layout, "w")
    assert lock.keep()
    assert is_held(FILES, layout, "w")
    lock.release()
    assert not is_held(FILES, layout, "w")


def test_two_dead_incarnations_without_a_heartbeat_are_both_judged(
    layout: SpoolLayout, observer: Observer, clock: Clock
) -> None:
    for _ in range(4):
        verdicts = [observer.dead("w", incarnation) for incarnation in (7, 8)]
        clock.now_s += 1.0
    assert all(verdict is not None and "gave up its lock" in verdict for verdict in verdicts)
