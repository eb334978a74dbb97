"""What the paper engine is measured against: loops over the same quotes, and other people's engines.

`plain_loop` and `simd_loop` do plain features: thresholds in and out, fees, a drawdown; no latency, stops or limits, no
sizes. vectorbt and hftbacktest do what they can express of it; they are optional (`pip install arbd[bench-engine]`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Places of what a set has counted.
TRADES, PNL, FEES, PEAK, DRAWDOWN = range(5)


@njit(cache=True, inline="always")
def _settle(book: Any, opened: Any, closed: Any, side: Any, fee: float, counted: Any) -> None:
    """A round trip for 100,000 from the touch of one row to the touch of another, long B for a side above 0, else long A."""
    buys, sells = (3, 0) if side > 0 else (1, 2)
    unsells, unbuys = (2, 1) if side > 0 else (0, 3)
    bought, sold = book[opened, buys], book[opened, sells]
    resold, rebought = book[closed, unsells], book[closed, unbuys]
    quantity = 100_000.0 / bought
    fees = fee * quantity * (bought + sold + resold + rebought)
    counted[TRADES] += 1.0
    counted[FEES] += fees
    counted[PNL] += quantity * (sold - bought + resold - rebought) - fees
    counted[PEAK] = max(counted[PEAK], counted[PNL])
    counted[DRAWDOWN] = max(counted[DRAWDOWN], counted[PEAK] - counted[PNL])


@njit(cache=True, error_model="numpy")
def plain_loop(book: Any, ab: Any, ba: Any, entry: Any, exit_: Any, fee: float) -> Any:
    """What each set counted after all quotes; one set after the other over the edges."""
    counted = np.zeros((entry.shape[0], 5))
    last = book.shape[0] - 1
    for i in range(entry.shape[0]):
        side, opened = 0, 0
        for row in range(book.shape[0]):
            if side == 0:
                if ab[row] >= entry[i] or ba[row] >= entry[i]:
                    side, opened = (1 if ab[row] >= ba[row] else -1), row
            elif -(ba[row] if side > 0 else ab[row]) <= exit_[i]:
                _settle(book, opened, row, side, fee, counted[i])
                side = 0
        if side != 0 and opened < last:
            _settle(book, opened, last, side, fee, counted[i])
    return counted


@njit(cache=True, error_model="numpy")
def simd_loop(book: Any, ab: Any, ba: Any, entry: Any, exit_: Any, fee: float) -> Any:
    """The same for all sets in one pass over the edges: three comparisons a set in vector code tell whether any acts.

    A set's levels are infinite while they do not matter. Where one acts, all are looked at one by one.
    """
    n = entry.shape[0]
    counted = np.zeros((n, 5))
    side, opened = np.zeros(n, np.int64), np.zeros(n, np.int64)
    opens, closes_ab, closes_ba = entry.copy(), np.full(n, np.inf), np.full(n, np.inf)
    for row in range(ab.shape[0]):
        now_ab, now_ba = ab[row], ba[row]
        best, acts = max(now_ab, now_ba), 0
        for i in range(n):
            acts += (best >= opens[i]) | (now_ab >= closes_ab[i]) | (now_ba >= closes_ba[i])
        if acts == 0:
            continue
        for i in range(n):
            if best >= opens[i]:
                side[i], opened[i], opens[i] = (1 if now_ab >= now_ba else -1), row, np.inf
                if side[i] > 0:
                    closes_ba[i] = -exit_[i]
                else:
                    closes_ab[i] = -exit_[i]
            elif now_ab >= closes_ab[i] or now_ba >= closes_ba[i]:
                _settle(book, opened[i], row, side[i], fee, counted[i])
                side[i], opens[i], closes_ab[i], closes_ba[i] = 0, entry[i], np.inf, np.inf
    last = ab.shape[0] - 1
    for i in range(n):
        if side[i] != 0 and opened[i] < last:
            _settle(book, opened[i], last, side[i], fee, counted[i])
    return counted


def vectorbt_from_signals(premium: Any, entry: Any, exit_: Any) -> Any:
    """Trades of each set by vectorbt's `Portfolio.from_signals`: one series that is bought when cheap, closed when not.

    It has no second venue: what it trades is the premium of A over B (in percent, moved up so that it is a price),
    sold at the entry threshold, bought back at the exit threshold, with a fee.
    """
    import vectorbt as vbt

    price = 100.0 - premium
    portfolio = vbt.Portfolio.from_signals(
        np.repeat(price[:, None], len(entry), axis=1),
        premium[:, None] >= entry[None, :],
        premium[:, None] <= exit_[None, :],
        fees=0.0002,
        freq="1s",
    )
    return portfolio.trades.count().to_numpy()


def hftbacktest_events(ts_ns: Any, bid: Any, ask: Any, size: float) -> Any:
    """A venue's quotes as hftbacktest's events: each row replaces both touches."""
    import hftbacktest as hbt

    both = hbt.EXCH_EVENT | hbt.LOCAL_EVENT | hbt.DEPTH_BBO_EVENT
    events = np.zeros(2 * len(ts_ns), dtype=hbt.event_dtype)
    for at, (side, price) in enumerate(((hbt.BUY_EVENT, bid), (hbt.SELL_EVENT, ask))):
        part = events[at::2]
        part["ev"], part["px"], part["qty"] = both | side, price, size
        part["exch_ts"] = part["local_ts"] = ts_ns
    return events


def hftbacktest_loop(feeds: Any, ticks: tuple[float, float], entry_pct: float, exit_pct: float) -> int:
    """Round trips of one set by hftbacktest's event loop: market orders on both venues, order latency, fees."""
    import hftbacktest as hbt

    assets = [
        hbt.BacktestAsset()
        .data([feed])
        .linear_asset(1.0)
        .constant_order_latency(50_000_000, 50_000_000)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0001, 0.0001)
        .tick_size(tick)
        .lot_size(0.001)
        for feed, tick in zip(feeds, ticks, strict=True)
    ]
    backtest = hbt.HashMapMarketDepthBacktest(assets)
    try:
        return int(_hftbacktest_strategy()(backtest, entry_pct, exit_pct))
    finally:
        backtest.close()


