"""How fast the paper engine evaluates sets of parameters, against peers in the same run. One JSON line per measurement.

    python benchmarks/engine.py            5,000,000 ticks, 1, 64 and 1,024 sets
    python benchmarks/engine.py --smoke    100,000 ticks, to see that it runs

The market is synthetic, its premium with a part that reverts within seconds. `full` sets have everything: fees,
slippage, latency per leg, stop, profit target, holding time, daily loss, entries per hour, cool-down, circuit breaker,
equity grid. `plain` sets have thresholds and fees alone. Peers, each in rounds with the engine, the quickest counts:

    plain         one set per pass over the edges, plain features
    simd          all sets in one pass over the edges, which vector code compares with their levels, plain features
    vectorbt      Portfolio.from_signals over the premium, plain features, a slice scaled to all ticks and sets
    hftbacktest   its event loop with market orders, plain features, a slice scaled to all ticks and sets

`ratio` is the peer's time over the engine's. Preparation (series, index) is apart: it is done once per market and host.
Times are CPU times of this process. The last two peers need `pip install arbd[bench-engine]`; without, they are skipped.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from engine_peers import TRADES, hftbacktest_events, hftbacktest_loop, plain_loop, simd_loop, vectorbt_from_signals

from arbd.paper import metrics
from arbd.paper.kernel.parameter_sets import Index, build_index, run_batch
from arbd.paper.market.prepared import Market, fill_market, grid_rows, market_forms, parameter_rows, prepare
from arbd.paper.market.quotes import FloatArray, Quotes
from arbd.paper.market.series import Series
from arbd.paper.market.synth import PROFILES, synth_quotes
from arbd.paper.params import resolve
from arbd.paper.reference.strategies import reference_run

PROFILE = replace(PROFILES["kimchi"], fast_half_life_s=5.0, fast_share=0.5)
# Ranges of entry and exit thresholds, in percent.
KINDS = {
    "rare": ((0.38, 0.45), (-0.02, 0.02)),
    "mixed": ((0.05, 0.45), (-0.05, 0.02)),
    "frequent": ((0.11, 0.19), (-0.01, 0.01)),
    "dense": ((0.0, 0.03), (0.0, 0.04)),
}
FULL: dict[str, Any] = {
    "slippage_bps": 0.2, "latency_a_ms": 50, "latency_b_ms": 20, "stop_loss_pct": 0.5, "take_profit_pct": 0.6,
    "max_hold_s": 3600, "max_daily_loss": 500_000, "circuit_breaker_pct": 20, "max_trades_per_hour": 1000, "cooldown_s": 1,
}  # fmt: skip
COSTS = {"fee_a_bps": 1, "fee_b_bps": 1}
FEE = 0.0001
ROUNDS = 3
MOST_SETS = 1024


def say(**line: Any) -> None:
    """One measurement."""
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def timed(call: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


class Bench:
    """A market and how it is measured."""

    def __init__(self, quotes: Quotes) -> None:
        self.quotes = quotes
        self.market: Market = prepare(quotes)
        self.series: Series = self.market.series(0.0, carry_over_gaps=False)
        self.index: Index = build_index(self.series)
        self.at = grid_rows(quotes.ts_ns, 3600.0)

    def run(self, rows: FloatArray, way: str = "events") -> FloatArray:
        """Counts of sets."""
        return run_batch(self.series, self.index, rows, self.at, 0, way)[0]

    def slice(self, ticks: int) -> Bench:
        """The market's first quotes."""
        return Bench(Quotes(**{name: column[:ticks] for name, column in self.quotes.columns().items()}))


