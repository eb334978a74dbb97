"""What one worker does on its spool, turn by turn: when it looks, beats, claims, waits, ends, and what it says of it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest

from arbd.daemon.core import events
from arbd.daemon.core.condition import COUNT_REJECTED_S
from arbd.daemon.core.coordinator import FIRST_TROUBLE_PAUSE_S, LONGEST_TROUBLE_PAUSE_S, Coordinator
from arbd.daemon.core.counters import Counters
from arbd.daemon.core.generation_scheduler import POLL_S
from arbd.daemon.core.session_registry import LOOKS_BEFORE_UNREADABLE, Timing
from arbd.daemon.slots.pool import ExitReport
from arbd.daemon.slots.progress import EVALUATING, LOADING, Progress
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, SlotSetup
from arbd.errors import CorruptionError
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.frames import payloads
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, beat_path, take_liveness_lock, write_beat
from arbd.spool.operations import begin_maintenance, end_maintenance
from arbd.spool.outcomes import Accepted, Rejected
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.system import RealSystem
from tests.spool.sessions import make_session

TIMING = Timing(scan_s=30.0, beat_s=7.0, lease_s=60.0, chunk_target_s=2.0)
ACTOR = Actor(user="ann", uid=1, host="desk", wall_ns=1, reason="disks")
NOWHERE = Progress(7, 1, LOADING, 0, 0, 0)
UNREADABLE = "the session cannot be read; it is looked at again"
IN_TROUBLE, WORKS_AGAIN = "the spool is in trouble; nothing is lost, trying again", "the spool works again"


class BrokenAtTimes(RealSystem):
    """A disk that answers, or does not."""

    error: OSError | None = None

    def open(self, path: Path, flags: int, mode: int = 0o664) -> int:
        if self.error is not None:
            raise self.error
        return super().open(path, flags, mode)

    def names(self, folder: Path) -> list[str]:
        if self.error is not None:
            raise self.error
        return super().names(folder)


@dataclass
class Time:
    """Stands until it is moved."""

    now_s: float = 1_000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000 + int(self.now_s * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Waiting:
    """`Inbox` that never waits, and notes for how long it would have."""

    events: list[events.Event] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def put(self, event: events.Event) -> None:
        self.events.append(event)

    def get(self, timeout_s: float) -> events.Event | None:
        self.waits_s.append(timeout_s)
        return self.events.pop(0) if self.events else None


@dataclass
class Lines:
    """`Log` that keeps what was said."""

    said: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def _say(self, event: str, **fields: object) -> None:
        self.said.append((event, fields))

    debug = info = warning = error = _say

    def of(self, event: str) -> list[dict[str, object]]:
        return [fields for said, fields in self.said if said == event]


class Desk:
    """A coordinator of a worker with two slots, and everything around it."""

    def __init__(self, layout: SpoolLayout, *, burst: bool = False, intake: bool = False) -> None:
        self.layout, self.system, self.time = layout, BrokenAtTimes(), Time()
        self.files, self.inbox, self.log, self.counters = Files(self.system), Waiting(), Lines(), Counters()
        self.sent: list[events.Command] = []
        life = take_liveness_lock(self.files, layout, "w")
        assert life is not None
        self.life = life
        self.coordinator = Coordinator(
            self.files, self.time, layout, Worker("w", 1, 2), TIMING, self.log,  # type: ignore[arg-type]
            self.sent.append, about={"slots": 2}, intake=intake, inbox=self.inbox, life=life, burst=burst,
            more=lambda: {"rate": -1.0, "cpu": 5}, counters=self.counters, labels={"disk": "fast"},
        )  # fmt: skip

    def turn(self, *told: events.Event, after_s: float = 0.0) -> list[events.Command]:
        """What is sent in a turn after these events, and after so long."""
        self.time.now_s += after_s
        self.inbox.events += told
        del self.inbox.waits_s[:]
        del self.sent[:]
        self.coordinator._turn()
        return list(self.sent)

    def runs(self, *told: events.Event, after_s: float = 0.0) -> list[ChunkTask]:
        return [sent.task for sent in self.turn(*told, after_s=after_s) if isinstance(sent, events.Run)]

    def end(self, *told: events.Event, after_s: float = 0.0) -> tuple[int, str] | None:
        """With what the worker ends in a turn; None while it does not."""
        ends = [sent for sent in self.turn(*told, after_s=after_s) if isinstance(sent, events.Finished)]
        return (ends[0].exit_code, ends[0].reason) if ends else None

    def beat(self) -> Mapping[str, Any]:
        (payload,) = payloads(beat_path(self.layout, "w").read_bytes())
        found: Mapping[str, Any] = msgpack.unpackb(payload)
        return found

    def about(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.beat()["about"]
        return found


@pytest.fixture
def desk(layout: SpoolLayout) -> Desk:
    return Desk(layout)


def done(task: ChunkTask, busy_s: float = 1.0, **more: Any) -> events.Reported:
    counts = {part.claim.claim_id: (part.span.count, 0, 0, 0) for part in task.sub_spans}
    return events.Reported(task, ChunkReport(counts, {}, busy_s, **more), busy_s)


def failed(task: ChunkTask) -> events.Reported:
    counts = {part.claim.claim_id: (0, part.span.count, 0, 0) for part in task.sub_spans}
    return events.Reported(task, ChunkReport(counts, {}, 1.0, first_error="no driver"), 1.0)


def death(task: ChunkTask, progress: Progress, killed: str = "") -> events.Lost:
    setup = SlotSetup("0.1", "w", 1, 1, Path("p"), Path("o"), Path("c"), (), ())
    return events.Lost(task, ExitReport(progress, killed, "exited with 3", "", setup), 1.0)


def test_it_looks_at_the_sessions_when_told_to_and_when_it_is_time(desk: Desk, layout: SpoolLayout) -> None:
    desk.turn(events.SlotReady())
    make_session(layout, 10)
    assert desk.runs() == []
    assert desk.runs(after_s=TIMING.scan_s - 0.5) == []
    assert len(desk.runs(after_s=0.5)) == 1
    make_session(layout, 10, "t")
    assert desk.runs(events.Wake())[0].session.name == "t"


def test_a_wake_among_other_events_is_a_wake(desk: Desk, layout: SpoolLayout) -> None:
    desk.turn()
    make_session(layout, 10)
    assert len(desk.runs(events.Wake(), events.SlotReady())) == 1


def test_it_waits_until_the_next_beat_or_look_and_not_longer(desk: Desk) -> None:
    desk.turn()
    desk.turn(after_s=2.0)
    assert desk.inbox.waits_s == [TIMING.beat_s - 2.0]
    desk.turn(after_s=TIMING.scan_s)
    assert desk.inbox.waits_s == [0.0]
    desk.turn(events.SlotReady(), events.SlotReady(), after_s=TIMING.beat_s - 1.0)
    # What came meanwhile is taken at once, all of it.
    assert desk.inbox.waits_s == [1.0, 0.0, 0.0]


def test_it_beats_as_often_as_it_says_and_counts(desk: Desk) -> None:
    for after_s, counter in ((0.0, 1), (TIMING.beat_s - 1.0, 1), (1.0, 2), (0.0, 2), (TIMING.beat_s, 3)):
        desk.turn(after_s=after_s)
        assert desk.beat()["counter"] == counter


def test_it_looks_often_for_a_generation_that_its_slots_wait_for_unless_it_drains(
    desk: Desk, layout: SpoolLayout
) -> None:
    make_session(layout, 40, method="tpe", generation_size=4)
    assert [type(sent) for sent in desk.turn(events.SlotReady())] == [events.Suggest]
    desk.turn()
    assert desk.inbox.waits_s == pytest.approx([POLL_S])
    desk.turn(events.Drain())
    assert desk.inbox.waits_s == pytest.approx([POLL_S, 0.0])


def test_a_worker_that_drains_looks_for_no_generation(layout: SpoolLayout) -> None:
    desk, other = Desk(layout), make_session(layout, 100_000, "other")
    (task,) = desk.runs(events.SlotReady())
    assert task.session == other.folder
    make_session(layout, 40, method="tpe", generation_size=4)
    desk.turn(events.Wake())
    desk.turn(events.Drain())
    desk.turn()
    assert desk.inbox.waits_s == [TIMING.beat_s]


def test_no_more_is_claimed_than_the_slots_that_are_ready_can_take(desk: Desk, layout: SpoolLayout) -> None:
    make_session(layout, 100_000)
    assert desk.runs() == []
    first = desk.runs(events.SlotReady())
    assert len(first) == 1
    rest = desk.runs(events.SlotReady(), events.SlotReady(), events.SlotReady())
    # Two slots are all there are, however often one says that it is ready.
    assert len(first) + len(rest) == 2


def test_a_heartbeat_says_what_the_worker_does(desk: Desk, layout: SpoolLayout) -> None:
    make_session(layout, 100_000)
    tasks = desk.runs(events.SlotReady(), events.SlotReady())
    more = desk.runs(done(tasks[0], busy_s=tasks[0].size * 0.5))
    desk.turn(after_s=TIMING.beat_s)
    about = desk.about()
    assert about["busy"] == 1 + len(more)
    assert about["done"] == tasks[0].size
    # Two slots, half a second each.
    assert about["rate"] == pytest.approx(4.0)
    assert about["sessions"] == ["s"]
    assert (about["slots"], about["only"], about["state"], about["trouble"]) == (2, None, "running", "")
    assert (about["blocked"], about["finishing"], about["held"]) == ({}, {}, {})
    assert (about["labels"], about["cpu"]) == ({"disk": "fast"}, 5)
    assert about["wall_ns"] == desk.time.wall_ns()
    assert "halted" not in about
    assert desk.counters.snapshot.about["busy"] == about["busy"]
    assert desk.counters.snapshot.taken_s == desk.time.now_s


def test_a_heartbeat_counts_the_jobs_that_wait_and_that_were_refused_seldom(desk: Desk, layout: SpoolLayout) -> None:
    (layout.rejected / "a.error.txt").touch()
    # Not at the start, when others wait for the first heartbeat.
    desk.turn()
    (layout.incoming / "b.yaml").touch()
    (layout.incoming / "c.yaml").touch()
    desk.turn(after_s=COUNT_REJECTED_S - 1.0)
    desk.coordinator._beat()
    assert (desk.about()["jobs_rejected"], desk.about()["jobs_queued"]) == (0, 0)
    desk.turn(after_s=1.0)
    desk.coordinator._beat()
    assert (desk.about()["jobs_rejected"], desk.about()["jobs_queued"]) == (1, 2)
    (layout.incoming / "c.yaml").unlink()
    desk.turn(after_s=COUNT_REJECTED_S / 2)
    desk.coordinator._beat()
    assert desk.about()["jobs_queued"] == 2


def test_a_worker_that_is_halted_says_why_gives_everything_back_and_claims_nothing(
    desk: Desk, layout: SpoolLayout
) -> None:
    make_session(layout, 100_000)
    tasks = desk.runs(events.SlotReady(), events.SlotReady())
    begin_maintenance(desk.files, layout, ACTOR)
    assert [type(sent) for sent in desk.turn(events.Wake())] == [events.Stop]
    assert desk.runs(*(events.Returned(task) for task in tasks), after_s=TIMING.beat_s) == []
    desk.turn(after_s=TIMING.beat_s)
    assert (desk.about()["state"], desk.about()["halted"]) == ("maintenance", "maintenance by ann on desk: disks")
    assert desk.about()["busy"] == 0
    end_maintenance(desk.files, layout, ACTOR)
    assert len(desk.runs(events.Wake())) == 2
    desk.turn(after_s=TIMING.beat_s)
    assert desk.about()["state"] == "running"
    assert "halted" not in desk.about()


def test_what_is_left_of_a_task_goes_on_in_a_fresh_process(desk: Desk, layout: SpoolLayout) -> None:
    make_session(layout, 100_000)
    (task,) = desk.runs(events.SlotReady())
    report = ChunkReport({}, {}, 0.0, rest=task, first_error="no luck")
    again = desk.runs(events.Reported(task, report))
    assert [t.sub_spans for t in again] == [task.sub_spans]
    assert desk.log.of("iterations failed") == [{"session": "s", "first_error": "no luck"}]
    desk.turn(done(again[0]))
    assert len(desk.log.of("iterations failed")) == 1


@pytest.mark.parametrize("why", ["drain", "pause", "cancel"])
def test_what_is_left_of_a_task_goes_back_where_nothing_is_to_run(desk: Desk, layout: SpoolLayout, why: str) -> None:
    paths = make_session(layout, 100_000)
    (task,) = desk.runs(events.SlotReady())
    told: list[events.Event] = []
    if why == "drain":
        told = [events.Drain()]
    else:
        state = ledger.PAUSED if why == "pause" else ledger.CANCELLED
        SessionQueue(Files(), paths).change(lambda _: [ledger.switched(state)])
        desk.turn(events.Wake())
    assert desk.runs(*told, events.Reported(task, ChunkReport({}, {}, 0.0, rest=task))) == []
    assert not SessionQueue(Files(), paths).refresh().claims


def test_a_slot_that_died_is_counted_and_told_with_its_iteration(desk: Desk, layout: SpoolLayout) -> None:
    make_session(layout, 100_000)
    tasks = desk.runs(events.SlotReady(), events.SlotReady())
    progress = Progress(7, tasks[0].number, EVALUATING, tasks[0].sub_spans[0].span.first, 1, 0)
    again = desk.runs(death(tasks[0], progress))
    assert again
    desk.turn(death(tasks[1], NOWHERE))
    told = desk.log.of("a slot died")
    assert [fields.get("iteration") for fields in told] == [progress.first, None]
    assert [fields["slot"] for fields in told] == ["0.1", "0.1"]
    assert desk.counters.events["slot_died"] == 2


def test_what_a_dead_slot_had_goes_back_while_the_worker_drains(desk: Desk, layout: SpoolLayout) -> None:
    paths = make_session(layout, 100_000)
    (task,) = desk.runs(events.SlotReady())
    assert desk.end(events.Drain(), death(task, NOWHERE, "the daemon stops")) == (0, "drained")
    assert not SessionQueue(Files(), paths).refresh().claims


def test_dropped_jobs_are_told_counted_and_looked_at_at_once(desk: Desk, layout: SpoolLayout) -> None:
    desk.turn(events.SlotReady())
    make_session(layout, 10)
    told = events.IntakeReported((Accepted("a.yaml", "s", 10), Rejected("b.yaml", "no data")), waiting=False)
    assert [task.session.name for task in desk.runs(told)] == ["s"]
    assert desk.log.of("job accepted") == [{"job": "a.yaml", "session": "s", "iterations": 10}]
    assert desk.log.of("job rejected") == [{"job": "b.yaml", "reason": "no data"}]
    assert (desk.counters.events["job_accepted"], desk.counters.events["job_rejected"]) == (1, 1)


def test_since_when_jobs_wait_is_since_one_came_to_an_end_or_the_first_waited(desk: Desk) -> None:
    def since(*outcomes: Rejected, waiting: bool, after_s: float) -> float | None:
        desk.turn(events.IntakeReported(outcomes, waiting), after_s=after_s)
        return desk.counters.condition.jobs_waiting_since_s

    begun = desk.time.now_s
    assert since(waiting=False, after_s=1.0) is None
    assert since(waiting=True, after_s=1.0) == begun + 2
    assert since(waiting=True, after_s=1.0) == begun + 2
    assert since(Rejected("a", "no"), waiting=True, after_s=1.0) == begun + 4
    assert since(waiting=True, after_s=1.0) == begun + 4
    assert since(waiting=False, after_s=1.0) is None


def test_each_failure_of_the_spool_is_followed_by_a_longer_pause_and_told_once(desk: Desk) -> None:
    desk.turn()
    desk.system.error = OSError(errno.EIO, "no answer")
    desk.turn(events.Wake())
    for at in range(1, 8):
        pause_s = min(FIRST_TROUBLE_PAUSE_S * 2**at, LONGEST_TROUBLE_PAUSE_S)
        assert "no answer" in desk.counters.condition.spool_trouble
        # Whoever woke it is not forgotten: it looks again until that succeeds.
        desk.turn(after_s=pause_s)
        assert desk.inbox.waits_s[0] == pause_s
    assert desk.counters.events["spool_trouble"] == 1
    assert len(desk.log.of(IN_TROUBLE)) == 1
    desk.system.error = None
    desk.turn()
    assert desk.counters.condition.spool_trouble == ""
    assert len(desk.log.of(WORKS_AGAIN)) == 1
    desk.turn()
    assert len(desk.log.of(WORKS_AGAIN)) == 1
    desk.system.error = FileNotFoundError(errno.ENOENT, "gone", "/spool/sessions")
    desk.turn(events.Wake())
    desk.turn()
    assert desk.inbox.waits_s[0] == 2 * FIRST_TROUBLE_PAUSE_S
    assert desk.log.of(IN_TROUBLE)[1] == {"reason": "/spool/sessions is missing; is the spool mounted, was it removed?"}


def test_a_worker_that_drains_ends_when_nothing_is_out_whether_the_spool_answers_or_not(layout: SpoolLayout) -> None:
    desk = Desk(layout)
    make_session(layout, 100_000)
    (task,) = desk.runs(events.SlotReady())
    assert desk.end(events.Drain()) is None
    desk.turn(after_s=TIMING.beat_s)
    assert desk.about()["state"] == "draining"
    assert desk.end(events.Returned(task)) == (0, "drained")
    assert desk.about()["state"] == "ended"
    desk.life.release()
    away = Desk(layout)
    away.turn()
    away.system.error = OSError(errno.EIO, "no answer")
    assert away.end(events.Drain(), events.Wake()) == (0, "drained")


def test_a_burst_ends_when_nothing_is_left_to_do_and_no_job_waits(layout: SpoolLayout) -> None:
    desk = Desk(layout, burst=True, intake=True)
    assert desk.end() is None
    assert desk.end(events.IntakeReported((), waiting=True)) is None
    assert desk.end(events.IntakeReported((), waiting=False)) == (0, "nothing is left to do")
    desk.life.release()
    assert Desk(layout).end() is None


def test_a_burst_goes_on_while_something_runs_or_might(layout: SpoolLayout) -> None:
    paths = make_session(layout, 100_000)
    desk = Desk(layout, burst=True)
    # Nothing is out, and yet there is a session that could run.
    assert desk.end() is None
    (task,) = desk.runs(events.SlotReady())
    assert desk.end() is None
    SessionQueue(Files(), paths).change(lambda _: [ledger.switched(ledger.PAUSED)])
    assert desk.end(events.Wake(), events.Returned(task)) == (0, "nothing is left to do")


def test_a_burst_looks_at_a_session_that_came_after_its_look(layout: SpoolLayout) -> None:
    desk = Desk(layout, burst=True, intake=True)
    assert desk.end() is None
    make_session(layout, 10)
    assert desk.end(events.IntakeReported((), waiting=False)) is None
    assert len(desk.runs(events.SlotReady())) == 1


def test_a_burst_that_cannot_evaluate_a_session_ends_with_one_and_the_reason(layout: SpoolLayout) -> None:
    make_session(layout, 10)
    desk = Desk(layout, burst=True)
    (task,) = desk.runs(events.SlotReady())
    assert desk.end(events.Unloadable(task, "no module samples")) == (1, "s: no module samples")
    told = desk.log.of("this host cannot evaluate the session")
    assert told == [{"session": "s", "reason": "no module samples"}]
    assert desk.about()["blocked"] == {"s": "no module samples"}


def test_that_a_session_cannot_be_evaluated_here_is_told_once_for_each_reason(desk: Desk, layout: SpoolLayout) -> None:
    make_session(layout, 100_000)
    first, second = desk.runs(events.SlotReady(), events.SlotReady())
    desk.turn(events.Unloadable(first, "no module"), events.Unloadable(second, "no module"))
    assert len(desk.log.of("this host cannot evaluate the session")) == 1


def test_a_session_whose_code_was_changed_here_is_left_to_others(desk: Desk, layout: SpoolLayout) -> None:
    make_session(layout, 100_000)
    (task,) = desk.runs(events.SlotReady())
    assert desk.runs(done(task, code_changed="samples.py is another")) == []
    assert desk.log.of("this host cannot evaluate the session") == [{"session": "s", "reason": "samples.py is another"}]


def test_a_session_that_is_exhausted_is_compacted_and_looked_at_again_afterwards(
    desk: Desk, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 3)
    tasks = desk.runs(events.SlotReady())
    while tasks:
        sent = desk.turn(done(tasks.pop()))
        tasks += [command.task for command in sent if isinstance(command, events.Run)]
    assert sent == [events.Compact(paths.folder)]
    # While one runs, and for a pause after it failed, there is no other.
    assert desk.turn() == []
    assert desk.turn(events.Compacted(paths.folder, "no space")) == []
    desk.turn(after_s=TIMING.beat_s)
    assert desk.about()["finishing"] == {"s": "no space"}
    (again,) = desk.turn(after_s=TIMING.scan_s)
    assert isinstance(again, events.Compact)
    SessionQueue(Files(), paths).change(lambda _: [ledger.compacted((3, 0, 0, 0), 0)])
    desk.turn(events.Compacted(paths.folder))
    desk.turn()
    desk.turn(after_s=TIMING.beat_s)
    assert desk.about()["finishing"] == {}
    assert desk.log.of("session done")[0]["completed"] == 3
    assert desk.counters.condition.sessions_by_standing["over"] == 1


def test_failures_that_others_may_judge_are_recorded_once_nothing_is_left_to_claim(
    desk: Desk, layout: SpoolLayout
) -> None:
    paths = make_session(layout, 3)
    for counter in (1, 2):
        write_beat(desk.files, layout, Beat("other", 1, counter, {"state": "running"}))
        desk.turn(events.Wake(), after_s=TIMING.scan_s)
    tasks, withheld = desk.runs(events.SlotReady()), 0
    while tasks:
        task = tasks.pop()
        withheld += task.size
        tasks += desk.runs(failed(task))
        if tasks:
            # Somebody else may complete iterations meanwhile, which would tell that this host is to blame.
            assert SessionQueue(Files(), paths).refresh().counts == [0, 0, 0, 0]
    assert withheld == 3
    desk.turn()
    assert SessionQueue(Files(), paths).refresh().counts == [0, 3, 0, 0]


def test_new_settings_hold_from_the_next_turn(desk: Desk) -> None:
    desk.turn()
    counter = desk.beat()["counter"]
    desk.turn(events.Reconfigured(11.0, 3.0, 60.0, 2.0, labels={"disk": "slow"}))
    assert desk.beat()["counter"] == counter + 1
    assert (desk.about()["labels"], desk.about()["beat_s"]) == ({"disk": "slow"}, 3.0)
    desk.turn()
    assert desk.inbox.waits_s == [3.0]
    desk.turn(after_s=3.0)
    assert desk.beat()["counter"] == counter + 2


def test_a_lock_that_was_lost_is_taken_again_and_told(desk: Desk, layout: SpoolLayout) -> None:
    desk.turn()
    desk.life.path.unlink()
    desk.turn(after_s=TIMING.beat_s)
    desk.turn(after_s=TIMING.beat_s)
    assert desk.counters.events["life_lock_retaken"] == 1
    assert len(desk.log.of("the lock of this worker was lost, and is taken again; was the spool away?")) == 1


def test_an_error_that_is_not_the_spools_ends_the_worker(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(timeout_s: float) -> None:
        raise ZeroDivisionError(timeout_s)

    monkeypatch.setattr(desk.inbox, "get", fails)
    desk.coordinator.run()
    (fatal,) = desk.sent
    assert isinstance(fatal, events.Fatal) and isinstance(fatal.error, ZeroDivisionError)


def test_it_works_until_it_ends(layout: SpoolLayout) -> None:
    desk = Desk(layout, burst=True)
    desk.coordinator.run()
    assert desk.sent == [events.Finished(0, "nothing is left to do")]


@pytest.mark.parametrize("begun", ["", "segments", "generations"])
def test_a_session_whose_making_was_interrupted_is_not_called_damaged(
    desk: Desk, layout: SpoolLayout, begun: str
) -> None:
    """Its ledger comes last. Where a row or a generation is without one, it was lost."""
    paths = make_session(layout, 10)
    opened = paths.ledger.read_bytes()
    paths.ledger.unlink()
    if begun:
        (paths.folder / begun / "1").write_bytes(b"x")
    for _ in range(LOOKS_BEFORE_UNREADABLE + 1):
        assert desk.runs(events.SlotReady(), after_s=TIMING.scan_s) == []
    damage = [line for line in desk.log.of(UNREADABLE) if isinstance(line["reason"], CorruptionError)]
    assert len(damage) == (1 if begun else 0)
    assert desk.log.of(UNREADABLE)
    if begun:
        (paths.folder / begun / "1").unlink()
    Files().publish(paths.ledger, opened)
    for _ in range(60):
        if desk.runs(after_s=TIMING.scan_s):
            return
    raise AssertionError("it is not worked on though it is whole")
