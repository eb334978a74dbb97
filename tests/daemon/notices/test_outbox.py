"""Each end is told once, whoever sends: by hosts that take turns, that are killed between any two calls, and that fail."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arbd.daemon.notices.log import AGAIN, GIVEN_UP, NOTHING, SENT, Step, Told, target_log
from arbd.daemon.notices.message import Message
from arbd.daemon.notices.outbox import Outbox
from arbd.daemon.notices.settings import Happening, Target
from arbd.errors import DeliveryError, NoSessionError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.session_index import Ended, IndexWriter
from arbd.spool.system import SystemClock
from tests.analysis.test_retention import Interrupted, KilledError

FULL = os.environ.get("ARBD_NOTICE_KILLS") == "all"


class Clock(SystemClock):
    """Its seconds pass when a test says so."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


def end(layout: SpoolLayout, *names: str, **more: Any) -> None:
    entries = [Ended(session_id=name, version=1, n=4, counts=(4, 0, 0, 0), ended_ns=5, **more) for name in names]
    IndexWriter(Files(), layout, "w", 1).append(entries)


class Receiver:
    """Keeps what it is sent; fails as it is told."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.errors = 0

    def __call__(self, message: Message) -> None:
        self.got.append(message)
        if self.errors:
            self.errors -= 1
            raise DeliveryError("not now")

    @property
    def keys(self) -> Counter[str]:
        return Counter(message.key for message in self.got)


def outbox(
    layout: SpoolLayout, receiver: Callable[[Message], None], files: Files | None = None, **target: Any
) -> Outbox:
    def judge(name: str) -> dict[str, Any] | None:
        if name == "gone":
            raise NoSessionError(name, layout.sessions)
        return {"verdict": "luck", "rule": "so", "reasons": []} if name == "judged" else None

    return Outbox(files or Files(), layout, Clock(), Target("desk", **target), receiver, judge, "this-host")


def test_a_new_target_is_told_of_what_ends_from_now_on(layout: SpoolLayout) -> None:
    end(layout, "old")
    receiver = Receiver()
    box = outbox(layout, receiver)
    assert box.step() == []
    end(layout, "new")
    assert [step.what for step in box.step()] == ["begun", SENT]
    assert [message.document["session_id"] for message in receiver.got] == ["new"]
    assert box.step() == []


def test_one_host_sends_and_the_next_goes_on_where_it_stopped(layout: SpoolLayout) -> None:
    first, second = Receiver(), Receiver()
    one, other = outbox(layout, first), outbox(layout, second)
    assert one.step() == other.step() == []
    end(layout, "a", "b")
    one.step()
    assert (len(first.got), other.step(), other.sends) == (2, [], False)
    one.release()
    end(layout, "c")
    other.step()
    assert [message.document["session_id"] for message in second.got] == ["c"]


class Believed:
    """A lock that its holder has lost and does not know of."""

    def is_ours(self) -> bool:
        return True

    def release(self) -> None:
        """There is nothing to give back."""


@pytest.mark.parametrize("outcome", ["sends", "sends what fails", "looks"])
def test_a_host_that_stood_still_right_before_it_sends_learns_that_another_one_went_on(
    layout: SpoolLayout, outcome: str
) -> None:
    receiver, other = Receiver(), Receiver()
    first, second = (
        outbox(layout, receiver, events=(Happening.VERDICT,)),
        outbox(layout, other, events=(Happening.VERDICT,)),
    )
    first.step()
    end(layout, "judged")
    other.errors = outcome == "sends what fails"

    def judge(name: str) -> dict[str, Any]:
        # Here it stands still until its lock is another's, and believes that it has it.
        if first._held is not None and not stolen:
            stolen.append(name)
            first._held.release()
            if outcome != "looks":
                second.step()
            first._held = Believed()
        return {"verdict": "luck", "rule": "so", "reasons": []}

    stolen: list[str] = []
    first.judge = judge
    first.step()
    assert stolen
    attempts = [(message.key, message.attempt) for message in (*receiver.got, *other.got)]
    assert len(attempts) == len(set(attempts)) == 1


def test_an_end_that_is_written_down_twice_is_told_once_and_another_end_again(layout: SpoolLayout) -> None:
    receiver = Receiver()
    box = outbox(layout, receiver)
    box.step()
    end(layout, "a")
    box.step()
    end(layout, "a", number=1, duplicates=2)
    box.step()
    assert len(receiver.got) == 1
    end(layout, "a", number=2, epoch=1)
    box.step()
    assert len(receiver.got) == 2


def test_what_is_not_taken_is_tried_later_each_time_then_given_up_until_somebody_asks(layout: SpoolLayout) -> None:
    receiver = Receiver()
    box = outbox(layout, receiver, attempts=3)
    box.step()
    end(layout, "a")
    receiver.errors = 3
    box.step()
    assert (len(receiver.got), box.error, len(box.waiting)) == (1, "not now", 1)
    box.step()
    assert len(receiver.got) == 1, "not before its pause is over"
    for _ in range(5):
        Clock.now_s += 100
        box.step()
    assert [message.attempt for message in receiver.got] == [1, 2, 3]
    assert (box.told.count(GIVEN_UP), len(box.waiting)) == (1, 0)
    target_log(Files(), layout, "desk").append([Step(what=AGAIN)])
    box.step()
    assert (len(receiver.got), box.error, box.told.count(SENT)) == (4, "", 1)


def test_a_verdict_is_told_where_there_is_one_and_given_up_where_the_session_is_gone(layout: SpoolLayout) -> None:
    receiver = Receiver()
    box = outbox(layout, receiver, events=(Happening.VERDICT,), attempts=1)
    box.step()
    end(layout, "judged", "plain", "gone")
    box.step()
    assert [message.document["verdict"]["verdict"] for message in receiver.got] == ["luck"]
    assert {step.session_id: step.what for step in box.told.last.values()} == {
        "judged": SENT,
        "plain": NOTHING,
        "gone": GIVEN_UP,
    }


def test_a_kill_at_any_call_loses_no_notice_and_repeats_one_only_where_it_says_so(
    layout: SpoolLayout, tmp_path: Path
) -> None:
    begun = outbox(layout, Receiver())
    begun.step()
    begun.release()
    end(layout, "a", "b", "c")
    counting = Interrupted(10**9)

    def copy() -> SpoolLayout:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(layout.root, tmp_path / "copy")
        return SpoolLayout(tmp_path / "copy")

    whole = outbox(copy(), Receiver(), Files(counting))
    whole.step()
    whole.release()
    repeated = 0
    for last in range(1, counting.calls + 1, 1 if FULL else 3):
        spool, receiver = copy(), Receiver()
        killed = outbox(spool, receiver, Files(Interrupted(last)))
        with pytest.raises(KilledError):
            killed.step()
        # The kernel's part of a kill.
        killed.release()
        following = outbox(spool, receiver)
        following.step()
        following.release()
        assert len(receiver.keys) == 3, last
        assert max(receiver.keys.values()) <= 2
        assert sum(count - 1 for count in receiver.keys.values()) <= 1
        for message in receiver.got:
            earlier = [one for one in receiver.got if one.key == message.key and one.attempt < message.attempt]
            assert not earlier or message.may_repeat
        repeated += sum(receiver.keys.values()) - 3
        told = Told()
        told.fold(target_log(Files(), spool, "desk").read_new())
        assert told.count(SENT) == 3
        again = outbox(spool, receiver)
        assert again.step() == []
        again.release()
    assert repeated, "a kill between a send and its record is among them"
