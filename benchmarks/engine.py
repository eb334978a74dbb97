"""How fast the paper engine evaluates one set of parameters. One JSON line per measurement.

    python benchmarks/engine.py            5,000,000 ticks
    python benchmarks/engine.py --smoke    100,000 ticks, to see that it runs

The compiled engine walks the whole market; the reference, which takes about a microsecond a tick, a slice of it.
`ratio` is the reference's time per tick over the compiled engine's, both in this run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from arbd.paper import metrics
from arbd.paper.params import resolve
from arbd.paper.prepared import Market, grid_points, parameter_rows, prepare
from arbd.paper.reference_strategies import reference_run
from arbd.paper.synth import synth_profile

CASES: dict[str, dict[str, Any]] = {
    "rare trades": {"min_spread_pct": 0.6, "exit_spread_pct": 0.02},
    "some trades": {"min_spread_pct": 0.25, "exit_spread_pct": 0.0},
    "frequent trades": {"min_spread_pct": 0.03, "exit_spread_pct": 0.0},
    "inventory": {"strategy": "inventory", "min_spread_pct": 0.15},
}


def best_of(times: int, call: Callable[[], object]) -> float:
    """Seconds of the quickest of several calls."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def walk(market: Market, params: dict[str, Any]) -> float:
    """Trades of one run of the compiled engine."""
    from arbd.paper.kernel import walk_many

    counts = np.zeros((1, metrics.N_COUNTS))
    grid = np.empty((1, grid_points(market, params["grid_s"])))
    walk_many(market.columns(), parameter_rows({name: [value] for name, value in params.items()}, 1), counts, grid)
    return float(counts[0, metrics.TRADES])


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    ticks, slice_ticks = (100_000, 20_000) if smoke else (5_000_000, 100_000)
    quotes = synth_profile("kimchi", 1, ticks)
    started = time.perf_counter()
    market = prepare(quotes)
    print(
        json.dumps({"benchmark": "prepare", "ticks": ticks, "seconds": round(time.perf_counter() - started, 4)}),
        flush=True,
    )
    part = Market(market.ts_ns[:slice_ticks], np.ascontiguousarray(market.table[:, :slice_ticks]))
    started = time.perf_counter()
    walk(part, resolve({}))
    print(json.dumps({"benchmark": "first call", "seconds": round(time.perf_counter() - started, 3)}), flush=True)
    for name, given in CASES.items():
        params = resolve(given)
        compiled = best_of(5, lambda params=params: walk(market, params)) / ticks
        reference = best_of(1, lambda params=params: reference_run(part, params)) / slice_ticks
        line = {
            "benchmark": f"one set, {name}", "ticks": ticks, "trades": walk(market, params),
            "compiled_ns_per_tick": round(compiled * 1e9, 2), "reference_ns_per_tick": round(reference * 1e9),
            "ratio": round(reference / compiled),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