def sets_of(kind: str, n: int, *, full: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Parameter rows, and their entry and exit thresholds."""
    rng = np.random.default_rng(0)
    entry, exit_ = (rng.uniform(*bounds, n) for bounds in KINDS[kind])
    base = resolve(COSTS | (FULL if full else {"slippage_bps": 0}))
    columns: dict[str, Any] = {name: [value] * n for name, value in base.items()}
    return parameter_rows(columns | {"min_spread_pct": entry, "exit_spread_pct": exit_}, n), entry, exit_


def run_plain(bench: Bench, entry: FloatArray, exit_: FloatArray) -> FloatArray:
    """What sets counted in the plain loop."""
    counted: FloatArray = plain_loop(bench.series.book, bench.series.edge_ab, bench.series.edge_ba, entry, exit_, FEE)
    return counted


def run_simd(bench: Bench, entry: FloatArray, exit_: FloatArray) -> FloatArray:
    """What sets counted in the vector loop."""
    counted: FloatArray = simd_loop(bench.series.book, bench.series.edge_ab, bench.series.edge_ba, entry, exit_, FEE)
    return counted


def same_trades(bench: Bench, rows: FloatArray, entry: FloatArray, exit_: FloatArray) -> None:
    """SystemExit unless the loops make the engine's trades, but for a few for which the sizes shown were too small."""
    counts, simd = bench.run(rows), run_simd(bench, entry, exit_)
    plain = run_plain(bench, entry[:8], exit_[:8])
    if not np.array_equal(simd[:8], plain):
        raise SystemExit("the vector loop gives other bits than the plain one")
    if not np.allclose(simd[:, TRADES], counts[:, metrics.TRADES], rtol=0.005, atol=2):
        raise SystemExit("the loops do not make the engine's trades")


def measure_sets(bench: Bench, kind: str, n: int, *, full: bool, smoke: bool) -> None:
    """The engine against a plain loop and, for many sets, a vector loop. Both do plain features, whatever the engine does."""
    rows, entry, exit_ = sets_of(kind, n, full=full)
    few = slice(0, max(1, n // 32))
    part = bench.slice(min(len(bench.quotes), 500_000))
    times: dict[str, list[float]] = {"engine": [], "plain": [], "simd": []}
    bench.run(rows[:1])
    run_plain(part, entry[:1], exit_[:1])
    run_simd(bench.slice(10), entry, exit_)
    for _ in range(1 if smoke else ROUNDS):
        times["engine"].append(timed(lambda: bench.run(rows)))
        spent = timed(lambda: run_plain(bench, entry[few], exit_[few]))
        times["plain"].append(spent * n / few.stop)
        if n == MOST_SETS:
            spent = timed(lambda: run_simd(part, entry, exit_))
            times["simd"].append(spent * len(bench.quotes) / len(part.quotes))
    counts = bench.run(rows)
    if not full:
        same_trades(part, rows, entry, exit_)
    engine = min(times["engine"])
    trades = float(counts[:, metrics.TRADES].mean())
    features = "full" if full else "plain"
    say(
        benchmark="engine",
        kind=kind,
        features=features,
        sets=n,
        ticks=len(bench.quotes),
        trades_per_set=trades,
        seconds=engine,
    )
    for peer in ("plain", "simd"):
        if times[peer]:
            say(
                benchmark=f"against {peer}", kind=kind, features=features, sets=n, seconds=min(times[peer]),
                ratio=min(times[peer]) / engine,
            )  # fmt: skip


def measure_packages(bench: Bench, smoke: bool) -> None:
    """Vectorbt and hftbacktest, on slices: they do the plain features, the engine those and all."""
    n, total = 1024, len(bench.quotes)
    for peer, call in (("vectorbt", _vectorbt), ("hftbacktest", _hftbacktest)):
        if importlib.util.find_spec(peer) is None:
            say(benchmark=f"against {peer}", skipped="not installed: pip install arbd[bench-engine]")
            continue
        for kind in ("rare", "frequent"):
            _, entry, exit_ = sets_of(kind, n, full=False)
            spent, ticks, sets = call(bench, entry, exit_, smoke)
            scaled = spent * (total / ticks) * (n / sets)
            for full in (False, True):
                rows, _, _ = sets_of(kind, n, full=full)
                engine = min(timed(lambda rows=rows: bench.run(rows)) for _ in range(1 if smoke else ROUNDS))
                say(
                    benchmark=f"against {peer}", kind=kind, features="full" if full else "plain", sets=n,
                    measured_ticks=ticks, measured_sets=sets, measured_seconds=spent, seconds=scaled,
                    ratio=scaled / engine,
                )  # fmt: skip


def _vectorbt(bench: Bench, entry: FloatArray, exit_: FloatArray, smoke: bool) -> tuple[float, int, int]:
    ticks, sets = (20_000, 4) if smoke else (250_000, 16)
    premium = bench.series.edge_ab[:ticks]
    vectorbt_from_signals(premium[:1000], entry[:sets], exit_[:sets])
    return timed(lambda: vectorbt_from_signals(premium, entry[:sets], exit_[:sets])), ticks, sets


def _hftbacktest(bench: Bench, entry: FloatArray, exit_: FloatArray, smoke: bool) -> tuple[float, int, int]:
    ticks = 5_000 if smoke else 100_000
    q = bench.quotes
    feeds = [
        hftbacktest_events(q.ts_ns[:ticks], bid[:ticks], ask[:ticks], 1.0)
        for bid, ask in ((q.bid_a, q.ask_a), (q.bid_b * q.fx, q.ask_b * q.fx))
    ]
    steps = (PROFILE.tick_a, PROFILE.tick_b * PROFILE.fx)
    both = [hftbacktest_loop(feeds, steps, float(entry[0]), float(exit_[0]))]  # compiles
    spent = timed(lambda: both.append(hftbacktest_loop(feeds, steps, float(entry[0]), float(exit_[0]))))
    return spent, ticks, 1


def measure_growth(bench: Bench, smoke: bool) -> None:
    """Twice the ticks, the same trades: what comes after is quiet."""
    q, n = bench.quotes, len(bench.quotes)
    quiet = q.columns()
    later = {name: np.concatenate([column, np.repeat(column[-1:], n)]) for name, column in quiet.items()}
    step = int(q.ts_ns[-1] - q.ts_ns[0]) // n
    later["ts_ns"] = np.concatenate([q.ts_ns, q.ts_ns[-1] + step * np.arange(1, n + 1)])
    middle = bench.market.column("bid_a")[-1]
    for name, price in (("bid_a", middle), ("ask_a", middle * 1.0001)):
        later[name][n:] = price
    for name, price in (("bid_b", middle), ("ask_b", middle * 1.0001)):
        later[name][n:] = price / q.fx[-1]
    twice = Bench(Quotes(**later))
    rows, _, _ = sets_of("mixed", 1024, full=True)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(1 if smoke else ROUNDS):
        times[1].append(timed(lambda: bench.run(rows)))
        times[2].append(timed(lambda: twice.run(rows)))
    trades = [float(each.run(rows)[:, metrics.TRADES].sum()) for each in (bench, twice)]
    say(
        benchmark="twice the ticks",
        sets=1024,
        trades=trades[0],
        trades_twice=trades[1],
        ratio=min(times[2]) / min(times[1]),
    )


def measure_preparation(quotes: Quotes) -> None:
    """Series and index, once per market and host; memory for one that is warm already."""
    n = len(quotes)
    arrays = {name: np.empty(*form) for name, form in market_forms(quotes).items()}
    fill_market(quotes, arrays)
    market = None

    def again() -> None:
        nonlocal market
        market = fill_market(quotes, arrays)

    series = timed(again)
    assert market is not None
    say(benchmark="prepare series", ticks=n, seconds=series)
    say(
        benchmark="prepare index",
        ticks=n,
        seconds=timed(lambda: build_index(market.series(0.0, carry_over_gaps=False))),
    )


def measure_reference(bench: Bench, ticks: int) -> None:
    """The readable reference, on a slice, a set of each strategy."""
    part = bench.slice(ticks)
    for strategy in ("convergence", "inventory"):
        params = resolve(COSTS | {"strategy": strategy, "min_spread_pct": 0.15})
        rows = parameter_rows({name: [value] for name, value in params.items()}, 1)
        part.run(rows)
        reference = timed(lambda params=params: reference_run(part.series, params))
        engine = min(timed(lambda rows=rows: part.run(rows)) for _ in range(5))
        say(
            benchmark="against reference",
            kind=strategy,
            sets=1,
            ticks=ticks,
            seconds=reference,
            ratio=reference / engine,
        )


def cases(smoke: bool) -> Iterator[tuple[str, int, bool]]:
    """What is measured: kind, sets, all features or few."""
    for kind in KINDS:
        for sets in (64,) if smoke else (1, 64, 1024):
            yield kind, sets, True
        yield kind, 64 if smoke else 1024, False


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    quotes = synth_quotes(1, 100_000 if smoke else 5_000_000, PROFILE)
    measure_preparation(quotes)
    bench = Bench(quotes)
    for kind, sets, full in cases(smoke):
        measure_sets(bench, kind, sets, full=full, smoke=smoke)
    measure_packages(bench, smoke)
    measure_growth(bench, smoke)
    measure_reference(bench, 5_000 if smoke else 100_000)
    say(benchmark="largest memory", megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
