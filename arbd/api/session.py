"""A session of a spool in Python: how far it is, what was best, all its results."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbd.api.table import Results, html_table
from arbd.errors import NotFoundError

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
    """A session of the spool at `spool`. Reads anew each time that something is asked for."""

    def __init__(self, spool: str | Path, session_id: str) -> None:
        self.spool, self.session_id = Path(spool).absolute(), session_id
        if not self._state().n:
            raise NotFoundError(f"session {session_id} of {self.spool} has not begun yet")

    def _state(self) -> LedgerState:
        from arbd.spool.layout import SpoolLayout
        from arbd.spool.queue import SessionQueue

        layout = SpoolLayout(self.spool)
        layout.require_readable()
        return SessionQueue(layout.files(), layout.session(self.session_id)).refresh()

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
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.is_over:
            if until_s is not None and time.monotonic() > until_s:
                raise TimeoutError(f"session {self.session_id} is not over after {timeout_s:g} s; it goes on")
            time.sleep(POLL_S)
        return self

    @property
    def best(self) -> Best:
        """The best result by the job's first metric, of those that keep its constraints; NotFoundError while none does."""
        table = self._table()
        name = table.spec.metrics[0].name
        position = table.ranking.best(name) if name in table.metric_names else None
        if position is None:
            raise NotFoundError(
                f"session {self.session_id}: no result has a number for {name} and keeps every constraint"
            )
        (found,) = table.results([position])
        return Best({**table.spec.fixed, **found.params}, found.metrics, found.iteration)

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

    def replay(self, iteration: int) -> Replayed:
        """Run a completed iteration again here, and compare with what was recorded. Its code runs in this process."""
        from arbd.analysis.replay import replay
        from arbd.analysis.trades import run_markets
        from arbd.daemon.host.config import load_config

        config = load_config(None)
        paths = (*config.objective_paths, Path.cwd())
        done = replay(self.spool, self.session_id, iteration, cache_dir=config.cache_dir, search_paths=paths)
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

        extend(SpoolLayout(self.spool), self.session_id, iterations, this_user())
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
