"""From a dropped file to a session or to rejected/, through slow copies, bad jobs, crashes and rivals."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

import pytest

from arbd.errors import JobError, UsageError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.spool import sessions
from arbd.spool.arrivals import SUBMITTED_SUFFIX, UNENDED_PATIENCE_S
from arbd.spool.files import Files
from arbd.spool.held import Held, Taker, give_back
from arbd.spool.intake import MAX_ATTEMPTS, MAX_CRASHES, Intake
from arbd.spool.layout import SpoolLayout
from arbd.spool.outcomes import Accepted, Rejected
from arbd.spool.sessions import create_session, session_ids, session_names
from arbd.spool.system import RealSystem
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
    path.write_text(f"{text}\n")
    return path


def test_a_file_is_taken_up_once_it_stands_still(intake: Intake, layout: SpoolLayout, clock: Clock) -> None:
    path = drop(layout, "job.yaml", "id-one")
    assert intake.scan() == []
    clock.now_s += 0.9
    path.write_text("id-two more\n")  # still being copied
    assert intake.scan() == []
    clock.now_s += 0.9
    path.write_text("id-two\n")
    assert intake.scan() == []
    clock.now_s += 1.1
    assert intake.scan() == [Accepted("job.yaml", "id-two", 5)]
    assert session_ids(Files(), layout) == ["id-two"]
    assert read_spec(Files(), layout.session("id-two")).n == 5
    assert layout.session("id-two").job.read_text() == "id-two\n"
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
    assert (layout.rejected / "job.yaml").read_text() == "bad\n"
    assert "a bad job" in (layout.rejected / "job.yaml.error.txt").read_text()


def test_a_bad_job_is_read_again_when_it_changed_or_its_time_is_up_not_at_each_look(
    layout: SpoolLayout, clock: Clock
) -> None:
    read: list[bytes] = []

    def counting(data: bytes, name: str) -> JobSpec:
        read.append(data)
        return resolve(data, name)

    intake = Intake(Files(), layout, clock, counting)
    # As cp does it, which keeps the file open whatever becomes of its name.
    with drop(layout, "job.yaml", "bad").open("a") as copied:
        for _ in range(30):
            intake.scan()
            clock.now_s += 0.1
        assert read == [b"bad\n"]
        copied.write("still\n")
        copied.flush()
        outcomes = []
        for _ in range(160):
            outcomes += intake.scan()
            clock.now_s += 0.1
    assert read == [b"bad\n", *[b"bad\nstill\n"] * 2]
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


# -- what has not arrived whole


LINES = ["tuning:\n", "  method: random\n", "id-x\n"]


@pytest.mark.parametrize("cut", range(1, sum(map(len, LINES)) + 1))
def test_a_copy_that_stalls_at_any_byte_is_taken_up_whole(layout: SpoolLayout, clock: Clock, cut: int) -> None:
    text = "".join(LINES)

    def whole_only(data: bytes, name: str) -> JobSpec:
        # A YAML file that was cut at the end of a line is still one, of another job.
        assert data.endswith(b"\n")
        return spec_of(5, session_id=f"of-{len(data)}")

    intake = Intake(Files(), layout, clock, whole_only)
    outcomes: list[object] = []

    def pass_time(seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            outcomes.extend(intake.scan())
            clock.now_s += 0.25

    with (layout.incoming / "job.yaml").open("w") as copied:
        copied.write(text[:cut])
        copied.flush()
        # Where the cut is in a line, the stall may be long; at the end of one nothing tells it from a whole file.
        pass_time(0.75 if text[cut - 1] == "\n" else UNENDED_PATIENCE_S - 1)
        assert outcomes == []
        copied.write(text[cut:])
    pass_time(3)
    assert outcomes == [Accepted("job.yaml", f"of-{len(text)}", 5)]


@pytest.mark.parametrize("name", ["job.yaml", "job.yml"])
def test_a_file_whose_last_line_has_no_end_is_taken_up_after_a_while_and_that_is_said(
    intake: Intake, layout: SpoolLayout, clock: Clock, name: str
) -> None:
    (layout.incoming / name).write_text("id-x")
    notes = []
    for _ in range(14):
        assert intake.scan() == []
        notes += intake.take_notes()
        clock.now_s += 1
    ((told, why),) = notes
    assert told == name
    assert "no newline" in why
    assert "15 s after its last change" in why
    clock.now_s += 2
    assert intake.scan() == [Accepted(name, "id-x", 5)]


def test_a_file_that_grows_while_it_is_checked_is_checked_again_as_it_then_is(
    layout: SpoolLayout, clock: Clock
) -> None:
    seen: list[bytes] = []
    copied = (layout.incoming / "job.yaml").open("w")

    def growing(data: bytes, name: str) -> JobSpec:
        seen.append(data)
        if len(seen) == 1:
            copied.write("more\n")
            copied.flush()
        return spec_of(len(data), session_id="s")

    copied.write("first\n")
    copied.flush()
    intake = Intake(Files(), layout, clock, growing)
    outcomes = []
    for _ in range(12):
        outcomes += intake.scan()
        clock.now_s += 0.5
    copied.close()
    assert (seen, outcomes) == ([b"first\n", b"first\nmore\n"], [Accepted("job.yaml", "s", 11)])


def test_a_file_that_grew_after_its_session_was_made_is_told(
    layout: SpoolLayout, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sessions.create_session

    def make_and_grow(*given: object, **named: object) -> object:
        (held,) = layout.taken.iterdir()
        found = made(*given, **named)  # type: ignore[arg-type]
        with held.open("a") as file:
            file.write("more\n")
        return found

    monkeypatch.setattr("arbd.spool.intake.create_session", make_and_grow)
    drop(layout, f"x{SUBMITTED_SUFFIX}", "id-x")
    (outcome,) = Intake(Files(), layout, clock, resolve).scan()
    assert isinstance(outcome, Rejected)
    assert "it has grown since session id-x was made of its first 5 bytes" in outcome.reason
    assert (layout.rejected / f"x{SUBMITTED_SUFFIX}").read_text() == "id-x\nmore\n"


def test_five_hundred_files_that_change_all_the_time_keep_no_other_waiting(layout: SpoolLayout, clock: Clock) -> None:
    intake = Intake(Files(), layout, clock, resolve)
    for number in range(500):
        drop(layout, f"a{number:03}.yaml", "id-x")
    drop(layout, "z.yaml", "id-z")
    outcomes: list[object] = []
    for turn in range(8):
        outcomes += intake.scan()
        for number in range(500):
            os.utime(layout.incoming / f"a{number:03}.yaml", ns=(turn, turn))
        clock.now_s += 0.9
    assert outcomes == [Accepted("z.yaml", "id-z", 5)]


# -- attempts


ME, OTHER = Taker("me", 1), Taker("other", 2)


def test_a_job_that_ends_its_process_each_time_is_refused_with_the_reason(layout: SpoolLayout, clock: Clock) -> None:
    begun: list[str] = []

    def dies(data: bytes, name: str) -> JobSpec:
        begun.append(name)
        raise KeyboardInterrupt

    drop(layout, f"bomb{SUBMITTED_SUFFIX}", "id-bomb")
    drop(layout, f"good{SUBMITTED_SUFFIX}", "id-good")
    outcomes: list[object] = []
    for _ in range(6):
        # The worker lives, and starts another process.
        intake = Intake(
            Files(), layout, clock, lambda d, n: dies(d, n) if n.startswith("bomb") else resolve(d, n), taker=ME,
            interrupted="was killed by SIGKILL",
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            outcomes += intake.scan()
    assert len(begun) == MAX_CRASHES
    refused = next(outcome for outcome in outcomes if isinstance(outcome, Rejected))
    assert "3 attempts at checking it did not come to an end; the last one was killed by SIGKILL" in refused.reason
    assert "intake_memory_mb" in refused.reason
    assert session_ids(Files(), layout) == ["id-good"]
    assert list(layout.taken.iterdir()) == []


def test_a_worker_that_ends_is_not_a_jobs_doing_until_it_happens_often(layout: SpoolLayout, clock: Clock) -> None:
    drop(layout, f"x{SUBMITTED_SUFFIX}", "id-x")
    held = Held(1, OTHER, "20231114T221320-abcdef", f"x{SUBMITTED_SUFFIX}")
    (layout.incoming / held.name).rename(held.path(layout))
    for start in range(2, MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            Intake(Files(), layout, clock, interrupting, taker=Taker("other", start + 10)).scan()
    assert Intake(Files(), layout, clock, resolve, taker=Taker("other", 99)).scan() == [Accepted(held.name, "id-x", 5)]


def interrupting(data: bytes, name: str) -> JobSpec:
    raise KeyboardInterrupt


def test_what_ends_in_an_orderly_way_is_no_attempt(layout: SpoolLayout, clock: Clock) -> None:
    drop(layout, f"x{SUBMITTED_SUFFIX}", "id-x")
    for number in range(20):
        taker = Taker("me", number)
        with pytest.raises(KeyboardInterrupt):
            Intake(Files(), layout, clock, interrupting, taker=taker).scan()
        give_back(Files(), layout, taker)
    assert Intake(Files(), layout, clock, resolve, taker=ME).scan() == [Accepted(f"x{SUBMITTED_SUFFIX}", "id-x", 5)]


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_job_that_another_worker_has_is_taken_over_when_that_worker_is_dead(
    layout: SpoolLayout, clock: Clock, is_dead: bool
) -> None:
    held = Held(1, OTHER, "20231114T221320-abcdef", "x.yaml")
    held.path(layout).write_text("id-x\n")
    intake = Intake(Files(), layout, clock, resolve, taker=ME, dead=lambda worker, start: "gone" if is_dead else None)
    assert intake.scan() == ([Accepted("x.yaml", "id-x", 5)] if is_dead else [])
    assert intake.waiting() is not is_dead


def test_what_a_later_version_has_taken_up_is_left_to_it(intake: Intake, layout: SpoolLayout, clock: Clock) -> None:
    (layout.taken / "%2%of a later version%x.yaml").write_text("id-x\n")
    for _ in range(5):
        assert intake.scan() == []
        clock.now_s += 10_000
    assert len(list(layout.taken.iterdir())) == 1


class KilledError(BaseException):
    """The process is no more."""


class Mortal(RealSystem):
    """Runs so many system calls and no more."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __getattribute__(self, name: str) -> object:
        found = object.__getattribute__(self, name)
        if name in ("open", "write", "fsync", "names", "make_folder", "rename", "link", "remove", "look", "lock"):
            self.left -= 1
            if self.left < 0:
                raise KilledError
        return found


