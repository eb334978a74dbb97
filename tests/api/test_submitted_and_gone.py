"""Whatever becomes of a job that was submitted from Python, who waits for it is told: refused again, removed, cancelled, purged."""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import arbd
from arbd.errors import ArbdError, JobError, NotFoundError, UsageError
from arbd.spool.held import Held, Taker
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from arbd.spool.rejected import reject
from tests.api.test_submit import FIELDS, waiting
from tests.conftest import Arbctl, Daemons
from tests.jobs import write_job
from tests.spool.sessions import make_session

pytestmark = [pytest.mark.bed, pytest.mark.filterwarnings("ignore:session early")]
NAME = "early.submitted.yaml"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.spool.submitted.GONE_AFTER_S", 0.0)
    monkeypatch.setattr("arbd.api.session.SAY_AFTER_S", 0.0)
    monkeypatch.setattr("arbd.api.session.POLL_S", 0.05)


@pytest.fixture
def living(layout: SpoolLayout) -> Iterator[Callable[..., None]]:
    """A worker that lives and says something of itself."""
    with ExitStack() as stack:
        for folder in (layout.taken, layout.rejected):
            folder.mkdir(parents=True, exist_ok=True)
        lock = take_liveness_lock(layout.files(), layout, "host-a")
        assert lock is not None
        stack.callback(lock.release)

        def say(**about: Any) -> None:
            about = {"state": "running", "slots": 1, "only": None, **about}
            write_beat(layout.files(), layout, Beat("host-a", 1, 1, about))

        yield say


def refuse(layout: SpoolLayout, why: str) -> None:
    assert reject(layout.files(), layout, layout.incoming / NAME, NAME, why) is not None


def checked(layout: SpoolLayout) -> Path:
    """The job, as a worker has it that checks it."""
    held = Held(1, Taker("host-a", 1), "20231114T221320-abcdef", NAME).path(layout)
    (layout.incoming / NAME).rename(held)
    return held


@pytest.mark.parametrize("are_removed", [False, True], ids=["earlier ones stay", "earlier ones are removed"])
def test_every_refusal_under_the_same_name_ends_the_wait_with_its_own_reason(
    layout: SpoolLayout, are_removed: bool
) -> None:
    for number in range(3):
        session = waiting(layout)
        refuse(layout, f"reason {number}")
        with pytest.raises(JobError, match=f"^early: refused by the daemon: reason {number}$"):
            session.wait(60)
        assert session.status()["state"] == "rejected"
        if are_removed:
            for path in layout.rejected.iterdir():
                path.unlink()


def once_it_is_dropped(layout: SpoolLayout, act: Callable[[], object]) -> threading.Thread:
    """Does something as soon as the job is there."""

    def acts() -> None:
        until_s = time.monotonic() + 120
        while not (layout.incoming / NAME).exists() and time.monotonic() < until_s:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=acts, daemon=True)
    thread.start()
    return thread


def test_submit_wait_ends_at_every_refusal_under_the_same_name(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:quick", 3)
    for number in range(2):
        daemon = once_it_is_dropped(layout, partial(refuse, layout, f"reason {number}"))
        code, _, err = arbctl("submit", job, "--session-id", "early", "--wait")
        daemon.join(60)
        assert (code, f"early: refused by the daemon: reason {number}" in err) == (2, True), err


def test_submit_wait_says_that_the_job_is_gone(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:quick", 3)
    somebody = once_it_is_dropped(layout, (layout.incoming / NAME).unlink)
    code, _, err = arbctl("submit", job, "--session-id", "early", "--wait")
    somebody.join(60)
    assert (code, "session early: its job is gone" in err) == (3, True), err


@pytest.mark.parametrize("ask", [lambda s: s.wait(60), lambda s: [s.status() for _ in "ab"], lambda s: s.cancel()])
@pytest.mark.parametrize("is_checked", [False, True], ids=["queued", "checked"])
def test_a_job_whose_file_was_removed_is_told_as_gone(
    layout: SpoolLayout, living: Callable[..., None], ask: Callable[[arbd.Session], object], is_checked: bool
) -> None:
    session = waiting(layout)
    (checked(layout) if is_checked else layout.incoming / NAME).unlink()
    with pytest.raises(NotFoundError, match="session early: its job is gone: .*submit the job again"):
        ask(session)


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "never seen"])
def test_a_session_that_was_purged_ends_the_wait(layout: SpoolLayout, arbctl: Arbctl, is_seen: bool) -> None:
    session = waiting(layout)
    (layout.incoming / NAME).unlink()
    make_session(layout, 3, "early")
    if is_seen:
        assert session.status()["state"] == "pending"
    assert arbctl("cancel", "early")[0] == 0
    code, _, err = arbctl("purge", "early", "--results", "--claims", "--yes")
    assert code == 0, err
    with pytest.raises(NotFoundError, match="early"):
        session.wait(60)


