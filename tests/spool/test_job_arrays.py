"""A dropped file of several sessions: all of them are made, each once, through every crash; or none, and it is said."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.held import Taker
from arbd.spool.intake import MAX_CRASHES, Intake
from arbd.spool.job_array import ArrayMember, JobArray
from arbd.spool.layout import SpoolLayout
from arbd.spool.outcomes import AcceptedArray, Rejected
from arbd.spool.sessions import create_session, session_ids
from arbd.spool.system import RealSystem
from tests.spool.sessions import spec_of
from tests.spool.test_intake import Clock, KilledError, Mortal

ME = Taker("me", 1)
NAME = f"x{SUBMITTED_SUFFIX}"
IDS = ("grid-1", "grid-2", "grid-3")


def resolve(data: bytes, name: str) -> JobArray:
    return JobArray("grid", tuple(ArrayMember(i, data + i.encode(), spec_of(5, session_id=i)) for i in IDS))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_spool(root: Path) -> SpoolLayout:
    layout = SpoolLayout(root)
    layout.root.mkdir()
    layout.prepare()
    (layout.incoming / NAME).write_text("the job\n")
    return layout


def whole(layout: SpoolLayout) -> bool:
    """All are there, each with the job of its own, and nothing else is."""
    specs: dict[str, JobSpec] = {
        name: read_spec(Files(), layout.session(name)) for name in session_ids(Files(), layout)
    }
    left = [*layout.taken.iterdir(), *layout.incoming.glob("*.yaml"), *layout.rejected.iterdir()]
    jobs = [layout.session(name).job.read_text() for name in specs]
    return (sorted(specs), left, jobs) == (list(IDS), [], [f"the job\n{name}" for name in specs])


def test_every_session_of_a_file_is_made_with_a_job_and_an_owner_of_its_own(tmp_path: Path, clock: Clock) -> None:
    layout = make_spool(tmp_path / "spool")
    began: list[str] = []
    intake = Intake(Files(), layout, clock, resolve, taker=ME, began=began.append)
    assert intake.scan() == [AcceptedArray(NAME, "grid", IDS)]
    assert whole(layout)
    # The time that one job may take is given to each of them.
    assert began == [NAME] * 4


def test_killed_at_any_call_all_are_made_once_or_the_file_still_waits(tmp_path: Path, clock: Clock) -> None:
    calls, partly = 0, 0
    while True:
        layout = make_spool(tmp_path / str(calls))
        outcomes: list[object] = []
        with contextlib.suppress(KilledError):
            outcomes = list(Intake(Files(Mortal(calls)), layout, clock, resolve, taker=ME).scan())
        found = session_ids(Files(), layout)
        assert set(found) <= set(IDS)
        partly += 0 < len(found) < len(IDS)
        waits = [*layout.taken.iterdir(), *layout.incoming.glob("*.yaml")]
        assert waits or whole(layout)
        after = Intake(Files(), layout, clock, resolve, taker=ME)
        for _ in range(3):
            after.scan()
            clock.now_s += 20
        assert whole(layout), calls
        if outcomes:
            break
        calls += 1
    assert partly > 3


class Failing(RealSystem):
    """A file server that fails for a while, after so many files were made durable."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def fsync(self, fd: int) -> None:
        self.left -= 1
        if -4 < self.left < 0:
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(fd)


def resolve_one(data: bytes, name: str) -> JobSpec:
    return spec_of(5, session_id="grid-1")


@pytest.mark.parametrize("several", [True, False])
def test_a_server_that_fails_in_the_middle_costs_no_session_and_no_name(
    tmp_path: Path, clock: Clock, several: bool
) -> None:
    """The same process goes on with its own file where it was."""
    resolving, ids = (resolve, IDS) if several else (resolve_one, IDS[:1])
    calls = 0
    while True:
        layout = make_spool(tmp_path / str(calls))
        system = Failing(calls)
        intake = Intake(Files(system), layout, clock, resolving, taker=ME)
        for _ in range(12):
            intake.scan()
            clock.now_s += 20
        assert session_ids(Files(), layout) == list(ids), calls
        assert [*layout.taken.iterdir(), *layout.incoming.glob("*.yaml"), *layout.rejected.iterdir()] == [], calls
        if system.left >= 0:
            break
        calls += 1
    assert calls > 4


@pytest.mark.parametrize("taken", IDS)
def test_where_one_name_is_taken_none_is_made(tmp_path: Path, clock: Clock, taken: str) -> None:
    layout = make_spool(tmp_path / "spool")
    create_session(Files(), layout, taken, b"another\n", spec_of(3))
    (outcome,) = Intake(Files(), layout, clock, resolve, taker=ME).scan()
    assert isinstance(outcome, Rejected)
    assert f"session {taken} exists already" in outcome.reason
    assert "are made" not in outcome.reason
    assert session_ids(Files(), layout) == [taken]


def test_a_name_that_is_taken_while_an_attempt_was_interrupted_is_told_with_what_is_made(
    tmp_path: Path, clock: Clock
) -> None:
    layout = make_spool(tmp_path / "spool")
    made = 0
    for calls in range(10_000):
        with contextlib.suppress(KilledError):
            Intake(Files(Mortal(calls)), layout, clock, resolve, taker=ME).scan()
        made = len(session_ids(Files(), layout))
        if made:
            break
        clock.now_s += 20
        if calls % MAX_CRASHES == MAX_CRASHES - 1:
            layout = make_spool(tmp_path / f"spool-{calls}")
    assert made == 1
    create_session(Files(), layout, "grid-3", b"another\n", spec_of(3))
    after = Intake(Files(), layout, clock, resolve, taker=ME)
    outcomes = [outcome for _ in range(3) for outcome in after.scan()]
    (rejected,) = outcomes
    assert isinstance(rejected, Rejected)
    assert "1 of the 3 sessions of this file are made: `arbctl cancel --label array=grid --yes`" in rejected.reason


def test_a_user_who_may_have_a_part_of_them_gets_none(tmp_path: Path, clock: Clock) -> None:
    layout = make_spool(tmp_path / "spool")
    intake = Intake(
        Files(), layout, clock, resolve, taker=ME, admit=lambda user, job, coming: "too many" if coming > 1 else ""
    )
    (outcome,) = intake.scan()
    assert isinstance(outcome, Rejected)
    assert "grid-3: too many" in outcome.reason
    assert session_ids(Files(), layout) == []


def test_the_same_file_a_second_time_is_another_job(tmp_path: Path, clock: Clock) -> None:
    layout = make_spool(tmp_path / "spool")
    intake = Intake(Files(), layout, clock, resolve, taker=ME)
    intake.scan()
    (layout.incoming / NAME).write_text("the job\n")
    (outcome,) = intake.scan()
    assert isinstance(outcome, Rejected)
    assert "session grid-1 exists already" in outcome.reason