@pytest.mark.parametrize("own_id", [True, False])
def test_killed_at_any_call_a_job_is_still_in_incoming_or_a_whole_session(
    tmp_path: Path, clock: Clock, own_id: bool
) -> None:
    text = "id-x\n" if own_id else "no id\n"
    calls = 0
    while True:
        layout = SpoolLayout(tmp_path / str(calls))
        layout.root.mkdir()
        layout.prepare()
        (layout.incoming / f"x{SUBMITTED_SUFFIX}").write_text(text)
        outcomes: list[object] = []
        with contextlib.suppress(KilledError):
            outcomes = list(Intake(Files(Mortal(calls)), layout, clock, resolve, taker=ME).scan())
        found = session_ids(Files(), layout)
        waits = [*layout.taken.iterdir(), *layout.incoming.glob("*.yaml")]
        # Whoever lists sessions can read each of them.
        assert all(read_spec(Files(), layout.session(name)).n == 5 for name in found)
        assert waits or len(found) == 1
        after = Intake(Files(), layout, clock, resolve, taker=ME)
        for _ in range(3):
            after.scan()
            clock.now_s += 20
        (session_id,) = session_ids(Files(), layout)
        paths = layout.session(session_id)
        assert (paths.job.read_text(), read_spec(Files(), paths).n) == (text, 5)
        assert [*layout.taken.iterdir(), *layout.incoming.glob("*.yaml"), *layout.rejected.iterdir()] == []
        assert sorted(p.name for p in paths.folder.iterdir()) == [
            "generations", "job.yaml", "ledger", "ledger.lock", "segments", "spec.msgpack"
        ]  # fmt: skip
        if outcomes:
            break
        calls += 1
    assert calls > 40


