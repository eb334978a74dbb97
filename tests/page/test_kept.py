"""Answers that are costly: made once, given to all, and given even while the spool hangs."""

from __future__ import annotations

import threading

import pytest

from arbd.errors import NotFoundError
from arbd.page.kept import MAX_AT_WORK, MAX_KEPT, HangsError, Kept
from tests.conftest import wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_made_once_while_nothing_changes_and_anew_when_it_does() -> None:
    clock, made, seen = Clock(), [], [1]
    kept = Kept(clock)

    def make() -> bytes:
        made.append(seen[0])
        return str(seen[0]).encode()

    def get() -> bytes:
        return kept.get("a", lambda: seen[0], make).body

    assert (get(), get(), made) == (b"1", b"1", [1])
    clock.now = 2.0
    assert (get(), made) == (b"1", [1])
    seen[0] = 2
    assert get() == b"1"  # no more often than every second
    clock.now = 4.0
    assert (get(), made) == (b"2", [1, 2])


def test_a_hanging_spool_leaves_the_last_answer_and_says_how_old_it_is() -> None:
    clock, gate = Clock(), threading.Event()
    kept = Kept(clock)
    assert kept.get("a", lambda: 1, lambda: b"old").body == b"old"

    def hang() -> int:
        gate.wait(60)
        return 2

    clock.now = 10.0
    assert kept.get("a", hang, lambda: b"new").body == b"old"
    clock.now = 40.0
    found = kept.get("a", hang, lambda: b"new")
    assert (found.body, found.late_s) == (b"old", 30.0)
    gate.set()
    clock.now = 100.0
    wait_until(lambda: kept.get("a", lambda: 2, lambda: b"new").body == b"new")


def test_without_an_answer_one_hears_that_the_spool_hangs_and_others_are_answered() -> None:
    kept, gate = Kept(), threading.Event()

    def hang() -> int:
        gate.wait(60)
        return 1

    with pytest.raises(HangsError, match="has not answered"):
        kept.get("a", hang, lambda: b"x", wait_s=0.01)
    assert kept.get("b", lambda: 1, lambda: b"y").body == b"y"
    for number in range(MAX_AT_WORK):
        with pytest.raises(HangsError):
            kept.get(number, hang, lambda: b"x", wait_s=0.01)
    before = threading.active_count()
    with pytest.raises(HangsError, match="too many"):
        kept.get("another", hang, lambda: b"x", wait_s=0.01)
    assert threading.active_count() == before
    gate.set()


def test_an_error_is_the_answer_until_it_is_mended() -> None:
    clock = Clock()
    kept = Kept(clock)

    def broken() -> bytes:
        raise NotFoundError("gone")

    for _ in range(2):
        with pytest.raises(NotFoundError, match="gone"):
            kept.get("a", lambda: 1, broken)
    clock.now = 5.0
    assert kept.get("a", lambda: 1, lambda: b"back").body == b"back"


def test_what_is_kept_is_bounded() -> None:
    kept = Kept()
    for number in range(3 * MAX_KEPT):
        kept.get(number, lambda: 1, lambda: b"x")
    assert len(kept._entries) <= MAX_KEPT + 1


def test_many_who_ask_at_once_get_one_making() -> None:
    kept, made, start = Kept(), [], threading.Barrier(8)

    def make() -> bytes:
        made.append(1)
        return b"x"

    def ask() -> None:
        start.wait()
        assert kept.get("a", lambda: 1, make).body == b"x"

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
