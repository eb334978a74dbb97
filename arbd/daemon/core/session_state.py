"""One session as this worker works on it: its queue, what is out on slots, what is to be told to the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arbd.daemon.core.breaker import Breaker, Ruling
from arbd.daemon.core.chunks import Demand, chunk_size
from arbd.daemon.core.generation_scheduler import GenerationScheduler
from arbd.daemon.slots.crash_recovery import recover
from arbd.daemon.slots.pool import ExitReport, Limits
from arbd.daemon.slots.protocol import ChunkReport, ChunkTask, SubSpan
from arbd.job.spec import JobSpec
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.ledger import NO_COUNTS, Claim, Counts, Finish, LedgerState, Span, add_counts
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.system import Clock

# Chunks longer than this are claimed only when a slot is free for them: ahead of time they would keep others idle.
PREFETCH_LIMIT_S = 5.0
MAX_EXITS = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
FIRST_TROUBLE_PAUSE_S = 0.25
LONGEST_TROUBLE_PAUSE_S = 5.0


@dataclass(slots=True)
class _OpenClaim:
    claim: Claim
    counts: Counts = NO_COUNTS
    left: tuple[Span, ...] = ()
    tasks: int = 0


@dataclass(slots=True)
class SessionState:
    """Not thread-safe: the coordinator owns it."""

    files: Files
    queue: SessionQueue
    spec: JobSpec
    worker: Worker
    clock: Clock
    target_s: float
    numbers: itertools.count[int]
    others_can: Callable[[str], bool]
    recorded: Callable[[Counts], None]
    finishes: list[Finish] = field(default_factory=list)
    tasks: dict[int, ChunkTask] = field(default_factory=dict)
    blocked: str = ""
    trouble: str = ""
    unsure: bool = False
    compacting: bool = False
    compact_after_s: float = 0.0
    seconds_each: float | None = None
    generations: GenerationScheduler | None = None
    _chunk: int = 1
    _claims: dict[int, _OpenClaim] = field(default_factory=dict)
    _pause_s: float = FIRST_PAUSE_S
    _blocked_until_s: float = 0.0
    _trouble_pause_s: float = FIRST_TROUBLE_PAUSE_S
    _trouble_until_s: float = 0.0
    _breaker: Breaker = field(init=False)
    _position: int = 0
    _moved_s: float = 0.0

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
        return Limits(execution.timeout_s, execution.retries, execution.priority)

    @property
    def is_blocked(self) -> bool:
        """True while this host pauses the session because it cannot evaluate it."""
        return self.clock.monotonic_s() < self._blocked_until_s

    @property
    def is_backing_off(self) -> bool:
        """True while its files are left alone, because touching them failed a moment ago."""
        return self.clock.monotonic_s() < self._trouble_until_s

    @property
    def is_idle(self) -> bool:
        """True when nothing of it is out or waits to be recorded."""
        return not (self.tasks or self.finishes or self._claims or self.unsure)

    def demand(self, slots: int) -> Demand | None:
        """What it wants of this worker's slots now, or None."""
        state = self.state
        if state.over or state.state != ledger.RUNNING or self.is_blocked or self.is_backing_off:
            return None
        if not self._within_reach():
            return None
        ahead = self.seconds_each is not None and self.seconds_each * self._chunk <= PREFETCH_LIMIT_S
        room = slots * (2 if ahead else 1) - len(self.tasks)
        if self.spec.execution.max_slots is not None:
            room = min(room, self.spec.execution.max_slots - len(state.claims))
        return Demand(self.session_id, self.spec.execution.priority, len(self.tasks), room) if room > 0 else None

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
        state, most_s = self.state, self.spec.stop.max_time_s
        if state.over or state.stopped:
            return
        generations = self.generations
        if generations is not None and generations.ends_before:
            end, reason = (generations.ends_before - 1) * self.spec.generation_size, generations.stop
        elif most_s is not None and state.worked_ns >= most_s * 1e9 and state.unclaimed:
            end, reason = 0, f"max_time_s {most_s:g} was over"
        else:
            return
        self.queue.change(lambda now: [] if now.stopped or now.over else [ledger.stopped(end, reason)])

    def run_again(self, spans: Sequence[Span]) -> int:
        """Order settled iterations to run again, whose rows nobody can read; how many."""

        def decide(state: LedgerState) -> list[dict[str, Any]]:
            lost = [span for span in spans if span.first + span.count - 1 <= state.settled and not state.over]
            again = [Span(span.first, span.count, state.epoch + 1) for span in lost]
            # What they were recorded as is lost with them; the final counts are those of the rows.
            total = sum(span.count for span in lost)
            return [ledger.again(again, (total, 0, 0, 0), "their results could not be read")] if lost else []

        before = self.state.unclaimed
        return self.queue.change(decide).unclaimed - before

    def look(self, patience_s: float) -> None:
        """Read what is new in the ledger; all of it, when others have let this worker wait for so long."""
        state, now = self.queue.refresh(), self.clock.monotonic_s()
        waits = state.state == ledger.RUNNING and not (state.over or state.unclaimed_up_to(self.last))
        if self.queue.position != self._position or self._claims or not waits:
            self._position, self._moved_s = self.queue.position, now
        elif now - self._moved_s >= patience_s:
            self.reread()

    def reread(self) -> None:
        """Believe the ledger as it is now, whatever this worker remembers of it."""
        self.queue.reread()
        self._position, self._moved_s = self.queue.position, self.clock.monotonic_s()
        self.unsure = True

    def exchange(self, tasks_wanted: int) -> list[ChunkTask]:
        """Tell the ledger what is finished, claim for `tasks_wanted` tasks.

        After an OSError it is `unsure` what reached the ledger: claims that did come out of the next call.
        """
        self.unsure = True
        finishes = list(self.finishes)
        cap = self.spec.execution.max_slots

        def plan(state: LedgerState) -> tuple[int, int]:
            wanted = tasks_wanted if cap is None else min(tasks_wanted, cap - len(state.claims))
            reach = state.unclaimed_up_to(self.last)
            size = chunk_size(state, reach, self.worker.slots, self.seconds_each, self._chunk, self.target_s)
            self._chunk = size
            return size, size * max(0, wanted)

        leave = self.worker.worker_id if self._others_can() else ""
        claims = self.queue.claim(self.worker, finishes, plan, self.clock.wall_ns(), leave, self.last)
        self.unsure = False
        del self.finishes[: len(finishes)]
        for claim in claims:
            self._claims[claim.claim_id] = _OpenClaim(claim)
        return [self._task(group) for group in _grouped(claims, self._chunk)]

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
        for claim_id in _claim_ids(task):
            self._claims[claim_id].tasks += 1
        return task

    def reported(self, task: ChunkTask, report: ChunkReport) -> str:
        """A slot came back with a report. Why this host pauses the session now, or ''."""
        evaluated = sum(sum(counts) for counts in report.counts.values())
        if evaluated and report.busy_s > 0:
            each = report.busy_s / evaluated
            self.seconds_each = each if self.seconds_each is None else 0.5 * self.seconds_each + 0.5 * each
        rulings = self._breaker.reported(task, report, self._completed_elsewhere(), others_can=self._others_can())
        if not self._breaker.tripped and any(counts[0] for counts in report.counts.values()):
            self.blocked, self._pause_s = "", FIRST_PAUSE_S
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
        self._close(task, {}, _spans_by_claim(task))

    def unloadable(self, task: ChunkTask, reason: str) -> None:
        """This host cannot evaluate the session: give the task back and pause, each time longer."""
        self._pause(reason)
        self._close(task, {}, _spans_by_claim(task))

    def lost(self, task: ChunkTask, exit_report: ExitReport) -> ChunkTask | None:
        """A slot died on a task: what it recorded counts, the rest is a new task, or goes back to others."""
        elsewhere = self.worker.worker_id if self._others_can() else ""
        saved = recover(self.files, task, exit_report, self.limits, next(self.numbers), elsewhere)
        rest = saved.rest
        if rest is not None and exit_report.interrupted and not saved.exited_loading:
            self._close(task, saved.counts, _spans_by_claim(rest))
            return None
        if rest is not None and (saved.exited_loading or rest.exits > MAX_EXITS):
            what = "while loading the objective" if saved.exited_loading else f"{rest.exits} times between iterations"
            self._close(task, saved.counts, _spans_by_claim(rest))
            self._pause(f"the slot {exit_report.error()} ({what})")
            return None
        if rest is not None:
            self._out(rest)
        self._close(task, saved.counts, saved.left)
        return rest

    def cannot_go_on(self, reason: str) -> None:
        """A file of it is damaged: pause, each time longer, and look again."""
        if reason != self.blocked or not self.is_blocked:
            self._pause(reason)

    def _pause(self, reason: str) -> None:
        self.blocked = reason
        self._blocked_until_s = self.clock.monotonic_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def failing(self, error: OSError) -> None:
        """Its files could not be read or written: leave them alone for a while, each time longer."""
        self.trouble = str(error)
        self._trouble_until_s = self.clock.monotonic_s() + self._trouble_pause_s
        self._trouble_pause_s = min(2 * self._trouble_pause_s, LONGEST_TROUBLE_PAUSE_S)

    def working(self) -> None:
        """Its files work again."""
        self.trouble, self._trouble_pause_s = "", FIRST_TROUBLE_PAUSE_S

    def _close(self, task: ChunkTask, counts: Mapping[int, Counts], left: Mapping[int, tuple[Span, ...]]) -> None:
        """The task is off the slots, and the ledger may know."""
        del self.tasks[task.number]
        self._tell(task, counts, left)

    def _tell(self, task: ChunkTask, counts: Mapping[int, Counts], left: Mapping[int, tuple[Span, ...]]) -> None:
        """Add up a task's results; claims of which nothing is out any more are finished."""
        for claim_id in _claim_ids(task):
            open_claim = self._claims[claim_id]
            open_claim.counts = add_counts(open_claim.counts, counts.get(claim_id, NO_COUNTS))
            open_claim.left += left.get(claim_id, ())
            open_claim.tasks -= 1
            if open_claim.tasks == 0:
                self.finishes.append(Finish(claim_id, open_claim.counts, open_claim.left))
                self.recorded(open_claim.counts)
                del self._claims[claim_id]


def _claim_ids(task: ChunkTask) -> set[int]:
    return {sub_span.claim.claim_id for sub_span in task.sub_spans} | {claim_id for claim_id, _ in task.failures}


def _spans_by_claim(task: ChunkTask) -> dict[int, tuple[Span, ...]]:
    spans: dict[int, tuple[Span, ...]] = {}
    for sub_span in task.sub_spans:
        spans[sub_span.claim.claim_id] = (*spans.get(sub_span.claim.claim_id, ()), sub_span.span)
    for claim_id, failure in task.failures:
        spans[claim_id] = (*spans.get(claim_id, ()), Span(failure.iteration, 1, failure.epoch))
    return spans


def _grouped(claims: Iterable[Claim], size: int) -> Iterator[list[Claim]]:
    """Claims bundled so that each bundle is about one chunk: returned spans can be much smaller than that."""
    group: list[Claim] = []
    total = 0
    for claim in claims:
        if group and total + claim.span.count > size:
            yield group
            group, total = [], 0
        group.append(claim)
        total += claim.span.count
    if group:
        yield group