def test_a_session_whose_making_was_interrupted_and_that_nobody_finishes_is_removed(
    tmp_path: Path, clock: Clock
) -> None:
    calls = 0
    while True:
        layout = SpoolLayout(tmp_path / str(calls))
        layout.root.mkdir()
        layout.prepare()
        try:
            create_session(Files(Mortal(calls)), layout, "s", b"tuning: {}\n", spec_of(5))
        except KilledError:
            calls += 1
        else:
            break
        whole = (layout.session("s").folder / "ledger").exists()
        intake = Intake(Files(), layout, clock, resolve)
        for _ in range(3):
            intake.scan()
            clock.now_s += 11
        assert session_names(Files(), layout) == session_ids(Files(), layout) == (["s"] if whole else [])
    assert calls > 20


def test_a_folder_with_anything_of_a_session_is_never_taken_for_a_leftover(layout: SpoolLayout, clock: Clock) -> None:
    for number, name in enumerate(("results.msgpack", "segments/a.seg", "generations/1", "notes.txt")):
        folder = layout.session(f"s{number}").folder
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of value")
    intake = Intake(Files(), layout, clock, resolve)
    for _ in range(5):
        intake.scan()
        clock.now_s += 60
    assert len(session_names(Files(), layout)) == 4


def test_a_folder_that_somebody_removed_is_made_again(intake: Intake, layout: SpoolLayout) -> None:
    layout.taken.rmdir()
    drop(layout, f"x{SUBMITTED_SUFFIX}", "id-x")
    assert intake.scan() == [Accepted(f"x{SUBMITTED_SUFFIX}", "id-x", 5)]


def test_a_spool_of_an_earlier_version_can_be_submitted_to(layout: SpoolLayout) -> None:
    layout.taken.rmdir()
    layout.prepare_to_submit()
    assert not layout.taken.exists()
    layout.prepare()
    assert layout.taken.is_dir()
