"""Firing: each due time once, by whichever host, with clocks that differ, through crashes; and what a person does to it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arbd import schema
from arbd.errors import DataError, NotFoundError, UsageError
from arbd.job.spec import JobSpec
from arbd.spool import acts, ledger
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.held import Taker
from arbd.spool.intake import Intake
from arbd.spool.job_file import Submitters
from arbd.spool.layout import SpoolLayout
from arbd.spool.outcomes import Accepted, Outcome, Rejected, Stands
from arbd.spool.provenance import Actor, Submission
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids
from arbd.spool.standing.calendar import Due, Schedule, latest_due
from arbd.spool.standing.firing import Firing, StandingJobs, Written
from arbd.spool.standing.folder import (
    StandingFolder,
    StandingSpec,
    act,
    digest_of,
    find_standing,
    fired_line,
    firing_of,
    open_standing,
    require_free,
)
from arbd.spool.standing.records import MAX_FIRES, FiredRecord, FireRecord, StandingJob, StandingState
from tests.spool.sessions import spec_of
from tests.spool.test_intake import KilledError, Mortal

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
BEGIN_NS = 1_774_656_000 * 10**9  # 2026-03-28T00:00Z: clocks leap in Zurich a day later
ANNA = Submission(user="anna", uid=1001, wall_ns=BEGIN_NS)
ACTOR = Actor(user="bob", uid=1002, host="desk", wall_ns=BEGIN_NS, reason="holidays")
NIGHTLY = Schedule(at="02:30", timezone="Europe/Zurich")
JOB = b"the job file\n"


@dataclass
class Clock:
    """`now_ns` of the calendar; the monotonic clock moves with it."""

    now_ns: int = BEGIN_NS
    skew_ns: int = 0

    def monotonic_s(self) -> float:
        return self.now_ns / 1e9

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns + self.skew_ns

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def write(folder: StandingFolder, firing: Firing) -> Written:
    return Written(fired_line(folder.name) + firing.session.encode() + b"\n")


def resolve(data: bytes, name: str) -> JobSpec | StandingSpec:
    session = data.splitlines()[-1].decode()
    return StandingSpec("night", NIGHTLY, spec_of(3)) if data == JOB else spec_of(3, session_id=session)


@dataclass
class Farm:
    """A spool, a standing job in it, and a worker that takes jobs up; `digest` is that of the data."""

    layout: SpoolLayout
    schedule: Schedule = NIGHTLY
    clock: Clock = field(default_factory=Clock)
    digest: str | None = None
    wrong: str = ""
    rejected: list[Rejected] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout.prepare()
        spec = StandingSpec("night", self.schedule, spec_of(3))
        open_standing(Files(), self.layout, spec, JOB, ANNA)
        self.intake = Intake(
            Files(), self.layout, self.clock, resolve, taker=Taker("w", 1), host="host-w", submitters=Submitters()
        )

    def host(self, skew_ns: int = 0, files: Files | None = None, name: str = "a") -> StandingJobs:
        clock = Clock(self.clock.now_ns, skew_ns)
        return StandingJobs(files or Files(), self.layout, clock, name, self._write, lambda folder: self.digest)

    def _write(self, folder: StandingFolder, firing: Firing) -> Written:
        if self.wrong:
            raise DataError(Path("quotes.csv"), self.wrong)
        return write(folder, firing)

    def turn(self, host: StandingJobs, now_ns: int | None = None) -> list[str]:
        assert isinstance(host.clock, Clock)
        host.clock.now_ns = self.clock.now_ns = now_ns or self.clock.now_ns + 2 * 10**9
        assert host.turn()
        return host.fired

    def take_up(self, *, end: bool = True) -> list[Outcome]:
        outcomes = list(self.intake.scan())
        self.rejected += [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        for name in session_ids(Files(), self.layout) if end else ():
            SessionQueue(Files(), self.layout.session(name)).change(
                lambda now: [] if now.over else [acts.switched(ledger.CANCELLED, ACTOR)]
            )
        return outcomes

    @property
    def job(self) -> StandingJob:
        return find_standing(Files(), self.layout, "night").state


@pytest.fixture
def farm(layout: SpoolLayout) -> Farm:
    return Farm(layout)


@contextlib.contextmanager
def a_farm(schedule: Schedule) -> Iterator[Farm]:
    with tempfile.TemporaryDirectory() as folder:
        yield Farm(SpoolLayout(Path(folder)), schedule)


# A host looks, after so many hours, with its clock wrong by so many.
LOOKS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from((0.1, 1, 5, 11, 24, 60))), min_size=1, max_size=25)
SKEWS = st.lists(st.floats(-17, 17), min_size=4, max_size=4)


@settings(max_examples=40)
@given(LOOKS, SKEWS, st.sampled_from(("00:00", "02:30", "23:59")), st.sets(st.integers(0, 6), max_size=3))
def test_whichever_hosts_look_when_with_whatever_clocks_each_time_makes_one_session(
    looks: list[tuple[int, float]], skews: list[float], at: str, days: set[int]
) -> None:
    schedule = Schedule(at=at, days=tuple(sorted(days)), timezone="Europe/Zurich")
    with a_farm(schedule) as farm:
        hosts = [farm.host(int(skew * HOUR_NS), name=f"h{number}") for number, skew in enumerate(skews)]
        made: list[str] = []
        for number, hours in looks:
            before = farm.job
            fired = farm.turn(hosts[number], farm.clock.now_ns + int(hours * HOUR_NS))
            made += fired
            farm.take_up()
            if fired:
                due = farm.job.fires[-1]
                believed = hosts[number].clock.wall_ns()
                assert due.due_ns <= believed
                # Of what was missed the last one: no other time lies between it and that host's now.
                assert latest_due(schedule, believed).label == due.due  # type: ignore[union-attr]
                assert all(due.due_ns != earlier.due_ns for earlier in before.fires)
        assert made == [fire.session for fire in farm.job.fires]
        assert sorted(set(made)) == sorted(session_ids(Files(), farm.layout))
        assert len(set(made)) == len(made)
        assert farm.rejected == []
        # In the end nothing is owed to a host that has the right time, once it has looked.
        now_ns = farm.clock.now_ns + 2 * HOUR_NS
        farm.turn(farm.host(), now_ns)
        last = latest_due(schedule, now_ns)
        assert last is None or not farm.job.owes(last, now_ns)


def test_times_that_were_missed_are_caught_up_once_and_noted(farm: Farm) -> None:
    host = farm.host()
    assert farm.turn(host) == []
    assert farm.turn(host, BEGIN_NS + 10 * DAY_NS) == ["night-2026-04-06"]
    farm.take_up()
    assert farm.turn(host) == []
    assert farm.job.fires[-1].notes == ("earlier times were missed; this one stands for them",)
    assert farm.turn(host, BEGIN_NS + 11 * DAY_NS) == ["night-2026-04-07"]
    assert farm.job.fires[-1].notes == ()


# Clocks that are wrong by seconds, by about a day or some, by a year or thirty.
WILD = st.one_of(
    st.floats(-60, 60).map(lambda hours: int(hours * HOUR_NS)),
    st.integers(-40, 40).map(lambda days: days * DAY_NS),
    st.sampled_from((-30, -1, 1, 30)).map(lambda years: years * 365 * DAY_NS),
)


@settings(max_examples=25)
@given(WILD, st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.5, 30)), min_size=4, max_size=12))
@example(30 * HOUR_NS, [(True, False, 3.0), (False, False, 20.0), (True, False, 4.0), (True, True, 24.0)])
def test_beside_a_host_with_a_wild_clock_no_day_is_skipped_and_none_is_made_twice(
    skew_ns: int, looks: list[tuple[bool, bool, float]]
) -> None:
    """Whichever looks when, and is started anew: a date at which the host with the right time looked has its session."""
    with a_farm(NIGHTLY) as farm:
        right, wild = farm.host(name="right"), farm.host(skew_ns, name="wild")
        made: list[str] = []
        for is_right, is_new, hours in looks:
            if is_new:
                right, wild = farm.host(name="right"), farm.host(skew_ns, name="wild")
            host = right if is_right else wild
            made += farm.turn(host, farm.clock.now_ns + int(hours * HOUR_NS))
            farm.take_up()
            due = latest_due(NIGHTLY, farm.clock.now_ns)
            if is_right and due is not None and due.wall_ns > BEGIN_NS:
                assert f"night-{due.label}" in made
        assert len(set(made)) == len(made)
        assert sorted(made) == sorted(session_ids(Files(), farm.layout))


def test_a_time_that_a_firing_stands_for_is_not_fired_by_a_host_that_learns_of_it_late(farm: Farm) -> None:
    assert farm.turn(farm.host(), BEGIN_NS + 4 * DAY_NS) == ["night-2026-03-31"]
    farm.take_up()
    assert farm.turn(farm.host(name="b")) == []
    assert not any(farm.job.owes(due, farm.clock.now_ns) for due in map(_night, range(1, 5)))


def test_a_slow_host_makes_a_missed_day_late_and_each_once(farm: Farm) -> None:
    """Of two clocks nobody can tell which one is wrong: rather a session too many than a day without."""
    assert farm.turn(farm.host(), BEGIN_NS + 4 * DAY_NS) == ["night-2026-03-31"]
    farm.take_up()
    slow = farm.host(-DAY_NS)
    assert farm.turn(slow) == ["night-2026-03-30"]
    farm.take_up()
    assert farm.turn(slow) == []
    assert farm.turn(farm.host()) == []


def test_of_a_job_that_is_older_than_what_is_remembered_of_it_no_host_fires_an_old_time(farm: Farm) -> None:
    count = MAX_FIRES + 2
    fires = [
        FireRecord(due=due.label, due_ns=due.wall_ns, after_ns=due.wall_ns - DAY_NS, session=f"night-{due.label}",
                   cause="is due", digest="", wall_ns=due.wall_ns)
        for due in map(_night, range(1, count + 1))
    ]  # fmt: skip
    folder = find_standing(Files(), farm.layout, "night")
    folder.append([record for fire in fires for record in (fire, FiredRecord(session=fire.session, wall_ns=1))])
    farm.clock.now_ns = BEGIN_NS + count * DAY_NS
    assert len(farm.job.fires) == MAX_FIRES
    for days in (MAX_FIRES + 1, MAX_FIRES, 200, 3, 1):
        assert farm.turn(farm.host(-days * DAY_NS)) == []


def _night(number: int) -> Due:
    found = latest_due(NIGHTLY, BEGIN_NS + number * DAY_NS)
    assert found is not None
    return found


def test_a_clock_that_is_a_year_ahead_keeps_no_other_host_from_its_times(farm: Farm) -> None:
    assert farm.turn(farm.host(365 * DAY_NS), BEGIN_NS + DAY_NS) == ["night-2027-03-28"]
    farm.take_up()
    assert farm.turn(farm.host()) == ["night-2026-03-28"]


def test_a_time_that_comes_before_the_last_session_is_over_waits_for_its_end(farm: Farm) -> None:
    host = farm.host()
    assert farm.turn(host, BEGIN_NS + DAY_NS)
    assert farm.turn(host, BEGIN_NS + 2 * DAY_NS) == []
    (waits,) = host.overview()
    assert waits.wants_looks
    assert "the one before" in waits.waits
    farm.take_up(end=False)
    assert farm.turn(host, BEGIN_NS + 3 * DAY_NS) == []
    assert host.overview()[0].waits == "session night-2026-03-28, the one before, is pending"
    farm.take_up()
    assert farm.turn(host) == ["night-2026-03-30"]


def test_a_session_is_the_owners_whoever_may_submit_and_a_copy_of_its_job_goes_silently(farm: Farm) -> None:
    farm.turn(farm.host(), BEGIN_NS + DAY_NS)
    (dropped,) = farm.layout.incoming.glob("*.yaml")
    data = dropped.read_bytes()
    farm.intake.submitters = Submitters(frozenset({1001}), names=("anna",))
    assert farm.take_up() == [Accepted(dropped.name, "night-2026-03-28", 3)]
    queue = SessionQueue(Files(), farm.layout.session("night-2026-03-28"))
    assert queue.refresh().provenance.owner == "anna"
    assert queue.state.provenance.submission.host == "host-w"
    dropped.write_bytes(data)
    assert farm.take_up() == []
    assert list(farm.layout.incoming.glob("*.yaml")) == []
    assert farm.rejected == []


def test_a_job_that_only_says_that_a_standing_job_made_it_is_its_writers_own(farm: Farm) -> None:
    forged = fired_line("night") + b"night-2026-03-28\n"
    assert firing_of(Files(), farm.layout, forged) is None
    farm.turn(farm.host(), BEGIN_NS + DAY_NS)
    assert firing_of(Files(), farm.layout, forged) is not None
    for other in (forged + b"# more\n", fired_line("other") + b"x\n", fired_line("../night") + b"x\n", b"x\n", b""):
        assert firing_of(Files(), farm.layout, other) is None


def test_killed_at_any_call_a_time_is_fired_once_by_whoever_comes_next(tmp_path: Path) -> None:
    calls, fired = 0, False
    while not fired:
        farm = Farm(SpoolLayout(_made(tmp_path / str(calls))))
        with contextlib.suppress(KilledError):
            fired = bool(farm.turn(farm.host(files=Files(Mortal(calls))), BEGIN_NS + DAY_NS))
        farm.take_up()
        other = farm.host(name="b")
        for _ in range(3):
            farm.turn(other)
            farm.take_up()
        assert session_ids(Files(), farm.layout) == ["night-2026-03-28"]
        job = farm.job
        assert ([fire.due for fire in job.fires], job.pending) == (["2026-03-28"], False)
        assert farm.rejected == []
        # What the crash left goes with the next firing.
        assert farm.turn(other, BEGIN_NS + 2 * DAY_NS) == ["night-2026-03-29"]
        assert [path.name for path in (farm.layout.standing / "night").iterdir() if "next-" in path.name] == []
        calls += 1
    assert calls > 10


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_killed_at_any_call_a_job_file_with_a_schedule_makes_one_standing_job(tmp_path: Path) -> None:
    calls, made = 0, False
    while not made:
        layout = SpoolLayout(_made(tmp_path / str(calls)))
        layout.prepare()
        (layout.incoming / f"night{SUBMITTED_SUFFIX}").write_bytes(JOB)
        with contextlib.suppress(KilledError):
            intake = Intake(Files(Mortal(calls)), layout, Clock(), resolve, taker=Taker("w", 1))
            made = any(isinstance(outcome, Stands) for outcome in intake.scan())
        clock = Clock()
        after = Intake(Files(), layout, clock, resolve, taker=Taker("w", 1))
        for _ in range(3):
            after.scan()
            clock.now_ns += 20 * 10**9
        folder = find_standing(Files(), layout, "night")
        assert (folder.state.state, folder.state.digest) == (StandingState.ACTIVE, digest_of(JOB))
        assert folder.job.read_bytes() == JOB
        assert list(layout.rejected.iterdir()) == []
        assert list(layout.incoming.glob("*.yaml")) == []
        calls += 1
    assert calls > 10


def test_a_firing_that_cannot_be_prepared_is_noted_once_and_tried_again(farm: Farm) -> None:
    host, farm.wrong = farm.host(), "no such file"
    assert farm.turn(host, BEGIN_NS + DAY_NS) == []
    log = (farm.layout.standing / "night" / "log").read_bytes()
    assert "no such file" in host.overview()[0].trouble
    for _ in range(5):
        assert farm.turn(host, farm.clock.now_ns + 61 * 10**9) == []
        assert farm.turn(farm.host(name="b")) == []
    assert (farm.layout.standing / "night" / "log").read_bytes() == log
    farm.wrong = ""
    assert farm.turn(host) == []  # a moment after it failed
    assert farm.turn(host, farm.clock.now_ns + 61 * 10**9) == ["night-2026-03-28"]
    assert farm.job.trouble is None


def test_a_session_whose_job_is_refused_is_told_as_trouble(farm: Farm) -> None:
    host = farm.host()
    (session,) = farm.turn(host, BEGIN_NS + DAY_NS)
    farm.intake.admit = lambda whose, job, coming: f"{whose.user} has too many"
    (rejected,) = farm.take_up()
    assert isinstance(rejected, Rejected)
    farm.turn(host)
    assert "was rejected" in farm.job.trouble.why  # type: ignore[union-attr]
    assert "anna has too many" in farm.job.trouble.why  # type: ignore[union-attr]
    farm.intake.admit = lambda user, job, coming: ""
    assert farm.turn(host, BEGIN_NS + 2 * DAY_NS) == [session.replace("28", "29")]


def test_new_data_fire_once_for_each_content_and_again_when_an_old_one_comes_back(layout: SpoolLayout) -> None:
    farm = Farm(layout, Schedule())
    hosts = [farm.host(), farm.host(name="b")]
    made = []
    for digest in (None, "a" * 64, "a" * 64, None, "b" * 64, "a" * 64, "a" * 64):
        farm.digest = digest
        for host in hosts:
            made += farm.turn(host)
            farm.take_up()
    assert made == ["night-aaaaaaaaaa", "night-bbbbbbbbbb", "night-aaaaaaaaaa-2"]
    assert sorted(session_ids(Files(), layout)) == sorted(made)


def test_a_paused_job_fires_nothing_and_once_it_is_resumed_what_it_missed_once(farm: Farm) -> None:
    act(Files(), farm.layout, "night", "pause", ACTOR)
    host = farm.host()
    assert farm.turn(host, BEGIN_NS + 3 * DAY_NS) == []
    with pytest.raises(UsageError, match="is paused"):
        act(Files(), farm.layout, "night", "fire", ACTOR)
    for _ in range(2):
        act(Files(), farm.layout, "night", "resume", ACTOR)
    assert farm.turn(host) == ["night-2026-03-30"]
    assert [what for what, _ in farm.job.actions] == ["pause", "resume"]


def test_asked_for_a_job_fires_now_once_beside_its_schedule(farm: Farm) -> None:
    host = farm.host()
    for number in (1, 2):
        act(Files(), farm.layout, "night", "fire", ACTOR)
        assert farm.turn(host) == [f"night-asked-{number}"]
        farm.take_up()
        assert farm.turn(host) == []
    assert farm.job.fires[-1].cause == "asked for by bob"
    assert farm.turn(host, BEGIN_NS + DAY_NS) == ["night-2026-03-28"]


def test_a_removed_job_is_free_to_be_submitted_again_and_keeps_its_history(farm: Farm) -> None:
    host, files = farm.host(), Files()
    farm.turn(host, BEGIN_NS + DAY_NS)
    farm.take_up()
    spec = StandingSpec("night", NIGHTLY, spec_of(3))
    with pytest.raises(UsageError, match="is not overwritten"):
        require_free(files, farm.layout, "night")
    with pytest.raises(UsageError, match="is not overwritten"):
        open_standing(files, farm.layout, spec, b"another\n", ANNA)
    with pytest.raises(UsageError, match="is not overwritten"):
        open_standing(files, farm.layout, spec, JOB, ANNA)
    open_standing(files, farm.layout, spec, JOB, ANNA, again=True)
    act(files, farm.layout, "night", "remove", ACTOR)
    assert farm.turn(host, BEGIN_NS + 2 * DAY_NS) == []
    assert host.overview() == ()
    for what in ("pause", "resume", "remove", "fire"):
        with pytest.raises(UsageError, match="was removed"):
            act(files, farm.layout, "night", what, ACTOR)
    require_free(files, farm.layout, "night")
    later = Submission(user="carl", uid=1003, wall_ns=farm.clock.now_ns)
    open_standing(files, farm.layout, spec, b"another\n", later)
    # Nothing is due before it was submitted.
    assert farm.turn(host) == []
    assert farm.turn(host, BEGIN_NS + 3 * DAY_NS) == ["night-2026-03-30"]
    assert [fire.due for fire in farm.job.fires] == ["2026-03-28", "2026-03-30"]
    assert farm.job.last == farm.job.fires[-1]


def test_a_log_of_another_version_is_left_alone_and_told(farm: Farm) -> None:
    log = farm.layout.standing / "night" / "log"
    log.write_bytes(encode_frame(msgpack.packb({"k": "open", schema.STANDING.key: 99, "by": "9.0"})))
    host = farm.host()
    assert farm.turn(host, BEGIN_NS + DAY_NS) == []
    assert "9.0" in host.troubles["night"]


@pytest.mark.parametrize(
    "damage", [b"\0" * 50, b"\xff" * 50, encode_frame(b"\xc1\xc1"), encode_frame(b"\x81\xa1k\xa3odd")]
)
def test_damage_in_a_log_is_passed_over(farm: Farm, damage: bytes) -> None:
    log = farm.layout.standing / "night" / "log"
    log.write_bytes(log.read_bytes() + damage)
    host = farm.host()
    assert farm.turn(host, BEGIN_NS + DAY_NS) == ["night-2026-03-28"]
    farm.take_up()
    log.write_bytes(damage + log.read_bytes())
    assert farm.turn(farm.host(name="b")) == []
    assert farm.job.last is not None


def test_a_job_that_is_none_is_not_found_and_a_near_name_is_told(farm: Farm) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'night'"):
        act(Files(), farm.layout, "nigth", "pause", ACTOR)


def test_what_stands_among_standing_jobs_and_is_none_does_no_harm(farm: Farm) -> None:
    (farm.layout.standing / "a file").write_text("x")
    (farm.layout.standing / "empty").mkdir()
    (farm.layout.standing / "file").write_text("x")
    host = farm.host()
    assert farm.turn(host, BEGIN_NS + DAY_NS) == ["night-2026-03-28"]
