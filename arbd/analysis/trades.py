"""Every fill of one iteration of a paper session, market by market, and as a table in CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arbd.atomic_file import whole_file
from arbd.errors import UsageError
from arbd.job.spec import JobSpec
from arbd.job.validation import WHOLE, Setting
from arbd.named_file import ANY, ReadRule
from arbd.objective.markets import beginning, load_markets, markets_of
from arbd.objective.paper import under
from arbd.objective.protocol import Params
from arbd.paper.engine import Run, run
from arbd.paper.fills import REASONS, Fill
from arbd.paper.market.prepared import Market
from arbd.paper.market.quotes import IntArray
from arbd.paper.params import Value, canonical, check, resolve

HEAD = ("time", "ts_ns", "venue", "side", "price", "size", "fee", "slippage", "reason", "data", "row")


@dataclass(frozen=True, slots=True, eq=False)
class MarketRun:
    """One market of a job and what an iteration's parameters did on it; `blocks` are those of its quotes."""

    source: str
    market: Market
    blocks: IntArray
    params: dict[str, Value]
    run: Run


def run_markets(
    spec: JobSpec,
    params: Params,
    cache_dir: Path | None,
    budget: float = 1.0,
    reading: ReadRule = ANY,
    setting: Setting = WHOLE,
) -> list[MarketRun]:
    """Run the first `budget` of what a setting shows of a paper job's markets with one set of parameters.

    `reading` is this host's rule for files that jobs name. UsageError for another kind of objective.
    """
    if spec.objective.kind != "paper":
        raise UsageError(f"only paper sessions have fills; this one evaluates {spec.objective}")
    own = {canonical(name): check(name, value) for name, value in params.items()}
    runs = []
    loaded = load_markets(spec, cache_dir, reading=reading)
    for whole, at in zip(*markets_of(loaded, setting, spec.seed), strict=True):
        each, market = loaded[at], beginning(whole, budget)
        resolved = under({**resolve({**each.defaults, **spec.fixed}), **own}, setting.changes)
        runs.append(MarketRun(each.source, market, market.block, resolved, run(market, resolved)))
    return runs


def write_fills(runs: Sequence[MarketRun], path: Path) -> int:
    """Write all fills as CSV, the file whole by rename; how many there are. Money is in A's currency."""
    n = 0
    with whole_file(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        for line in _lines(runs):
            writer.writerow(line)
            n += 1
    return n


def _lines(runs: Sequence[MarketRun]) -> Iterator[tuple[object, ...]]:
    for each in runs:
        for fill in each.run.fills:
            yield (
                iso_ns(fill.ts_ns), fill.ts_ns, venue(fill), side(fill), fill.price, fill.size, fill.fee, fill.slippage,
                REASONS[fill.reason], each.source, fill.row + 1,
            )  # fmt: skip


def venue(fill: Fill) -> str:
    """A or B."""
    return "AB"[fill.venue]


def side(fill: Fill) -> str:
    """What was done with the base asset."""
    return "buy" if fill.side > 0 else "sell"


def iso_ns(ts_ns: int) -> str:
    """UTC in ISO 8601, to the nanosecond."""
    return f"{np.datetime64(ts_ns, 'ns')}Z"
