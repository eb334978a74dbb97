"""From a dropped file to a session or to rejected/, through slow copies, bad jobs, crashes and rivals."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from arbd.errors import JobError, UsageError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.spool.files import Files
from arbd.spool.intake import SUBMITTED_SUFFIX, Accepted, Intake, Rejected
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import create_session, session_ids
from tests.spool.sessions import spec_of


class Clock:
    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000


def resolve(data: bytes, name: str) -> JobSpec:
    if b"bad" in data:
        raise JobError.of(name, "a bad job")
    text = data.decode()
    return spec_of(5, session_id=text.strip() if text.startswith("id-") else None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def intake(layout: SpoolLayout, clock: Clock) -> Intake:
    return Intake(Files(), layout, clock, resolve)


def drop(layout: SpoolLayout, name: str, text: str) -> Path:
    path = layout.incoming / name
    path.write_text(text)
    return path


def test_a_file_is_taken_up_once_it_stands_still(intake: Intake, layout: SpoolLayout, clock: Clock) -> None:
    path = drop(layout, "job.yaml", "id-one")
    assert intake.scan() == []
    clock.now_s += 0.9
    path.write_text("id-two more")  # still being copied
    assert intake.scan() == []
    clock.now_s += 0.9
    path.write_text("id-two")
    assert intake.scan() == []
    clock.now_s += 1.1
    assert intake.scan() == [Accepted("job.yaml", "id-two", 5)]
    assert session_ids(Files(), layout) == ["id-two"]
    assert read_spec(Files(), layout.session("id-two")).n == 5
    assert layout.session("id-two").job.read_text() == "id-two"
    assert not path.exists()


def test_a_submitted_file_is_taken_up_at_once(intake: Intake, layout: SpoolLayout) -> None:
    drop(layout, f"x{SUBMITTED_SUFFIX}", "id-x")
    assert intake.scan() == [Accepted(f"x{SUBMITTED_SUFFIX}", "id-x", 5)]


def test_a_job_without_an_id_gets_a_time_ordered_one(intake: Intake, layout: SpoolLayout) -> None:
    drop(layout, f"x{SUBMITTED_SUFFIX}", "no id")
    (accepted,) = intake.scan()
    assert isinstance(accepted, Accepted)
    assert accepted.session_id.startswith("20231114T221320-")


def test_a_bad_job_waits_for_the_rest_of_its_copy_and_is_then_rejected_with_the_reason(
    intake: Intake, layout: SpoolLayout, clock: Clock
) -> None:
    drop(layout, "job.yaml", "bad")
    intake.scan()
    for _ in range(4):
        clock.now_s += 1.5
        assert intake.scan() == []
    clock.now_s += 1.5
    (rejected,) = intake.scan()
    assert isinstance(rejected, Rejected)
    assert (layout.rejected / "job.yaml").read_text() == "bad"
    assert "a bad job" in (layout.rejected / "job.yaml.error.txt").read_text()


def test_a_bad_job_is_read_again_when_it_changed_or_its_time_is_up_not_at_each_look(
    layout: SpoolLayout, clock: Clock
) -> None:
    read: list[bytes] = []

    def counting(data: bytes, name: str) -> JobSpec:
        read.append(data)
        return resolve(data, name)

    intake = Intake(Files(), layout, clock, counting)
    path = drop(layout, "job.yaml", "bad")
    for _ in range(30):
        intake.scan()
        clock.now_s += 0.1
    assert read == [b"bad"]
    path.write_text("bad still")
    outcomes = []
    for _ in range(80):
        outcomes += intake.scan()
        clock.now_s += 0.1
    assert read == [b"bad", b"bad still", b"bad still"]
    assert [type(outcome) for outcome in outcomes] == [Rejected]


def test_a_second_bad_job_of_the_same_name_keeps_the_first(intake: Intake, layout: SpoolLayout) -> None:
    for _ in range(2):
        drop(layout, f"j{SUBMITTED_SUFFIX}", "bad")
        intake.scan()
    assert len(list(layout.rejected.iterdir())) == 4


def test_an_id_that_exists_is_rejected_and_nothing_is_overwritten(intake: Intake, layout: SpoolLayout) -> None:
    for name in ("a", "b"):
        drop(layout, f"{name}{SUBMITTED_SUFFIX}", "id-same")
    first, second = intake.scan()
    assert isinstance(first, Accepted)
    assert isinstance(second, Rejected)
    assert "exists already" in second.reason
    with pytest.raises(UsageError, match="exists already"):
        create_session(Files(), layout, "id-same", b"", spec_of(1))


@pytest.mark.parametrize(
    "name", [".hidden.yaml", "job.yaml~", "job.yaml.tmp", "job.yaml.part", ".job.yaml.swp", "#job.yaml#"]
)
def test_unfinished_names_are_left_alone(intake: Intake, layout: SpoolLayout, clock: Clock, name: str) -> None:
    drop(layout, name, "id-x")
    intake.scan()
    clock.now_s += 60
    assert intake.scan() == []
    assert not intake.waiting()


def rejected_reason(intake: Intake, clock: Clock) -> str:
    for _ in range(10):
        for outcome in intake.scan():
            assert isinstance(outcome, Rejected)
            return outcome.reason
        clock.now_s += 1.5
    raise AssertionError("nothing was rejected")


def test_what_is_no_job_file_is_rejected(intake: Intake, layout: SpoolLayout, clock: Clock) -> None:
    drop(layout, "notes.txt", "hello")
    assert "job files end in .yaml" in rejected_reason(intake, clock)
    (layout.incoming / "link.yaml").symlink_to("/etc/passwd")
    assert "not a regular file" in rejected_reason(intake, clock)
    os.mkfifo(layout.incoming / "pipe.yaml")
    assert "not a regular file" in rejected_reason(intake, clock)
    (layout.incoming / "folder.yaml").mkdir()
    assert "not a regular file" in rejected_reason(intake, clock)
    with (layout.incoming / "large.yaml").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    assert "larger than 1024 KiB" in rejected_reason(intake, clock)


@pytest.mark.parametrize("where", ["before the session", "after the session"])
def test_a_crash_in_the_middle_leaves_one_session(intake: Intake, layout: SpoolLayout, where: str) -> None:
    held = layout.accepting / "id-x,job.yaml"
    held.write_text("id-x")
    if where == "after the session":
        create_session(Files(), layout, "id-x", b"id-x", spec_of(5))
    (layout.sessions / ".id-x.0123abcd.new").mkdir()
    outcomes = intake.scan()
    assert outcomes == ([Accepted("job.yaml", "id-x", 5)] if where == "before the session" else [])
    assert session_ids(Files(), layout) == ["id-x"]
    assert not held.exists()
    assert [path.name for path in layout.sessions.iterdir()] == ["id-x"]


def test_two_workers_that_see_the_same_files_accept_each_once(layout: SpoolLayout, clock: Clock) -> None:
    intakes = [Intake(Files(), layout, clock, resolve) for _ in range(4)]
    for number in range(30):
        drop(layout, f"{number}{SUBMITTED_SUFFIX}", f"id-{number}")
    outcomes: list[object] = []

    def scan(one: Intake) -> None:
        for _ in range(40):
            outcomes.extend(one.scan())

    threads = [threading.Thread(target=scan, args=(one,)) for one in intakes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(o.session_id for o in outcomes if isinstance(o, Accepted)) == sorted(f"id-{n}" for n in range(30))
    assert len(outcomes) == 30


def test_a_held_job_that_has_turned_bad_is_rejected_after_patience(
    intake: Intake, layout: SpoolLayout, clock: Clock
) -> None:
    (layout.accepting / "id-x,job.yaml").write_text("bad")
    assert intake.scan() == []
    clock.now_s += 6.0
    (rejected,) = intake.scan()
    assert isinstance(rejected, Rejected)
    assert (layout.rejected / "job.yaml").exists()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG])
def test_a_job_that_names_a_file_which_cannot_be_looked_at_costs_that_job_alone(
    layout: SpoolLayout, clock: Clock, number: int
) -> None:
    def failing(data: bytes, name: str) -> JobSpec:
        if name.startswith("a"):
            raise OSError(number, os.strerror(number), "/elsewhere")
        return resolve(data, name)

    intake = Intake(Files(), layout, clock, failing)
    drop(layout, f"a{SUBMITTED_SUFFIX}", "id-a")
    drop(layout, f"b{SUBMITTED_SUFFIX}", "id-b")
    refused, taken = intake.scan()
    assert isinstance(refused, Rejected)
    assert f"cannot be checked here: [Errno {number}] {os.strerror(number)}: '/elsewhere'" in refused.reason
    assert isinstance(taken, Accepted)
    assert not intake.waiting()
