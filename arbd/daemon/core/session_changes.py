"""What a worker writes into a session's ledger besides claims: that it ends early, that iterations run again."""

from __future__ import annotations

from collections.abc import Sequence

from arbd.daemon.core.generation_scheduler import GenerationScheduler
from arbd.job.spec import JobSpec
from arbd.spool import ledger
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.queue import SessionQueue
from arbd.spool.spans import Span


def end_early(queue: SessionQueue, spec: JobSpec, generations: GenerationScheduler | None, wall_ns: int) -> None:
    """Record that the session ends early, when a generation says so or its time is up.

    A deadline is what people mean by the calendar on the wall: the first host ends it whose calendar says so.
    """
    state, most_s = queue.state, spec.stop.max_time_s
    if state.over or state.stopped:
        return
    if generations is not None and generations.ends_before:
        end, reason = generations.limit, generations.stop
    elif most_s is not None and state.worked_ns >= most_s * 1e9 and state.unclaimed:
        end, reason = 0, f"max_time_s {most_s:g} was over"
    elif spec.terms.deadline_ns is not None and wall_ns >= spec.terms.deadline_ns and state.unclaimed:
        end, reason = 0, "its deadline was reached"
    else:
        return
    queue.change(lambda now: [] if now.stopped or now.over else [ledger.stopped(end, reason)])


def run_again(queue: SessionQueue, spans: Sequence[Span]) -> int:
    """Order settled iterations to run again, whose rows nobody can read; how many."""

    def decide(state: LedgerState) -> list[LedgerRecord]:
        lost = [span for span in spans if span.first + span.count - 1 <= state.settled and not state.over]
        again = [Span(span.first, span.count, state.epoch + 1) for span in lost]
        # What they were recorded as is lost with them; the final counts are those of the rows.
        total = sum(span.count for span in lost)
        return [ledger.again(again, (total, 0, 0, 0), "their results could not be read")] if lost else []

    before = queue.state.unclaimed
    return queue.change(decide).unclaimed - before
