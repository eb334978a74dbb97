"""The convergence strategy as a user of hftbacktest writes it: an engine of other people's, that knows nothing of arbd.

hftbacktest keeps the books, the orders, their latencies, when they arrive, what they fill and at what price, and an
account. What is here decides, from what hftbacktest's books show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arbd.paper.market.prepared import Market

# A row's quotes are there this long before an order arrives, and the strategy looks this long after them.
ARRIVAL_NS, LOOK_NS = 1_000, 2_000
LOT = 0.001
FAR_TICKS = 500


@dataclass
class Outside:
    """Fills as (row, venue, side, size) and the cash of each after fees, as hftbacktest's orders tell them.

    `account` is what its own account made after fees. It forgets what an order filled of which the rest expired, so it
    holds only where all orders were filled `whole`.
    """

    fills: list[tuple[int, int, int, float]] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    orders: int = 0
    unfilled: int = 0
    account: float = 0.0
    whole: bool = True
    positions: tuple[float, float] = (0.0, 0.0)


def events(market: Market, venue: int, step_ns: int) -> Any:
    """A venue's book as hftbacktest's feed: at each row the levels of before go, those of the row come.

    Its clock begins at the first row, which is at one step.
    """
    import hftbacktest as hbt

    kinds = (hbt.BUY_EVENT, 0), (hbt.SELL_EVENT, 1)
    lines: list[tuple[int, int, float, float]] = []
    shown: dict[tuple[int, float], None] = {}
    for row, ts_ns in enumerate((market.ts_ns - market.ts_ns[0] + step_ns).tolist()):
        lines += [(ts_ns, kind, price, 0.0) for kind, price in shown]
        shown = {}
        for book in (market.book[row], *market.levels[row]):
            for kind, at in kinds:
                price, size = float(book[2 * venue + at]), float(book[4 + 2 * venue + at])
                if size > 0:
                    lines.append((ts_ns, kind, price, size))
                    shown[kind, price] = None
    feed = np.zeros(len(lines), dtype=hbt.event_dtype)
    flags = hbt.EXCH_EVENT | hbt.LOCAL_EVENT | hbt.DEPTH_EVENT
    for name, column in zip(("exch_ts", "ev", "px", "qty"), zip(*lines, strict=True), strict=True):
        feed[name] = column
    feed["local_ts"] = feed["exch_ts"]
    feed["ev"] |= np.uint64(flags)
    return feed


class Trader:
    """What a user writes around hftbacktest: look at the books, send orders that fill at once or not at all, count."""

    def __init__(self, market: Market, params: Mapping[str, Any], step_ns: int, tick: float) -> None:
        import hftbacktest as hbt

        self.p, self.step_ns, self.tick = params, step_ns, tick
        self.feeds = [events(market, venue, step_ns) for venue in (0, 1)]
        assets = [
            hbt.BacktestAsset()
            .data([self.feeds[venue]])
            .linear_asset(1.0)
            .constant_order_latency(int(params[f"latency_{name}_ms"] * 1e6) + ARRIVAL_NS - LOOK_NS, 0)
            .risk_adverse_queue_model()
            .partial_fill_exchange()
            .trading_value_fee_model(0.0, params[f"fee_{name}_bps"] / 1e4)
            .tick_size(tick)
            .lot_size(LOT)
            for venue, name in enumerate("ab")
        ]
        self.engine = hbt.HashMapMarketDepthBacktest(assets)
        self.found = Outside()
        # Orders of which nothing was heard yet: number, venue, side, size.
        self.sent: list[tuple[int, int, int, float]] = []
        self.positions = [0.0, 0.0]
        self.direction = 0
        self.opens = False

    def run(self, rows: int) -> Outside:
        """The whole market, row by row."""
        self.engine.elapse(LOOK_NS)
        for row in range(rows):
            busy = bool(self.sent)
            if busy:
                self.hear()
            if busy and not self.sent:
                self.even_out()
            elif not busy:
                self.decide()
            if row < rows - 1:
                self.engine.elapse(self.step_ns)
        states = [self.engine.state_values(venue) for venue in (0, 1)]
        self.found.positions = self.positions[0], self.positions[1]
        self.found.account = sum(float(state.balance) - float(state.fee) for state in states)
        self.engine.close()
        return self.found

    def shown(self, venue: int, side: int) -> tuple[float, float]:
        """The touch and its size, for a buyer or a seller."""
        depth = self.engine.depth(venue)
        if side > 0:
            return float(depth.best_ask), float(depth.best_ask_qty)
        return float(depth.best_bid), float(depth.best_bid_qty)

    def reachable(self, venue: int, side: int) -> float:
        """What the levels of a side hold together."""
        depth = self.engine.depth(venue)
        if side > 0:
            best = int(depth.best_ask_tick)
            return float(sum(depth.ask_qty_at_tick(tick) for tick in range(best, best + FAR_TICKS)))
        best = int(depth.best_bid_tick)
        return float(sum(depth.bid_qty_at_tick(tick) for tick in range(best, best - FAR_TICKS, -1)))

    def walked(self, venue: int, side: int, size: float) -> tuple[float, float]:
        """What a size costs in the book as it is, and the last price of it."""
        depth = self.engine.depth(venue)
        at = depth.ask_qty_at_tick if side > 0 else depth.bid_qty_at_tick
        tick, rest, paid = int(depth.best_ask_tick if side > 0 else depth.best_bid_tick), size, 0.0
        while True:
            took = min(rest, float(at(tick)))
            paid += took * tick * self.tick
            rest -= took
            if rest < LOT / 2:
                return paid, tick * self.tick
            tick += side

    def send(self, venue: int, side: int, size: float) -> None:
        """An order that takes what is there, however far, and waits for nothing."""
        from hftbacktest.order import IOC, LIMIT

        self.found.orders += 1
        number = self.found.orders
        submit = self.engine.submit_buy_order if side > 0 else self.engine.submit_sell_order
        submit(venue, number, self.shown(venue, side)[0] + side * FAR_TICKS * self.tick, size, IOC, LIMIT, False)
        self.sent.append((number, venue, side, size))

    def hear(self) -> None:
        """Take note of orders that are done."""
        waiting = []
        for number, venue, side, size in self.sent:
            order = self.engine.orders(venue).get(number)
            if int(order.req) != 0:
                waiting.append((number, venue, side, size))
                continue
            filled = size - float(order.leaves_qty)
            self.found.whole = self.found.whole and float(order.leaves_qty) < LOT / 2
            if filled < LOT / 2:
                self.found.unfilled += 1
                continue
            notional, last = self.walked(venue, side, filled)
            assert last == float(order.exec_price)
            self.positions[venue] = round((self.positions[venue] + side * filled) / LOT) * LOT
            self.found.fills.append((int(order.exch_timestamp) // self.step_ns - 1, venue, side, filled))
            self.found.cash.append(-side * notional - notional * self.p[f"fee_{'ab'[venue]}_bps"] / 1e4)
        self.sent = waiting

    def decide(self) -> None:
        """Enter by the edge, leave by the cost of unwinding."""
        (bid_a, _), (ask_a, _) = self.shown(0, -1), self.shown(0, 1)
        (bid_b, _), (ask_b, _) = self.shown(1, -1), self.shown(1, 1)
        edges = {1: (bid_a - ask_b) / ask_b * 100.0, -1: (bid_b - ask_a) / ask_a * 100.0}
        if self.positions[0] == 0 and self.positions[1] == 0:
            self.direction = 1 if edges[1] >= edges[-1] else -1
            if edges[self.direction] >= self.p["min_spread_pct"]:
                size = self.p["max_position"] / (ask_b if self.direction > 0 else ask_a)
                self.both(self.direction, size, opens=True)
        elif -edges[-self.direction] <= self.p["exit_spread_pct"]:
            self.both(-self.direction, max(abs(self.positions[0]), abs(self.positions[1])), opens=False)

    def both(self, direction: int, size: float, *, opens: bool) -> None:
        """One order on each venue, no larger than what both show now."""
        size = min(size, self.reachable(0, -direction), self.reachable(1, direction))
        size = np.floor(size / LOT + 1e-9) * LOT
        self.opens = opens
        for venue, side in ((0, -direction), (1, direction)):
            part = size if opens else min(size, abs(self.positions[venue]))
            if part > LOT / 2:
                self.send(venue, side, part)

    def even_out(self) -> None:
        """What one venue filled more than the other is made up for: bought or sold there when opening, else here."""
        excess = round((abs(self.positions[0]) - abs(self.positions[1])) / LOT) * LOT
        if excess == 0:
            return
        larger = 0 if excess > 0 else 1
        venue = 1 - larger if self.opens and self.p["unhedged"] == "hedge" else larger
        opening = -self.direction if venue == 0 else self.direction
        if venue == larger:
            self.opens = False
        self.send(venue, opening if venue != larger else -opening, abs(excess))
