"""The markets that a paper job trades on: its data files, then the symbols of its scenarios."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbd.job.digests import not_the_same
from arbd.job.spec import JobSpec
from arbd.named_file import ANY, MAX_DATA_BYTES, ReadRule, open_named
from arbd.paper.market.cache import load_market
from arbd.paper.market.prepared import Market, prepare
from arbd.paper.market.quotes import Quotes
from arbd.paper.scenario import read_scenario
from arbd.strict_yaml import MAX_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class JobMarket:
    """A market, the file (and symbol) it comes from, and the parameters that this file gives where the job gives none."""

    source: str
    quotes: Quotes
    market: Market
    defaults: Mapping[str, Any]


def beginning(market: Market, budget: float) -> Market:
    """The first `budget` of a market's quotes, at least one."""
    return market if budget >= 1.0 else market.beginning(max(1, math.ceil(len(market) * budget)))


def load_markets(
    spec: JobSpec, cache_dir: Path | None, *, verify: bool = True, reading: ReadRule = ANY
) -> list[JobMarket]:
    """In the order of the job. With `verify`, an error when a file is not the one that the job was accepted with.

    `reading` is the rule of this host for files that jobs name.
    """
    markets: list[JobMarket] = []
    for name in spec.data:
        digest = spec.digests.get(name) if verify else None
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
