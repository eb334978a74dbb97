"""The paper engine as a function of parameters: over one or several markets, for one set or many at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arbd.errors import UsageError
from arbd.paper import metrics
from arbd.paper.engine import series_for, span_ns, summarise
from arbd.paper.market.prepared import FIELD, Market, grid_rows, parameter_rows, prepare, whole_steps
from arbd.paper.market.quotes import FloatArray, IntArray, Quotes
from arbd.paper.market.series import Series, View
from arbd.paper.params import PARAMETERS, Value, canonical, check, differing, resolve

if TYPE_CHECKING:
    from arbd.paper.kernel.parameter_sets import Index

# What runs of one pass over a market have in common: they see the same series, and observe equity at the same quotes.
SHARED = (
    "max_quote_age_s", "max_quote_age_a_s", "max_quote_age_b_s", "feed_latency_a_ms", "feed_latency_b_ms", "gap", "center",
    "center_half_life_s", "grid_s",
)  # fmt: skip
KEPT_SERIES = 4
# Points of equity held at a time: 64 MiB, of which the statistics need a few more.
MOST_CELLS = 1 << 23


class PaperObjective:
    """Evaluates parameters over markets, pooled as if they followed one another.

    What is searched goes before `fixed`, which goes before a market's own `defaults` (a scenario's risk
    profile), which go before the engine's defaults. Markets whose `strategy` or `grid_s` then differ are refused
    (UsageError) by the names in `sources`.
    """

    def __init__(
        self,
        markets: Sequence[Quotes | Market],
        fixed: Mapping[str, Any],
        defaults: Sequence[Mapping[str, Any]] | None = None,
        sources: Sequence[str] | None = None,
    ) -> None:
        self._markets = [each if isinstance(each, Market) else prepare(each) for each in markets]
        given = defaults if defaults is not None else [{}] * len(markets)
        self._base = [resolve({**own, **fixed}) for own in given]
        self._sources = sources if sources is not None else [f"market {number}" for number in range(1, len(given) + 1)]
        self._differing = differing(self._sources, self._base)
        self._series: OrderedDict[tuple[Any, ...], tuple[Series, Index]] = OrderedDict()

    def strategies(self, *, searched: bool) -> list[str]:
        """Those that may be run: all, where the search chooses."""
        return (
            list(PARAMETERS["strategy"].values) if searched else sorted({str(base["strategy"]) for base in self._base})
        )

    def compile(self, strategy: str, compiling: Callable[[], object] | None = None) -> None:
        """Have the engine's code of a strategy, and the markets' indexes, ready; `compiling` is called where that takes long."""
        from arbd.paper.kernel.parameter_sets import compile_sweeps  # noqa: PLC0415 - numba

        compile_sweeps(PARAMETERS["strategy"].values.index(strategy), compiling)
        for number, base in enumerate(self._base):
            if len(self._markets[number]):
                self._indexed(number, base)

    def evaluate(self, params: Mapping[str, Any]) -> tuple[dict[str, float], FloatArray]:
        """Metrics, and blocks of shape (64, 2), of one set of parameters."""
        values, blocks = self.evaluate_batch({name: [value] for name, value in params.items()})
        return {name: float(column[0]) for name, column in values.items()}, blocks[0]

    def evaluate_batch(self, columns: Mapping[str, Any]) -> tuple[dict[str, FloatArray], FloatArray]:
        """Metrics as columns, and blocks of shape (n, 64, 2), of n sets given as columns of values.

        Where a value is None, it is as if that set did not give the parameter.
        """
        (values,), blocks = self.evaluate_apart(columns, ())
        return values, blocks

    def evaluate_apart(
        self, columns: Mapping[str, Any], groups: Sequence[Sequence[int]]
    ) -> tuple[list[dict[str, FloatArray]], FloatArray]:
        """As `evaluate_batch`, from the same runs: metrics of all markets together, then of each group of their numbers."""
        n = len(next(iter(columns.values()))) if columns else 1
        searched = {canonical(name): _checked(name, values) for name, values in columns.items()}
        for name, fault in self._differing.items():
            if name not in searched or None in searched[name]:
                raise UsageError(fault)
        rows = [
            parameter_rows({name: _or(searched.get(name), value, n) for name, value in base.items()}, n)
            for base in self._base
        ]
        shared = np.concatenate([part[:, [FIELD[name] for name in SHARED]] for part in rows], axis=1)
        pools = [range(len(rows)), *groups]
        values: list[dict[str, FloatArray]] = [{name: np.empty(n) for name in metrics.METRICS} for _ in pools]
        blocks = np.empty((n, metrics.N_BLOCKS, 2))
        alike, alike_of = np.unique(shared, axis=0, return_inverse=True)
        for group in range(len(alike)):
            members = np.flatnonzero(alike_of.reshape(-1) == group)
            grids = [
                grid_rows(market.ts_ns, float(part[members[0], FIELD["grid_s"]]))
                for market, part in zip(self._markets, rows, strict=True)
            ]
            most = max(1, MOST_CELLS // max(1, sum(map(len, grids))))
            for start in range(0, len(members), most):
                some = members[start : start + most]
                done = [
                    self._run(number, part[some], at) for number, (part, at) in enumerate(zip(rows, grids, strict=True))
                ]
                for pool, into in zip(pools, values, strict=True):
                    found, of_pool = self._summarised(pool, [part[some] for part in rows], done)
                    for name, column in found.items():
                        into[name][some] = column
                    if into is values[0]:
                        blocks[some] = of_pool
        return values, blocks

    def _summarised(
        self, pool: Sequence[int], rows: Sequence[FloatArray], done: Sequence[tuple[FloatArray, FloatArray]]
    ) -> tuple[dict[str, FloatArray], FloatArray]:
        """Metrics and blocks of the markets of a pool, of runs that are done."""
        return summarise(
            [rows[number] for number in pool],
            [done[number][0] for number in pool],
            [done[number][1] for number in pool],
            [span_ns(self._markets[number]) for number in pool],
        )

    def capital(self, columns: Mapping[str, Any]) -> FloatArray:
        """The initial capital of each of n sets; of markets that differ in it, the first one's."""
        return self._of_first(columns, "initial_capital")

    def steps(self, columns: Mapping[str, Any]) -> IntArray:
        """How many grid steps the return blocks of each of n sets are of: the whole ones of all markets."""
        spans, grid_s = [span_ns(market) for market in self._markets], self._of_first(columns, "grid_s")
        found = np.zeros(len(grid_s), dtype=np.int64)
        for each in np.unique(grid_s).tolist():
            found[grid_s == each] = sum(whole_steps(span, each) for span in spans)
        return found

    def has_quotes(self, number: int) -> bool:
        """Whether a market has any."""
        return len(self._markets[number]) > 0

    def _of_first(self, columns: Mapping[str, Any], name: str) -> FloatArray:
        """A parameter of each of n sets, where it is not searched that of the first market."""
        n = len(next(iter(columns.values()))) if columns else 1
        given = next((list(values) for other, values in columns.items() if canonical(other) == name), None)
        return np.array([float(value) for value in _or(given, self._base[0][name], n)])

    def _run(self, number: int, rows: FloatArray, at: IntArray) -> tuple[FloatArray, FloatArray]:
        """Counts and equity, at the rows `at`, of parameter rows that share SHARED, over one market."""
        from arbd.paper.kernel.parameter_sets import run_batch  # noqa: PLC0415 - numba

        market = self._markets[number]
        params = dict(self._base[number])
        for name in SHARED if len(rows) else ():
            value = float(rows[0, FIELD[name]])
            params[name] = PARAMETERS[name].values[int(value)] if PARAMETERS[name].values else value
        if len(market) == 0:
            return metrics.no_counts(len(rows)), np.empty((len(rows), 0))
        series, index = self._indexed(number, params)
        counts, equity, _, _ = run_batch(series, index, rows, at)
        return counts, equity

    def _indexed(self, number: int, params: Mapping[str, Value]) -> tuple[Series, Index]:
        """The market as these parameters see it, and its index: kept for the next call."""
        from arbd.paper.kernel.parameter_sets import build_index  # noqa: PLC0415 - numba

        key = (number, View.of(params))
        if key not in self._series:
            series = series_for(self._markets[number], params)
            self._series[key] = series, build_index(series)
        self._series.move_to_end(key)
        while len(self._series) > KEPT_SERIES * len(self._markets):
            self._series.popitem(last=False)
        return self._series[key]


def _or(values: list[Value | None] | None, otherwise: Value, n: int) -> list[Value]:
    """A searched column, with what a market has otherwise where the parameter does not exist."""
    if values is None:
        return [otherwise] * n
    return [otherwise if value is None else value for value in values] if None in values else values  # type: ignore[return-value]


def _checked(name: str, values: Sequence[Value | None] | FloatArray) -> list[Value | None]:
    """Values as the engine takes them; None stays, where a set does not have the parameter."""
    parameter = PARAMETERS[canonical(name)]
    if parameter.kind != "choice":
        column = np.asarray(values, dtype=np.float64)
        if bool(((column >= parameter.low) & (column <= parameter.high)).all()):
            return list(column.tolist())
    return [None if value is None else check(name, value) for value in values]