def test_a_session_that_has_gone_is_not_told_as_an_earlier_refusal_of_its_name(
    layout: SpoolLayout, arbctl: Arbctl
) -> None:
    waiting(layout)
    refuse(layout, "an earlier one")
    session = waiting(layout)
    (layout.incoming / NAME).unlink()
    make_session(layout, 3, "early")
    assert session.status()["state"] == "pending"
    assert arbctl("cancel", "early")[0] == 0
    assert arbctl("purge", "early", "--results", "--claims", "--yes")[0] == 0
    with pytest.raises(NotFoundError, match="^no session early"):
        session.wait(60)


def test_a_job_that_was_taken_back_by_removing_it_is_cancelled(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_allowed(*of: object) -> None:
        raise PermissionError(13, "Permission denied")

    session = waiting(layout)
    # As of a user who may drop jobs alone.
    monkeypatch.setattr("arbd.spool.submitted.reject", not_allowed)
    session.cancel()
    session.cancel()
    assert not (layout.incoming / NAME).exists()
    assert session.status()["state"] == "cancelled"
    with pytest.raises(JobError, match="^early: cancelled by .* before it was taken up$"):
        session.wait(60)


def test_a_job_that_arbctl_cancelled_is_cancelled_with_the_reason_and_may_be_cancelled_again(
    layout: SpoolLayout, arbctl: Arbctl
) -> None:
    session = waiting(layout)
    assert arbctl("cancel", "early", "--reason", "wrong fees")[0] == 0
    status = session.status()
    assert status["state"] == "cancelled"
    assert re.fullmatch("early: cancelled by .* before it was taken up: wrong fees", status["reason"])
    session.cancel()


def test_a_job_that_is_being_checked_is_cancelled_once_it_is_a_session_or_it_is_said_that_it_cannot_be(
    layout: SpoolLayout, living: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = waiting(layout)
    living()
    held = checked(layout)
    with monkeypatch.context() as patched:
        patched.setattr("arbd.spool.submitted.CHECK_PATIENCE_S", 0.0)
        with pytest.raises(UsageError, match=f"{NAME} cannot be cancelled now: worker host-a checks it; try again"):
            session.cancel()
    monkeypatch.setattr("arbd.spool.submitted.CHECK_PATIENCE_S", 120.0)
    worker = threading.Timer(0.3, lambda: (make_session(layout, 3, "early"), held.unlink()))
    worker.start()
    session.cancel()
    worker.join(60)
    assert session.status()["state"] == "cancelled"
    session.cancel()
    assert session.wait(60) is session


def test_a_job_that_was_refused_cannot_be_cancelled_and_says_why(layout: SpoolLayout) -> None:
    session = waiting(layout)
    refuse(layout, "its objective is not allowed on this host")
    with pytest.raises(JobError, match="early: refused by the daemon: its objective is not allowed"):
        session.cancel()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"each": {"tuning.seed": [1, 2]}}, "each makes several sessions"),
        ({"schedule": {"at": "06:00"}}, "schedule makes a standing job"),
    ],
    ids=["each", "schedule"],
)
def test_a_job_that_is_no_single_session_is_refused_before_anything_is_dropped(
    layout: SpoolLayout, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=f"{told}.*`arbctl submit FILE`"):
        arbd.submit(**FIELDS, **more, spool=layout.root, session_id="early")
    assert [path for path in layout.root.rglob("*early*") if path.is_file()] == []
    assert not list(layout.incoming.glob("*.y*ml"))


class EnoughError(Exception):
    """Ends a wait."""


@pytest.mark.parametrize(("kind", "expected"), [("blocked", 1), ("loading", 0)])
def test_each_kind_of_reason_is_warned_once_and_loading_is_none(
    layout: SpoolLayout, living: Callable[..., None], monkeypatch: pytest.MonkeyPatch, kind: str, expected: int
) -> None:
    make_session(layout, 3, "early")
    session = arbd.Session(layout.root, "early")
    seconds_so_far = iter(range(1, 6))

    def next_beat(seconds: float) -> None:
        if (number := next(seconds_so_far, None)) is None:
            raise EnoughError
        living(**{kind: {"early": f"waits, for {number} s so far"}})

    living(**{kind: {"early": "waits, for 0 s so far"}})
    monkeypatch.setattr("arbd.api.session.time.sleep", next_beat)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(EnoughError):
            session.wait()
    assert len(told) == expected, [str(one.message) for one in told]
    assert session.status()["reason"] == "host-a: waits, for 5 s so far"


def test_without_a_limit_submit_warns_once_what_it_waits_for_and_returns_when_a_daemon_is_there(
    layout: SpoolLayout, daemons: Daemons
) -> None:
    later = threading.Timer(1.0, lambda: daemons.start("a"))
    later.start()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        session = arbd.submit(**FIELDS, spool=layout.root, session_id="early", timeout_s=None)
    later.join()
    ours = [one for one in told if "session early" in str(one.message)]
    assert [one.filename for one in ours] == [__file__]
    assert "session early: the job is queued: no worker runs on this spool" in str(ours[0].message)
    assert session.wait(120).status()["done"] == 4


def test_whatever_is_wrong_is_an_error_of_arbd(layout: SpoolLayout) -> None:
    session = waiting(layout)
    session.cancel()
    for ask in (lambda: session.best, lambda: session.extend(1), session.front, lambda: session.job):
        with pytest.raises(ArbdError, match="cancelled by"):
            ask()
