"""One session as this worker works on it: its queue, what is out on slots, what is to be told to the ledger."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from enum import Enum

from msgspec import UNSET

from arbd.daemon.core.breaker import Breaker, Ruling
from arbd.daemon.core.chunks import chunk_size, claims_ahead
from arbd.daemon.core.claims import ClaimStage, OpenClaim, claim_ids, grouped, spans_by_claim
from arbd.daemon.core.fairness import Demand, served_s
from arbd.daemon.core.generation_scheduler import GenerationScheduler
from arbd.daemon.core.session_changes import end_early
from arbd.daemon.core.standing import Compaction, SessionStanding, Standing
from arbd.daemon.slots.crash_recovery import recover
from arbd.daemon.slots.pool import ExitReport, Limits
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, SubSpan
from arbd.job.spec import JobSpec
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.spans import NO_COUNTS, Claim, Counts, Finish, Span, add_counts
from arbd.spool.system import Clock
from arbd.values import dataclass

MAX_EXITS = 5


class Exchange(Enum):
    """What this worker knows of its last exchange with the ledger."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    """It raised, or what was read before is not believed: claims that did come out of it are found by the next."""


@dataclass(slots=True)
class SessionState:
    """Not thread-safe: the coordinator owns it. `owner` is the user whose session it is, one name for each user."""

    files: Files
    queue: SessionQueue
    spec: JobSpec
    worker: Worker
    clock: Clock
    target_s: float
    numbers: itertools.count[int]
    others_can: Callable[[str], bool]
    recorded: Callable[[Counts], None]
    standing: SessionStanding = field(default_factory=SessionStanding)
    priority_cap: float = math.inf
    owner: str = ""
    tasks: dict[int, ChunkTask] = field(default_factory=dict)
    exchanged: Exchange = Exchange.CONFIRMED
    compaction: Compaction = field(default_factory=Compaction)
    seconds_each: float | None = None
    generations: GenerationScheduler | None = None
    _chunk: int = 1
    _claims: dict[int, OpenClaim] = field(default_factory=dict)
    _breaker: Breaker = field(init=False)
    _position: int = 0
    _moved_s: float = 0.0
    _finishing_since_s: float | None = None
    _code_records: int = 0
    _busy_s: float = 0.0
    _refreshed_s: float = 0.0

    def __post_init__(self) -> None:
        self._breaker = Breaker(self.worker.worker_id)
        if self.spec.generation_size:
            self.generations = GenerationScheduler(self.files, self.queue.paths, self.spec)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.queue.paths.session_id

    @property
    def state(self) -> LedgerState:
        """The ledger as last read."""
        return self.queue.state

    @property
    def last(self) -> int:
        """The last iteration that may be claimed now."""
        return self.state.n if self.generations is None else min(self.state.n, self.generations.limit)

    @property
    def limits(self) -> Limits:
        """What the slots' parent enforces."""
        execution = self.spec.execution
        return Limits(execution.timeout_s, execution.retries, self.priority)

    @property
    def priority(self) -> int:
        """As it is now, and no higher than its owner may have it."""
        changed = self.state.provenance.changes.priority
        return int(min(self.spec.execution.priority if changed is UNSET else changed, self.priority_cap))

    @property
    def max_slots(self) -> int | None:
        """As it is now; None means no limit."""
        changed = self.state.provenance.changes.max_slots
        return self.spec.execution.max_slots if changed is UNSET else changed

    @property
    def is_blocked(self) -> bool:
        """True while this host pauses the session because it cannot evaluate it."""
        return self.standing.is_waiting(self.clock.monotonic_s(), Standing.BLOCKED)

    @property
    def unable(self) -> str:
        """Why this host cannot suggest for its search, for want of a plug-in; '' where it can, or need not."""
        return self.generations.unable if self.generations is not None else ""

    @property
    def is_backing_off(self) -> bool:
        """True while its files are left alone, because touching them failed a moment ago."""
        return self.standing.is_waiting(self.clock.monotonic_s(), Standing.BACKING_OFF)

    @property
    def is_idle(self) -> bool:
        """True when nothing of it is out or waits to be recorded."""
        return not (self.tasks or self._claims or self.has_unconfirmed or self.compaction.is_running)

    @property
    def has_unconfirmed(self) -> bool:
        """True when it is not known what came of the last exchange with the ledger."""
        return self.exchanged is Exchange.UNCONFIRMED

    @property
    def has_finished(self) -> bool:
        """True when there are claims that the ledger is to be told of."""
        return any(claim.stage is ClaimStage.FINISHED for claim in self._claims.values())

    @property
    def finishing_since_s(self) -> float | None:
        """Since when only its compaction is left, as this worker saw it; None while there is more to do, or nothing."""
        if not self.state.exhausted or self.state.over:
            self._finishing_since_s = None
        elif self._finishing_since_s is None:
            self._finishing_since_s = self.clock.monotonic_s()
        return self._finishing_since_s

    def demand(self, slots: int) -> Demand:
        """What it wants of this worker's slots now, and what it had of all."""
        chunk_s = self.target_s if self.seconds_each is None else self.seconds_each * self._chunk
        return Demand(self.session_id, self.priority, max(0, self._room(slots)), self.owner, self.served_s(), chunk_s)

    def served_s(self) -> float:
        """What slots of all hosts spent for it, or are about to."""
        return served_s(self.state, self.seconds_each, self.target_s)

    def _room(self, slots: int) -> int:
        state = self.state
        if state.over or state.state != ledger.RUNNING or self.is_blocked or self.is_backing_off:
            return 0
        if not self._within_reach():
            return 0
        ahead = claims_ahead(self.seconds_each, self._chunk, suggested=self.generations is not None)
        # What this host could not evaluate is tried again in one slot, until something of it is completed.
        tried = 1 if self.standing.standing is Standing.BLOCKED else slots * (2 if ahead else 1)
        room = tried - len(self.tasks)
        cap = self.max_slots
        return room if cap is None else min(room, cap - len(state.claims))

    def refresh_if_older(self, age_s: float) -> None:
        """Read what is new in the ledger, unless that was done a moment ago."""
        now_s = self.clock.monotonic_s()
        if now_s - self._refreshed_s > age_s:
            self.queue.refresh()
            self._refreshed_s = now_s

    def _within_reach(self) -> int:
        state = self.state
        return (
            state.unclaimed_for(self.worker.worker_id, self.last)
            if self._others_can()
            else state.unclaimed_up_to(self.last)
        )

    @property
    def is_starved(self) -> bool:
        """True when it could use slots, but for a generation that is not published."""
        state = self.state
        return (
            self.generations is not None
            and not state.over
            and state.state == ledger.RUNNING
            and not self.is_backing_off
            and state.cursor <= state.n
            and not state.unclaimed_up_to(self.last)
        )

    def look_for_generations(self) -> None:
        """Read what others published and recorded; end the session where they found that it should end."""
        if self.generations is not None and not self.state.over:
            self.queue.refresh()
            self.generations.look()
            self.end_if_stopped()

    def end_if_stopped(self) -> None:
        """Record that the session ends early, when a generation says so or its time is up."""
        end_early(self.queue, self.spec, self.generations, self.clock.wall_ns())

    def look(self, patience_s: float) -> None:
        """Read what is new in the ledger; all of it, when others have let this worker wait for so long."""
        state, now = self.queue.refresh(), self.clock.monotonic_s()
        self._refreshed_s = now
        if self.is_blocked:
            self._look_for_code()
        waits = state.state == ledger.RUNNING and not (state.over or state.unclaimed_up_to(self.last))
        if self.queue.position != self._position or self._claims or not waits:
            self._position, self._moved_s = self.queue.position, now
        elif now - self._moved_s >= patience_s:
            self.reread()

    def _look_for_code(self) -> None:
        """Where code was given up since, or more is known of it, what this host could not evaluate it may now."""
        paths = self.queue.paths
        known = len(self.files.names(paths.code)) if paths.code.name in self.files.names(paths.folder) else 0
        if known != self._code_records:
            self._code_records = known
            self.standing.recover(Standing.BLOCKED)

    def reread(self) -> None:
        """Believe the ledger as it is now, whatever this worker remembers of it."""
        self.queue.reread()
        self._position, self._moved_s = self.queue.position, self.clock.monotonic_s()
        self.exchanged = Exchange.UNCONFIRMED

    def exchange(self, tasks_wanted: int, expected_s: float | None = None) -> list[ChunkTask]:
        """Tell the ledger what is finished, claim for `tasks_wanted` tasks.

        Nothing is claimed when others claimed of it meanwhile, so that it has had more than `expected_s`: then it may
        be another session's turn.
        After an OSError it is unconfirmed what reached the ledger: claims that did come out of the next call.
        """
        self.exchanged = Exchange.UNCONFIRMED
        finished = {number: held for number, held in self._claims.items() if held.stage is ClaimStage.FINISHED}
        finishes = [Finish(number, held.counts, held.left) for number, held in finished.items()]
        cap, busy_s = self.max_slots, self._busy_s

        def plan(state: LedgerState) -> tuple[int, int]:
            if expected_s is not None and self.served_s() > expected_s:
                return 1, 0
            wanted = tasks_wanted if cap is None else min(tasks_wanted, cap - len(state.claims))
            reach = state.unclaimed_up_to(self.last)
            size = chunk_size(state, reach, self.worker.slots, self.seconds_each, self._chunk, self.target_s)
            self._chunk = size
            return size, size * max(0, wanted)

        leave = self.worker.worker_id if self._others_can() else ""
        claims = self.queue.claim(
            self.worker, finishes, plan, self.clock.wall_ns(), leave, self.last, int(busy_s * 1e9) if finishes else 0
        )
        self.exchanged = Exchange.CONFIRMED
        self._busy_s -= busy_s if finishes else 0.0
        self._refreshed_s = self.clock.monotonic_s()
        for number, held in finished.items():
            held.move(ClaimStage.RECORDED)
            del self._claims[number]
        for claim in claims:
            self._claims[claim.claim_id] = OpenClaim(claim)
        return [self._task(group) for group in grouped(claims, self._chunk)]

    def _others_can(self) -> bool:
        return self.others_can(self.session_id)

    def _completed_elsewhere(self) -> int:
        counts = self.state.worker_counts.items()
        return sum(count[0] for worker_id, count in counts if worker_id != self.worker.worker_id)

    def _task(self, claims: Sequence[Claim]) -> ChunkTask:
        sub_spans = tuple(SubSpan(claim, claim.span) for claim in claims)
        attempts = {
            iteration: claim.span.attempt
            for claim in claims
            if claim.span.attempt > 1
            for iteration in range(claim.span.first, claim.span.first + claim.span.count)
        }
        return self._out(ChunkTask(next(self.numbers), self.queue.paths.folder, sub_spans, attempts))

    def _out(self, task: ChunkTask) -> ChunkTask:
        self.tasks[task.number] = task
        for claim_id in claim_ids(task):
            self._claims[claim_id].tasks += 1
        return task

    def goes_on(self, task: ChunkTask, rest: ChunkTask) -> tuple[ChunkTask, ChunkTask]:
        """A slot's process is replaced in the middle of a task: what it evaluated, and what the next one is to do."""
        done, rest = task.without(rest), replace(rest, number=next(self.numbers))
        self.tasks[rest.number] = rest
        for claim_id in claim_ids(rest) & claim_ids(done):
            self._claims[claim_id].tasks += 1
        self.tasks[done.number] = done
        return done, rest

    def reported(self, task: ChunkTask, report: ChunkReport, occupied_s: float = 0.0) -> str:
        """A slot came back with a report, after it was occupied. Why this host pauses the session now, or ''."""
        self._busy_s += max(occupied_s, report.busy_s)
        evaluated = sum(sum(counts) for counts in report.counts.values())
        if evaluated and report.busy_s > 0:
            each = report.busy_s / evaluated
            self.seconds_each = each if self.seconds_each is None else 0.5 * self.seconds_each + 0.5 * each
        rulings = self._breaker.reported(task, report, self._completed_elsewhere(), others_can=self._others_can())
        if not self._breaker.tripped and any(counts[0] for counts in report.counts.values()):
            self.standing.recover(Standing.BLOCKED)
        del self.tasks[task.number]
        return self._follow(rulings)

    def settle(self) -> str:
        """Decide about withheld reports when nothing else of the session is going on; as `reported`."""
        if not self._breaker.holds or self.tasks:
            return ""
        return self._follow(self._breaker.settle(self._completed_elsewhere(), others_can=self._others_can()))

    def _follow(self, rulings: Sequence[Ruling]) -> str:
        for ruling in rulings:
            self._tell(ruling.task, ruling.counts, ruling.left)
        if rulings and self._breaker.tripped:
            self._pause(self._breaker.tripped)
            return self._breaker.tripped
        return ""

    def returned(self, task: ChunkTask) -> None:
        """A task that no slot began goes back."""
        self._close(task, {}, spans_by_claim(task))

    def unloadable(self, task: ChunkTask, reason: str) -> None:
        """This host cannot evaluate the session: give the task back and pause, each time longer."""
        self._pause(reason)
        self._close(task, {}, spans_by_claim(task))

    def lost(self, task: ChunkTask, exit_report: ExitReport, occupied_s: float = 0.0) -> ChunkTask | None:
        """A slot died on a task: what it recorded counts, the rest is a new task, or goes back to others."""
        elsewhere = self.worker.worker_id if self._others_can() else ""
        saved = recover(self.files, task, exit_report, self.limits, next(self.numbers), elsewhere)
        rest = saved.rest
        self._busy_s += occupied_s
        if rest is not None and exit_report.interrupted and not saved.exited_loading:
            self._close(task, saved.counts, spans_by_claim(rest))
            return None
        if rest is not None and (saved.exited_loading or rest.exits > MAX_EXITS):
            what = "while loading the objective" if saved.exited_loading else f"{rest.exits} times between iterations"
            self._close(task, saved.counts, spans_by_claim(rest))
            self._pause(f"the slot {exit_report.in_short()} ({what})")
            return None
        if rest is not None:
            self._out(rest)
        self._close(task, saved.counts, saved.left)
        return rest

    def cannot_go_on(self, reason: str) -> None:
        """A file of it is damaged: pause, each time longer, and look again."""
        if reason != self.standing.reason or not self.is_blocked:
            self._pause(reason)

    def _pause(self, reason: str) -> None:
        # What cannot be read now is looked at again anyhow, and more than whether this host can evaluate it is wrong then.
        if self.standing.standing is not Standing.UNREADABLE:
            self.standing.pause(Standing.BLOCKED, reason, self.clock.monotonic_s())

    def _close(self, task: ChunkTask, counts: Mapping[int, Counts], left: Mapping[int, tuple[Span, ...]]) -> None:
        """The task is off the slots, and the ledger may know."""
        del self.tasks[task.number]
        self._tell(task, counts, left)

    def _tell(self, task: ChunkTask, counts: Mapping[int, Counts], left: Mapping[int, tuple[Span, ...]]) -> None:
        """Add up a task's results; claims of which nothing is out any more are finished."""
        for claim_id in claim_ids(task):
            held = self._claims[claim_id]
            held.counts = add_counts(held.counts, counts.get(claim_id, NO_COUNTS))
            held.left += left.get(claim_id, ())
            held.tasks -= 1
            if held.tasks == 0:
                held.move(ClaimStage.FINISHED)
                self.recorded(held.counts)

    def assert_consistent(self) -> None:
        """Every task's claims are out, with as many tasks as there are; nothing else is."""
        out = Counter(number for task in self.tasks.values() for number in claim_ids(task))
        out.update(number for task in self._breaker.withheld for number in claim_ids(task))
        for number, held in self._claims.items():
            assert held.tasks == out.pop(number, 0), (number, held)
            assert (held.tasks > 0) == (held.stage is ClaimStage.OUT), (number, held)
            assert sum(held.counts) + sum(span.count for span in held.left) <= held.claim.span.count, (number, held)
        assert not out, out
        self.standing.assert_consistent()