def _hftbacktest_strategy() -> Any:
    import hftbacktest as hbt

    good_till_canceled, market, every_asset = hbt.GTC, hbt.MARKET, hbt.ALL_ASSETS

    @njit
    def strategy(hbt_: Any, entry_pct: float, exit_pct: float) -> int:
        side, order, trips = 0, 0, 0
        while hbt_.wait_next_feed(False, 10**12) == 2:
            a, b = hbt_.depth(0), hbt_.depth(1)
            edge_ab = (a.best_bid - b.best_ask) / b.best_ask * 100.0
            edge_ba = (b.best_bid - a.best_ask) / a.best_ask * 100.0
            if side == 0 and max(edge_ab, edge_ba) >= entry_pct:
                side = 1 if edge_ab >= edge_ba else -1
            elif side != 0 and -(edge_ba if side > 0 else edge_ab) <= exit_pct:
                side, trips = 0, trips + 1
            else:
                continue
            order += 1
            sells_a = side > 0 or (side == 0 and trips % 2 == 0)
            if sells_a:
                hbt_.submit_sell_order(0, order, a.best_bid, 0.01, good_till_canceled, market, False)
                hbt_.submit_buy_order(1, order, b.best_ask, 0.01, good_till_canceled, market, False)
            else:
                hbt_.submit_buy_order(0, order, a.best_ask, 0.01, good_till_canceled, market, False)
                hbt_.submit_sell_order(1, order, b.best_bid, 0.01, good_till_canceled, market, False)
            hbt_.clear_inactive_orders(every_asset)
        return trips

    return strategy
