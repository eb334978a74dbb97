"""Every fill and rejected order of one iteration of a paper session, in order of time, as a table in CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from arbd.atomic_file import whole_file
from arbd.errors import UsageError
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.named_file import ANY, ReadRule
from arbd.objective.markets import load_markets, markets_of, share
from arbd.objective.paper import under
from arbd.objective.protocol import Params
from arbd.paper.engine import Run, run
from arbd.paper.fills import CAUSES, REASONS, Fill, Reject
from arbd.paper.market.prepared import Market
from arbd.paper.market.quotes import IntArray
from arbd.paper.params import Value, canonical, check, resolve
from arbd.values import dataclass

HEAD = (
    "time", "ts_ns", "venue", "side", "price", "size", "fee", "slippage", "reason", "data", "row",
    "decided", "decided_ns", "ordered", "rejected",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class MarketRun:
    """One market of a job and what an iteration's parameters did on it; `blocks` are those of its quotes.

    `first` is the quote that it begins at, of a part of a market.
    """

    source: str
    market: Market
    blocks: IntArray
    params: dict[str, Value]
    run: Run
    first: int = 0


def run_markets(
    spec: JobSpec,
    params: Params,
    cache_dir: Path | None,
    budget: float = 1.0,
    reading: ReadRule = ANY,
    setting: Setting = WHOLE,
) -> list[MarketRun]:
    """Run a share of what a setting shows of a paper job's markets with one set of parameters.

    `reading` is this host's rule for files that jobs name. UsageError for another kind of objective.
    """
    if spec.objective.kind != "paper":
        raise UsageError(f"only paper sessions have fills; this one evaluates {spec.objective}")
    own = {canonical(name): check(name, value) for name, value in params.items()}
    runs = []
    loaded = load_markets(spec, cache_dir, reading=reading)
    for whole, at in zip(*markets_of(loaded, setting, spec.seed), strict=True):
        each = loaded[at]
        resolved = resolve(under({**resolve({**each.defaults, **spec.fixed}), **own}, setting.changes))
        for first, market in share(whole, budget):
            runs.append(MarketRun(each.source, market, market.block, resolved, run(market, resolved), first))
    return runs


def write_fills(runs: Sequence[MarketRun], path: Path) -> tuple[int, int]:
    """Write all fills and rejected orders as CSV, the file whole by rename; how many there are of each.

    Money is in A's currency. A rejected order has size 0, and the price that it would have had.
    """
    with whole_file(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        writer.writerows(_lines(runs))
    return sum(len(each.run.fills) for each in runs), sum(len(each.run.rejects) for each in runs)


def _lines(runs: Sequence[MarketRun]) -> Iterator[tuple[object, ...]]:
    done: list[tuple[MarketRun, Fill | Reject]] = []
    for market in runs:
        done += [(market, fill) for fill in market.run.fills]
        done += [(market, reject) for reject in market.run.rejects]
    # The sort keeps the order of execution within a row of a market.
    for each, order in sorted(done, key=lambda pair: (pair[1].ts_ns, pair[0].source, pair[1].row, pair[1].sent_row)):
        decided_ns = int(each.market.ts_ns[order.sent_row])
        size, fee, slippage, cause = _outcome(order)
        yield (
            iso_ns(order.ts_ns), order.ts_ns, venue(order), side(order), order.price, size, fee, slippage,
            REASONS[order.reason], each.source, each.first + order.row + 1, iso_ns(decided_ns), decided_ns, order.ordered, cause,
        )  # fmt: skip


def _outcome(order: Fill | Reject) -> tuple[float, float, float, str]:
    if isinstance(order, Fill):
        return order.size, order.fee, order.slippage, ""
    return 0.0, 0.0, 0.0, CAUSES[order.cause]


def venue(fill: Fill | Reject) -> str:
    """A or B."""
    return "AB"[fill.venue]


def side(fill: Fill | Reject) -> str:
    """What was done with the base asset."""
    return "buy" if fill.side > 0 else "sell"


def iso_ns(ts_ns: int) -> str:
    """UTC in ISO 8601, to the nanosecond."""
    return f"{np.datetime64(ts_ns, 'ns')}Z"
