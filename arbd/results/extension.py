"""More iterations for a session that is done.

Keeps I5: what is there stays as it is. Of a fixed plan, the points of a shorter search are the first of a longer one's;
a method that learns goes on from the results that there are, in the generations that a longer search would have had.

Keeps I4: the record in the ledger, which comes last, is what extends the session. Before it the last generation is made
whole and the job is written anew, both by rename; whoever dies in between leaves a job that knows of more iterations than
its session has, which changes nothing of those, and the next extension begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import msgpack
import numpy as np

from arbd import schema
from arbd.errors import UsageError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.generations import generation_name, published_up_to, read_generation
from arbd.results.segments_back import bring_segments_back
from arbd.results.suggester import Suggester
from arbd.search.generation import Generation
from arbd.search.plan import join
from arbd.search.samplers import METHODS, adaptive, planned
from arbd.spool import ledger
from arbd.spool.control import open_queue
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import MAX_ITERATIONS, LedgerRecord
from arbd.spool.provenance import Actor
from arbd.spool.session_index import reopen


def extend(layout: SpoolLayout, session: str, iterations: int, actor: Actor, most: int = MAX_ITERATIONS) -> int:
    """Give a session that is done so many more; how many it has then, `most` at most. UsageError when it cannot be."""
    if iterations < 1:
        raise UsageError(f"{iterations:,} more iterations for session {session}: give it at least 1")
    files = layout.files()
    queue = open_queue(layout, session)
    _require_extensible(queue.state, read_spec(files, queue.paths), iterations, most, session)

    def decide(now: LedgerState) -> Sequence[LedgerRecord]:
        spec = read_spec(files, queue.paths)
        _require_extensible(now, spec, iterations, most, session)
        # Under the lock, under which whoever frees their space removes them.
        bring_segments_back(files, queue.paths, replace(spec, n=now.n), now.epoch)
        n = now.n + iterations
        longer = replace(spec, n=n, began_with=spec.began_with or now.n)
        if spec.generation_size:
            _complete_last_generation(files, queue.paths, replace(longer, n=now.n), longer)
        record = {**schema.JOB.stamp(), **longer.to_plain()}
        files.publish(queue.paths.spec, encode_frame(bytes(msgpack.packb(record))))
        reopen(files, layout, session)
        return [ledger.extended(n, f"from {now.n:,} to {n:,} iterations{_because(actor)}", actor)]

    return queue.change(decide).n


def _because(actor: Actor) -> str:
    return f": {actor.reason}" if actor.reason else ""


def _require_extensible(state: LedgerState, spec: JobSpec, iterations: int, most: int, session: str) -> None:
    """UsageError, with what to do instead, when so many more cannot be given."""
    # A job says how long its search is, without what judges it.
    searched = state.n if spec.validation is None else spec.search_n
    again = f"`arbctl clone {session} --set tuning.max_iterations={searched + iterations}`"
    if state.state == ledger.CANCELLED:
        raise UsageError(f"session {session} is cancelled: begin another with {again}")
    if not state.done:
        raise UsageError(
            f"session {session} is {state.label()}: extend it when it is done (`arbctl watch {session}` waits for that)"
        )
    if state.stopped:
        raise UsageError(
            f"session {session} ended by its own rule ({state.stopped}): begin another, without that rule, with {again}"
        )
    if spec.terms.deadline_ns is not None and time.time_ns() >= spec.terms.deadline_ns:
        raise UsageError(f"the deadline of session {session} is over: begin another with {again} --set deadline=...")
    if spec.validation is not None:
        raise UsageError(
            f"session {session} has a validation, which judged what its search chose: a longer search is another "
            f"choice, which has to be judged anew: {again}"
        )
    if state.n + iterations > most:
        raise UsageError(f"{state.n + iterations:,} iterations; the maximum here is {most:,}")
    _require_more_points(spec, state.n, iterations, again)


def _require_more_points(spec: JobSpec, n: int, iterations: int, again: str) -> None:
    """UsageError unless the method has so many more points."""
    ends = METHODS.get(spec.method).max_iterations
    if ends is not None and n + iterations > ends:
        raise UsageError(f"{spec.method} ends after {ends:,} points, and {n:,} are evaluated")
    if adaptive(spec.method) is not None:
        return
    method = planned(spec.method)
    if not method.prefix:
        raise UsageError(
            f"the points of {spec.method} depend on how many there are: a longer search has others. Begin another with "
            f"{again}; random, sobol, halton and the methods that learn can be extended"
        )
    if method.size is not None:
        size = method.size(spec.space, spec.grid_points).points + len(spec.enqueue)
        if n >= size:
            raise UsageError(
                f"the {spec.method} has {size:,} points, and all are evaluated: begin another, with more `grid_points`"
            )
        if n + iterations > size:
            raise UsageError(
                f"the {spec.method} has {size:,} points, of which {n:,} are evaluated: {size - n:,} more are the maximum"
            )


def _complete_last_generation(files: Files, paths: SessionPaths, before: JobSpec, after: JobSpec) -> None:
    """The last generation of a search that ended in the middle of one gets the rest of it.

    Nobody publishes for a session that is done, and its rows stay what they are, so that this is the one place where a
    generation is replaced.
    """
    number = before.layout.generations
    if published_up_to(files, paths) < number:
        raise UsageError(
            f"session {paths.session_id} has not all of its generations any more, from which its search would go on"
        )
    found = read_generation(files, paths, number)
    count = after.layout.last_of(number) - found.first + 1
    if len(found.rows) < count:
        whole = _completed(Suggester(files, paths, after), found, count)
        files.publish(paths.generations / generation_name(number), encode_frame(whole.encode()))


def _completed(suggester: Suggester, found: Generation, count: int) -> Generation:
    """A generation of which `found` are the first rows."""
    full, pending, planner = suggester.compute(found.number)
    have = len(found.rows)
    if _same(full, found):
        return replace(found, rows=full.rows.select(slice(0, count)))
    # The method suggests otherwise when it is asked for more at once: the rest comes after what was suggested.
    waiting = join([*(each.rows for each in pending), found.rows])
    up_to = planner.schedule.known_before(found.number)
    rest = planner.points(found.first + have, count - have, up_to, waiting)
    return replace(found, rows=join([found.rows, rest]))


def _same(full: Generation, found: Generation) -> bool:
    have = len(found.rows)
    mine, theirs = full.rows.select(slice(0, have)), found.rows
    columns = all(np.array_equal(column, theirs.columns[name]) for name, column in mine.columns.items())
    return len(mine) == have and columns and np.array_equal(mine.origin, theirs.origin)
