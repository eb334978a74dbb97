"""Whether anything was traded: a search whose sets make no trade finds nothing, however it ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arbd.errors import ArbdError
from arbd.results.result import TuningResult

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable

TRADES = "trades"


def trades_notice(table: ResultTable) -> str:
    """That no iteration of a session of the paper engine traded, and what to look at; "" where one did."""
    if table.spec.objective.kind != "paper" or not table.ranking.completed.any():
        return ""
    trades = table.column(TRADES)
    if trades is None or bool((trades[table.ranking.completed] > 0).any()):
        return ""
    return (
        f"nothing was traded in any of {int(table.ranking.completed.sum()):,} iterations: compare the bounds with what "
        "`arbctl market describe` says of the edges, and limits and sizes with what is quoted"
    )


def require_trades(table: ResultTable, results: Sequence[TuningResult], *, anyway: bool) -> None:
    """ArbdError where none of the results of the paper engine that would be handed to a bot made a trade."""
    if anyway or table.spec.objective.kind != "paper" or any(result.metrics.get(TRADES, 1.0) > 0 for result in results):
        return
    reason = trades_notice(table) or (
        f"iteration {results[0].iteration}, the best, made no trade: those that traded were worse"
        if len(results) == 1
        else "no result of the Pareto front made a trade"
    )
    raise ArbdError(f"session {table.session_id}: {reason}; --anyway prints the parameters all the same")
