"""A job that is submitted from Python is a session to hold at once, whether a daemon is there or not, and says why it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import arbd
from arbd.errors import JobError, NotBegunError, UsageError
from arbd.spool.layout import SpoolLayout
from tests.conftest import Daemons

pytestmark = pytest.mark.bed
FIELDS: dict[str, Any] = {
    "objective": {"python": "samples:quick"},
    "search_space": {"x": {"type": "float", "bounds": [0, 1]}},
    "method": "random",
    "max_iterations": 4,
    "metric": "value",
}
NOBODY = "no worker runs on this spool that takes jobs up; start one with `arbd run`"


def waiting(layout: SpoolLayout, **changed: Any) -> arbd.Session:
    with pytest.warns(UserWarning, match=f"session early: the job is queued: {NOBODY}"):
        return arbd.submit(**(FIELDS | {"spool": layout.root, "session_id": "early", "timeout_s": 0.0} | changed))


@pytest.mark.filterwarnings("ignore:session early")
def test_without_a_daemon_the_session_is_queued_says_why_and_runs_once_one_is_there(
    daemons: Daemons, layout: SpoolLayout
) -> None:
    session = waiting(layout)
    status = session.status()
    assert (status["state"], status["done"], session.is_over) == ("queued", 0, False)
    assert status["reason"] == f"the job is queued: {NOBODY}"
    assert NOBODY in repr(session)
    assert NOBODY in session._repr_html_().replace("&#x27;", "'")
    with pytest.raises(TimeoutError, match=f"not over after 0 s: the job is queued: {NOBODY}"):
        session.wait(0)
    daemons.start("a")
    assert session.wait(120).status()["done"] == 4
    assert set(session.best.params) == {"x"}
    assert session.status()["reason"] == ""


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: session.best,
        lambda session: len(session.results),
        lambda session: session.rank(),
        lambda session: session.front(),
        lambda session: session.verdict(),
        lambda session: session.replay(1),
        lambda session: session.plot.history(),
        lambda session: session.job,
        lambda session: session.extend(3),
        lambda session: arbd.Session(session.spool, session.session_id),
    ],
)
def test_whatever_is_asked_of_a_queued_session_is_told_that_it_is_queued(
    layout: SpoolLayout, ask: Callable[[arbd.Session], object]
) -> None:
    session = waiting(layout)
    with pytest.raises(NotBegunError, match=f"session early: the job is queued: {NOBODY}"):
        ask(session)


def test_a_queued_job_can_be_taken_back_and_its_name_used_again(layout: SpoolLayout) -> None:
    session = waiting(layout)
    session.cancel()
    assert not list(layout.incoming.glob("*.y*ml"))
    assert session.status()["state"] == "cancelled"
    with pytest.raises(JobError, match="^early: cancelled by .* before it was taken up$"):
        session.wait(1)
    session.cancel()
    # An earlier refusal of that name says nothing of this one.
    assert waiting(layout).status()["state"] == "queued"


def test_a_refusal_of_a_daemon_ends_the_wait_with_its_reason(layout: SpoolLayout) -> None:
    session = waiting(layout)
    (job,) = layout.incoming.glob("*.y*ml")
    layout.files().publish(layout.rejected / f"{job.name}.error.txt", b"its objective is not allowed on this host\n")
    layout.files().remove(job)
    with pytest.raises(JobError, match="early: refused by the daemon: its objective is not allowed on this host"):
        session.wait(60)


@pytest.mark.parametrize("given", [-1, "3", float("nan"), True])
def test_a_timeout_that_is_no_time_is_refused_before_anything_is_submitted(layout: SpoolLayout, given: Any) -> None:
    with pytest.raises(UsageError, match="submit: timeout_s takes seconds, a number from 0"):
        arbd.submit(**FIELDS, spool=layout.root, timeout_s=given)
    assert not list(layout.incoming.glob("*.y*ml"))


def test_who_waits_for_a_session_that_nobody_works_on_is_warned(layout: SpoolLayout, monkeypatch: Any) -> None:
    monkeypatch.setattr("arbd.api.session.SAY_AFTER_S", 0.0)
    session = waiting(layout)
    with pytest.warns(UserWarning, match=NOBODY), pytest.raises(TimeoutError):
        session.wait(1)
