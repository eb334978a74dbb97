"""A session of a spool in Python: how far it is, what was best, all its results."""

from __future__ import annotations

import html
import re
import time
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arbd.api import arguments
from arbd.api.outcomes import Best, Replayed
from arbd.api.own_spool import functions_folder, own_spool
from arbd.api.table import Results
from arbd.errors import ArbdError, JobError, NotBegunError, NotFoundError, UnopenedError, UsageError

if TYPE_CHECKING:
    from arbd.analysis.standstill import Standstill
    from arbd.analysis.table import ResultTable
    from arbd.api.plots import Plots
    from arbd.results.result import TuningResult
    from arbd.spool.files import Files
    from arbd.spool.layout import SpoolLayout
    from arbd.spool.ledger import LedgerState
    from arbd.spool.submitted import Submitted, Watch

POLL_S = 0.5
SAY_AFTER_S = 2.0
# For how long, how many, which attempt: the same reason with other numbers is no news.
_NUMBERS = re.compile(r"\b[0-9][0-9.,]*\b")


class Session:
    """A session of the spool at `spool`, by default of this user's own, where `arbd.tune` keeps those that name none.

    Reads anew each time that something is asked for. NotFoundError where there is no such session, SpoolError where there
    is no spool.

        arbd.Session("/mnt/nas/spool", "kimchi-btc-01")
        arbd.Session(session_id="here")
    """

    def __init__(self, spool: str | Path | None = None, session_id: str | None = None) -> None:
        if session_id is None:
            raise UsageError(
                "a session is named by its spool and its id: arbd.Session('/mnt/nas/spool', 'kimchi-btc-01'), or "
                "arbd.Session(session_id='here') for one of arbd.tune without a spool"
            )
        self.spool = own_spool() if spool is None else arguments.path(spool, "the spool of arbd.Session")
        self.session_id = arguments.name(session_id, "the session_id of arbd.Session")
        self._submitted: Watch | None = None
        self._taken_back, self._has_begun = "", False
        if not self._state().n:
            raise NotFoundError(f"session {session_id} of {self.spool} has not begun yet")

    @classmethod
    def of(cls, job: Submitted) -> Session:
        """The session of a job that was submitted just now: until a daemon takes it up, `status()` says why not."""
        from arbd.spool.submitted import Watch

        session = cls.__new__(cls)
        session.spool, session.session_id = job.layout.root, job.session_id
        session._submitted, session._taken_back, session._has_begun = Watch(job), "", False
        return session

    def _state(self) -> LedgerState:
        from arbd.spool.layout import SpoolLayout
        from arbd.spool.queue import SessionQueue

        layout = SpoolLayout(self.spool)
        if self._submitted is None:
            layout.require_readable()
        files = layout.files()
        missed: ArbdError
        try:
            state = SessionQueue(files, layout.session(self.session_id)).refresh()
        except (NotFoundError, UnopenedError) as error:
            # Where in arbd a file was missed is nothing for a cell of a notebook.
            missed = error.with_traceback(None)
        else:
            # Where it is missed from now on it was removed, and no daemon takes it up.
            self._submitted, self._has_begun = None, True
            return state
        raise self._not_begun(files, layout) or missed from None

    def _not_begun(self, files: Files, layout: SpoolLayout) -> ArbdError | None:
        """What has become of its job, where that is no session; None where nothing is known of one."""
        from arbd.spool.dropped import JobState, find_dropped

        if self._taken_back:
            return JobError.of(self.session_id, self._taken_back)
        if self._submitted is not None:
            return self._submitted.not_begun(files)
        job = find_dropped(files, layout, self.session_id)
        # A job of that name that was rejected is not the one that it was made of.
        if job is None or (self._has_begun and job.state is not JobState.QUEUED):
            return None
        if job.state is JobState.QUEUED:
            return NotBegunError(f"session {self.session_id}: the job is queued: {job.line}")
        return NotFoundError(f"session {self.session_id}: its job was rejected: {job.line}")

    def wait_until_begun(self, timeout_s: float | None) -> str:
        """Wait until a daemon took its job up; '', or why that is not so after `timeout_s` or may never be.

        With None, what it waits for is warned once. JobError when the job was refused.
        """
        begun_s, is_said = time.monotonic(), timeout_s is not None
        while True:
            try:
                self._state()
            except NotBegunError as error:
                waited_s = time.monotonic() - begun_s
                # A daemon that was just started is there after a moment.
                if timeout_s is not None and waited_s >= (
                    timeout_s if self._may_begin() else min(timeout_s, SAY_AFTER_S)
                ):
                    return str(error)
                if not is_said and waited_s >= SAY_AFTER_S:
                    # At the line that called `arbd.submit`.
                    warnings.warn(str(error), stacklevel=3)
                    is_said = True
            else:
                return ""
            time.sleep(POLL_S)

    def _require_begun(self) -> None:
        if self._submitted is not None:
            self._state()

    def _table(self) -> ResultTable:
        from arbd.analysis.table import load_table

        self._require_begun()
        return load_table(self.spool, self.session_id)

    @cached_property
    def job(self) -> Mapping[str, Any]:
        """The resolved job."""
        return self._table().spec.to_plain()

    def _may_begin(self) -> bool:
        from arbd.spool.layout import SpoolLayout

        return self._submitted is None or self._submitted.job.may_be_taken(SpoolLayout(self.spool).files())

    def status(self) -> dict[str, Any]:
        """How far it is: the keys of `arbctl status --json` that do not depend on a host.

        `state` is `queued` while no daemon has taken its job up, `rejected` or `cancelled` when none will; `reason` says
        why nothing of it is done now, "" else. NotFoundError when its job, or the session, was removed.
        """
        from arbd.spool.ledger import STATUS_NAMES

        nothing = dict.fromkeys(STATUS_NAMES, 0)
        try:
            state = self._state()
        except NotBegunError as error:
            return self._told("queued", 0, 0, nothing, "", str(error).partition(": ")[2])
        except JobError as error:
            from arbd.spool.submitted import is_cancellation

            why = str(error).partition(": ")[2]
            return self._told("cancelled" if is_cancellation(why) else "rejected", 0, 0, nothing, "", str(error))
        standstill = self._standstill()
        statuses = dict(zip(STATUS_NAMES, state.counts, strict=True))
        label, reason = standstill.label(self.session_id, state), standstill.reason(self.session_id, state)
        return self._told(label, state.n, state.counted, statuses, state.stopped, reason)

    def _told(
        self, state: str, n: int, done: int, statuses: Mapping[str, int], stopped: str, reason: str
    ) -> dict[str, Any]:
        told = {"session_id": self.session_id, "state": state, "reason": reason, "iterations": n, "done": done}
        return {**told, "statuses": dict(statuses), "stopped": stopped}

    def _standstill(self) -> Standstill:
        from arbd.analysis.standstill import read_standstill
        from arbd.spool.layout import SpoolLayout

        layout = SpoolLayout(self.spool)
        return read_standstill(layout.files(), layout)

    @property
    def is_over(self) -> bool:
        """True when nothing of it will be evaluated any more; JobError when its job was refused, or cancelled.

        NotFoundError when the job, or the session, was removed.
        """
        try:
            return self._state().over
        except NotBegunError:
            return False

    def wait(self, timeout_s: float | None = None) -> Session:
        """Wait until it is over; TimeoutError after `timeout_s` seconds. What it waits for, where it stands still, is warned.

        JobError when a daemon refused its job, or somebody cancelled it; NotFoundError when the job, or the session, was removed.
        """
        if timeout_s is not None:
            timeout_s = arguments.seconds(timeout_s, "wait")
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        look_at_s, said = time.monotonic() + SAY_AFTER_S, set[str]()
        while not self.is_over:
            now_s = time.monotonic()
            if until_s is not None and now_s > until_s:
                why = self.status()["reason"]
                raise TimeoutError(
                    f"session {self.session_id} is not over after {timeout_s:g} s: {why or 'it goes on'}"
                )
            if now_s > look_at_s:
                look_at_s = now_s + SAY_AFTER_S
                if (why := self._why_still()) and (kind := _NUMBERS.sub("", why)) not in said:
                    warnings.warn(f"session {self.session_id}: {why}", stacklevel=2)
                    said.add(kind)
            time.sleep(POLL_S)
        return self

    def _why_still(self) -> str:
        """Why it stands still, in one line; '' when it goes on, or what it waits for comes to an end by itself."""
        try:
            state = self._state()
        except NotBegunError as error:
            return str(error).partition(": ")[2]
        return self._standstill().why_still(self.session_id, state)

    @property
    def best(self) -> Best:
        """The best result by the job's first metric, of those that keep its constraints.

        NotFoundError while there is none, which says why: how many iterations failed, and of what.
        """
        from arbd.analysis.failures import why_no_best

        table = self._table()
        name = table.spec.metrics[0].name
        if why := why_no_best(table, name):
            raise NotFoundError(f"session {self.session_id}: {why}")
        position = table.ranking.best(name)
        assert position is not None
        (found,) = table.results([position])
        return Best({**table.spec.fixed, **found.params}, found.metrics, found.iteration)

    def failures_text(self) -> str:
        """What went wrong in one line: how many iterations failed and of what, or why nothing can be ranked; '' else."""
        from arbd.analysis.failures import failures_text, why_no_best

        table, state = self._table(), self._state()
        if any(state.counts[1:]):
            return f"session {self.session_id}: {failures_text(table)}"
        why = why_no_best(table, table.spec.metrics[0].name) if len(table) else ""
        return f"session {self.session_id}: {why}" if why else ""

    @property
    def results(self) -> Results:
        """All results as a table."""
        self._require_begun()
        return Results(self.spool, self.session_id)

    @property
    def plot(self) -> Plots:
        """Charts: `history()`, `slice()`, `contour()`, `parallel()`, `importance()`, `front()`, `equity()`, `validation()`."""
        from arbd.api.plots import Plots

        return Plots(self)

    def rank(self, metric: str | None = None, top_n: int = 5, ascending: bool | None = None) -> list[TuningResult]:
        """The best results by a metric, by default the job's first; its direction decides unless `ascending` does."""
        top_n = arguments.integer(top_n, "rank: top_n", 1)
        table = self._table()
        return table.results(table.rank(metric or table.spec.metrics[0].name, top_n, ascending))

    def front(self) -> list[TuningResult]:
        """The Pareto front of the job's metrics."""
        table = self._table()
        return table.results(table.ranking.front_order())

    def verdict(self, metric: str | None = None) -> dict[str, Any]:
        """Skill or luck: the document of `arbctl verdict --json`."""
        from arbd.analysis.verdict import session_verdict

        self._require_begun()
        return session_verdict(self.spool, self.session_id, metric).document()

    def replay(self, iteration: int | Literal["best"]) -> Replayed:
        """Run a completed iteration, or the best, again here, and compare with what was recorded.

        Its code runs in this process.
        """
        self._require_begun()
        number = self.best.iteration if iteration == "best" else arguments.integer(iteration, "replay", 1)
        from arbd.analysis.replay import replay
        from arbd.analysis.trades import run_markets
        from arbd.daemon.host.config import load_config

        config = load_config(None)
        # Of a function, what was carried to the processes.
        paths = (*config.objective_paths, functions_folder() / self.session_id, Path.cwd())
        done = replay(self.spool, self.session_id, number, cache_dir=config.cache_dir, search_paths=paths)
        params = {**done.spec.fixed, **done.recorded.params}
        if done.spec.objective.kind != "paper":
            return Replayed(params, done.metrics, done.equal)
        runs = run_markets(done.spec, done.recorded.params, config.cache_dir, done.recorded.budget)
        trades = [
            {"ts_ns": fill.ts_ns, "venue": "AB"[fill.venue], "side": "buy" if fill.side > 0 else "sell",
             "price": fill.price, "size": fill.size, "fee": fill.fee, "data": each.source}
            for each in runs for fill in each.run.fills
        ]  # fmt: skip
        return Replayed(params, done.metrics, done.equal, trades, {each.source: each.run.equity for each in runs})

    def extend(self, iterations: int) -> Session:
        """Give it, once it is done, so many more iterations; daemons go on with it, or `arbd.tune` with the same job."""
        from arbd.results.extension import extend
        from arbd.spool.control import this_user
        from arbd.spool.layout import SpoolLayout

        more = arguments.integer(iterations, "extend", 1)
        self._require_begun()
        extend(SpoolLayout(self.spool), self.session_id, more, this_user())
        return self

    def cancel(self) -> None:
        """End it; what was evaluated stays. A job that no daemon has taken up yet is taken back. Once is as good as twice.

        UsageError when it is done, or a worker does not come to an end with checking its job; JobError when that was refused.
        """
        from arbd.spool.control import change_state, this_user
        from arbd.spool.layout import SpoolLayout
        from arbd.spool.ledger import CANCELLED

        layout = SpoolLayout(self.spool)
        if self._taken_back:
            return
        if self._submitted is not None:
            self._taken_back = self._submitted.job.cancel(layout.files(), this_user().user)
            if self._taken_back:
                return
        change_state(layout, self.session_id, CANCELLED)

    def __repr__(self) -> str:
        try:
            state = self._state()
        except ArbdError as error:
            return f"Session({str(error).removeprefix('session ')})"
        return f"Session({self.session_id}: {state.counted:,} of {state.n:,}, {state.label()})"

    def _repr_html_(self) -> str:
        text = f"<p>{html.escape(repr(self))}</p>"
        try:
            return text + self.best._repr_html_()
        except NotFoundError:
            return text
