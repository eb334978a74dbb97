"""The markets that a paper job trades on: its data files, then the symbols of its scenarios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from arbd.errors import ObjectiveError
from arbd.job.digests import not_the_same
from arbd.job.spec import JobSpec
from arbd.job.validation import OPEN_FROM, OPEN_TO, Setting
from arbd.named_file import ANY, MAX_DATA_BYTES, ReadRule, open_named
from arbd.paper.market.cache import load_days, load_market
from arbd.paper.market.days import DayFiles
from arbd.paper.market.prepared import Market, prepare
from arbd.paper.market.quotes import Quotes, quotes_of
from arbd.paper.scenario import read_scenario
from arbd.strict_yaml import MAX_BYTES
from arbd.values import dataclass

# How many increments of the premium get one random sign where an edge is taken out of a market.
NULL_BLOCK_ROWS = 20
# A share of a market is so many parts of it, none of fewer quotes than that: at each beginning nothing is held or known.
STRETCHES = 8
MIN_STRETCH = 512


@dataclass(frozen=True, slots=True, eq=False)
class JobMarket:
    """A market, the file (and symbol) it comes from, and the parameters that this file gives where the job gives none."""

    source: str
    quotes: Quotes
    market: Market
    defaults: Mapping[str, Any]


def stretches(n: int, budget: float) -> list[tuple[int, int]]:
    """Which of `n` quotes a share of them is: [first, last) of up to `STRETCHES` parts from even places of the whole.

    The same for all parameter sets, so that they can be compared, and over the whole time, so that what happens only at
    its end is seen by the smallest share too. With as many parts, a larger share holds all of a smaller one.
    """
    count = max(1, min(STRETCHES, math.floor(n * budget / MIN_STRETCH)))
    starts = [n * at // count for at in range(count + 1)]
    return [(first, first + math.ceil((end - first) * budget)) for first, end in pairwise(starts)]


def share(market: Market, budget: float) -> list[tuple[int, Market]]:
    """A share of a market's quotes, each part a market of its own, with the quote of the whole that it begins at."""
    if budget >= 1.0 or not len(market):
        return [(0, market)]
    return [(first, market.part(first, last)) for first, last in stretches(len(market), budget)]


def markets_of(loaded: Sequence[JobMarket], setting: Setting, seed: int) -> tuple[list[Market], list[int]]:
    """What a setting shows of a job's markets, and which of them each is of: every window is a market of its own.

    A market without an edge is made of what the window shows alone, with random signs of the job's `seed`.
    """
    windows = setting.windows or (((OPEN_FROM, OPEN_TO),),) * len(loaded)
    if len(windows) != len(loaded):
        raise ObjectiveError(f"the job's windows are of {len(windows)} markets; it has {len(loaded)} here")
    markets, which = [], []
    for number, (market, own) in enumerate(zip(loaded, windows, strict=True)):
        for at, (start_ns, end_ns) in enumerate(own):
            first, last = np.searchsorted(market.quotes.ts_ns, [start_ns, end_ns]).tolist()
            if setting.null:
                key = [seed, setting.null, number, at]
                columns = {name: column[first:last] for name, column in market.quotes.columns().items()}
                markets.append(_without_edge(quotes_of(columns), key))
            else:
                whole = last - first == len(market.market)
                markets.append(market.market if whole else market.market.part(first, last))
            which.append(number)
    return markets, which


def _without_edge(quotes: Quotes, key: Sequence[int]) -> Market:
    from arbd.validation.surrogate import surrogate  # noqa: PLC0415 - few jobs ask for it

    if len(quotes) < 2:
        return prepare(quotes)
    random = int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0])
    # Signs alone make it as likely as the real one where that has no edge: any choice among drawings would not.
    made = surrogate(quotes, random, NULL_BLOCK_ROWS, keep_range=False)
    # What of B's book lies below the touch moves with it.
    by = made.bid_b / quotes.bid_b
    levels = tuple(replace(level, bid_b=level.bid_b * by, ask_b=level.ask_b * by) for level in quotes.levels)
    return prepare(replace(made, levels=levels))


def load_markets(
    spec: JobSpec, cache_dir: Path | None, *, verify: bool = True, reading: ReadRule = ANY
) -> list[JobMarket]:
    """In the order of the job. With `verify`, an error when a file is not the one that the job was accepted with.

    `reading` is the rule of this host for files that jobs name.
    """
    markets: list[JobMarket] = []
    for name in spec.data:
        digest = spec.digests.get(name) if verify else None
        days = DayFiles.parse(name)
        if days is not None:
            loaded, market = load_days(days, cache_dir, spec.on_bad_rows, digest, reading)
            markets.append(JobMarket(name, loaded.quotes, market, {}))
            continue
        with open_named(Path(name), MAX_DATA_BYTES, reading) as file, file.errors_unquoted("quotes"):
            quotes, market = load_market(file, cache_dir, spec.on_bad_rows, digest)
        markets.append(JobMarket(name, quotes, market, {}))
    for name in spec.scenarios:
        with open_named(Path(name), MAX_BYTES, reading) as file, file.errors_unquoted("a scenario"):
            scenario, found = read_scenario(file)
        if verify and spec.digests.get(name, found) != found:
            raise not_the_same("the scenario", Path(name), found, spec.digests[name])
        several = len(scenario.symbols) > 1
        markets += [
            JobMarket(f"{name}#{symbol}" if several else name, quotes, prepare(quotes), scenario.risk_profile)
            for symbol, quotes in zip(scenario.symbols, scenario.markets, strict=True)
        ]
    return markets
