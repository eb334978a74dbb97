"""The paper engine as a function of parameters: over one or several markets, for one set or many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arbd.paper import metrics
from arbd.paper.engine import summarise
from arbd.paper.params import PARAMETERS, Value, canonical, check, resolve
from arbd.paper.prepared import FIELD, Market, grid_points, parameter_rows, prepare
from arbd.paper.quotes import FloatArray, Quotes


class PaperObjective:
    """Evaluates parameters over markets, pooled as if they followed one another.

    What is searched goes before `fixed`, which goes before a market's own `defaults` (a scenario's risk
    profile), which go before the engine's defaults.
    """

    def __init__(
        self,
        markets: Sequence[Quotes],
        fixed: Mapping[str, Any],
        defaults: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self._markets: list[Market] = [prepare(quotes) for quotes in markets]
        given = defaults if defaults is not None else [{}] * len(markets)
        self._base = [resolve({**own, **fixed}) for own in given]

    def compile(self) -> None:
        """Have the engine's code ready, compiled or from the cache on disk."""
        from arbd.paper.kernel import walk_many  # noqa: PLC0415 - numba

        for market, base in zip(self._markets, self._base, strict=True):
            start = Market(market.ts_ns[:1], np.ascontiguousarray(market.table[:, :1]))
            rows = parameter_rows({name: [value] for name, value in base.items()}, 1)
            walk_many(start.columns(), rows, np.zeros((1, metrics.N_COUNTS)), np.empty((1, 0)))

    def evaluate(self, params: Mapping[str, Any]) -> tuple[dict[str, float], FloatArray]:
        """Metrics, and blocks of shape (64, 2), of one set of parameters."""
        values, blocks = self.evaluate_batch({name: [value] for name, value in params.items()})
        return {name: float(column[0]) for name, column in values.items()}, blocks[0]

    def evaluate_batch(self, columns: Mapping[str, Any]) -> tuple[dict[str, FloatArray], FloatArray]:
        """Metrics as columns, and blocks of shape (n, 64, 2), of n sets given as columns of values."""
        from arbd.paper.kernel import walk_many  # noqa: PLC0415 - numba

        n = len(next(iter(columns.values()))) if columns else 1
        searched = {canonical(name): _checked(name, values) for name, values in columns.items()}
        counts: list[FloatArray] = []
        equity: list[FloatArray] = []
        rows = np.empty((0, 0))
        for market, base in zip(self._markets, self._base, strict=True):
            rows = parameter_rows({name: searched.get(name, [value] * n) for name, value in base.items()}, n)
            market_counts, grid = np.zeros((n, metrics.N_COUNTS)), self._grid(market, rows)
            walk_many(market.columns(), rows, market_counts, grid)
            counts.append(market_counts)
            equity.append(grid)
        return summarise(rows, counts, equity)

    def _grid(self, market: Market, rows: FloatArray) -> FloatArray:
        spacings = set(rows[:, FIELD["grid_s"]].tolist())
        if len(spacings) != 1:
            raise ValueError("grid_s must be the same for all sets of a batch")
        return np.empty((rows.shape[0], grid_points(market, spacings.pop())))


def _checked(name: str, values: Sequence[Value] | FloatArray) -> list[Value]:
    parameter = PARAMETERS[canonical(name)]
    if parameter.kind != "choice":
        column = np.asarray(values, dtype=np.float64)
        if bool(((column >= parameter.low) & (column <= parameter.high)).all()):
            return list(column.tolist())
    return [check(name, value) for value in values]
