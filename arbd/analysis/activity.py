"""Whether anything was traded: a search whose sets make no trade finds nothing, however it ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arbd.errors import ArbdError
from arbd.results.result import TuningResult

if TYPE_CHECKING:
    from arbd.analysis.table import ResultTable

TRADES = "trades"


def never_traded(table: ResultTable) -> tuple[int, int]:
    """How many completed iterations of a session of the paper engine made no trade, and of how many; (0, 0) of others."""
    trades = table.column(TRADES) if table.spec.objective.kind == "paper" else None
    if trades is None:
        return 0, 0
    made = trades[table.ranking.completed]
    return int((made == 0).sum()), len(made)


def trades_notice(table: ResultTable) -> str:
    """How many iterations of a session of the paper engine never traded, and what to look at where none did; "" else."""
    never, of = never_traded(table)
    if not never:
        return ""
    if never < of:
        return f"{never:,} of {of:,} iterations never traded"
    return (
        f"nothing was traded in any of {of:,} iterations: compare the bounds with what "
        "`arbctl market describe` says of the edges, and limits and sizes with what is quoted"
    )


def require_trades(table: ResultTable, results: Sequence[TuningResult], *, anyway: bool) -> None:
    """ArbdError where none of the results of the paper engine that would be handed to a bot made a trade."""
    if anyway or table.spec.objective.kind != "paper" or any(result.metrics.get(TRADES, 1.0) > 0 for result in results):
        return
    never, of = never_traded(table)
    reason = (trades_notice(table) if never == of else "") or (
        f"iteration {results[0].iteration}, the best, made no trade: those that traded were worse"
        if len(results) == 1
        else "no result of the Pareto front made a trade"
    )
    raise ArbdError(f"session {table.session_id}: {reason}; --anyway prints the parameters all the same")
