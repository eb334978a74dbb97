"""A session of a spool in Python: how far it is, what was best, all its results."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arbd.api import arguments
from arbd.api.own_spool import functions_folder, own_spool
from arbd.api.table import Results, html_table
from arbd.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable
    from arbd.api.plots import Plots
    from arbd.results.result import TuningResult
    from arbd.spool.ledger import LedgerState

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Best:
    """The best result: its parameters, those that were fixed included, its metrics and its iteration."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    iteration: int

    def _repr_html_(self) -> str:
        rows = [[name, value] for name, value in {**self.params, **self.metrics}.items()]
        return f"<p>iteration {self.iteration}</p>{html_table(['', ''], rows)}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """An iteration that was run again. `equal`: every metric has the recorded bits.

    Of a paper session `trades` are the fills in order of execution, and `equity` is the equity on the grid by market, in
    the currency of venue A.
    """

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    equal: bool
    trades: Sequence[Mapping[str, Any]] = ()
    equity: Mapping[str, Any] = field(default_factory=dict)


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
        if not self._state().n:
            raise NotFoundError(f"session {session_id} of {self.spool} has not begun yet")

    def _state(self) -> LedgerState:
        from arbd.spool.layout import SpoolLayout
        from arbd.spool.queue import SessionQueue

        layout = SpoolLayout(self.spool)
        layout.require_readable()
        try:
            return SessionQueue(layout.files(), layout.session(self.session_id)).refresh()
        except NotFoundError as error:
            # Where in arbd a file was missed is nothing for a cell of a notebook.
            missed = error.with_traceback(None)
        raise missed from None

    def _table(self) -> ResultTable:
        from arbd.analysis.table import load_table

        return load_table(self.spool, self.session_id)

    @cached_property
    def job(self) -> Mapping[str, Any]:
        """The resolved job."""
        return self._table().spec.to_plain()

    def status(self) -> dict[str, Any]:
        """How far it is: the keys of `arbctl status --json` that do not depend on a host."""
        from arbd.spool.ledger import STATUS_NAMES

        state = self._state()
        return {
            "session_id": self.session_id,
            "state": state.label(),
            "iterations": state.n,
            "done": state.counted,
            "statuses": dict(zip(STATUS_NAMES, state.counts, strict=True)),
            "stopped": state.stopped,
        }

    @property
    def is_over(self) -> bool:
        """True when nothing of it will be evaluated any more."""
        return self._state().over

    def wait(self, timeout_s: float | None = None) -> Session:
        """Wait until it is over; TimeoutError after `timeout_s` seconds."""
        if timeout_s is not None:
            timeout_s = arguments.seconds(timeout_s, "wait")
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.is_over:
            if until_s is not None and time.monotonic() > until_s:
                raise TimeoutError(f"session {self.session_id} is not over after {timeout_s:g} s; it goes on")
            time.sleep(POLL_S)
        return self

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

        return session_verdict(self.spool, self.session_id, metric).document()

    def replay(self, iteration: int | Literal["best"]) -> Replayed:
        """Run a completed iteration, or the best, again here, and compare with what was recorded.

        Its code runs in this process.
        """
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
        extend(SpoolLayout(self.spool), self.session_id, more, this_user())
        return self

    def cancel(self) -> None:
        """End it; what was evaluated stays."""
        from arbd.spool.control import change_state
        from arbd.spool.layout import SpoolLayout
        from arbd.spool.ledger import CANCELLED

        change_state(SpoolLayout(self.spool), self.session_id, CANCELLED)

    def __repr__(self) -> str:
        state = self._state()
        return f"Session({self.session_id}: {state.counted:,} of {state.n:,}, {state.label()})"

    def _repr_html_(self) -> str:
        text = f"<p>{html.escape(repr(self))}</p>"
        try:
            return text + self.best._repr_html_()
        except NotFoundError:
            return text
