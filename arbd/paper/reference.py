"""The paper engine, tick by tick, meant to be read: the oracle that the compiled engine must equal to the bit.

At every quote, in this order:

1. grid times that lie before it are observed, at the quote before;
2. orders that are due fill: a position opens or closes, or a pair of inventory trades is done, when the later
   of its two legs has filled;
3. unless an order is under way or was done at this very quote, the strategy decides.

A leg fills at the first quote at or after the decision plus its venue's latency, at the touch of that quote
worsened by slippage. Both legs trade the same quantity: what the position limit and both quotes' sizes allow.
An entry whose legs do not both find a quote before the data ends is not made; an exit fills at the last quote.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arbd.paper import fills, metrics
from arbd.paper.fills import Fill
from arbd.paper.params import Value
from arbd.paper.prepared import DUST_SHARE, Market, grid_points

DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9


@dataclass(frozen=True, slots=True)
class Leg:
    """An execution of one leg: at which quote, at what price after slippage, and the touch it started from."""

    row: int
    venue: int
    side: int
    touch: float
    price: float
    shown: float


@dataclass(slots=True)
class Position:
    """What convergence holds: bought on one venue, sold on the other. `direction` +1 sold A, -1 sold B."""

    direction: int
    quantity: float
    left: float
    entry_cash: float
    entry_edge_pct: float
    opened_ns: int
    result: float = 0.0


class ReferenceRun:
    """One market, one set of parameters. `walk` is the loop; the strategies fill in `decide` and `apply`."""

    def __init__(self, market: Market, params: Mapping[str, Value]) -> None:
        self.m = market
        self.p = {name: float(value) if not isinstance(value, str) else value for name, value in params.items()}
        self.capital = self.number("initial_capital")
        self.counts = np.zeros(metrics.N_COUNTS)
        self.equity_grid: list[float] = []
        self.fills: list[Fill] = []
        self.peak = self.capital
        self.realized_today = 0.0
        self.today = -1
        self.entry_times: deque[int] = deque()
        self.cooling_until_ns = -(2**62)
        self.tripped = False
        self.signalled = False

    def number(self, name: str) -> float:
        """A parameter as a number."""
        return float(self.p[name])

    # the loop

    def walk(self) -> None:
        """Go through all quotes."""
        m, n = self.m, len(self.m)
        points = grid_points(m, self.number("grid_s"))
        grid_ns = max(1, int(self.number("grid_s") * 1e9))
        done_points = 0
        self.due_row = -1
        decide_from = 0
        for row in range(n):
            while done_points < points - 1 and m.ts_ns[0] + (done_points + 1) * grid_ns < m.ts_ns[row]:
                self.observe_grid(row - 1)
                done_points += 1
            if self.due_row == row:
                self.apply(row)
                self.due_row = -1
                decide_from = row + 1
            if self.due_row < 0 and row >= decide_from:
                self.decide(row)
                if self.due_row == row:
                    self.apply(row)
                    self.due_row = -1
        while done_points < points:
            self.observe_grid(n - 1)
            done_points += 1
        if n:
            self.counts[metrics.SPAN_S] = (m.ts_ns[-1] - m.ts_ns[0]) / 1e9
            self.finish(n - 1)
        self.counts[metrics.BREAKER] = 1.0 if self.tripped else 0.0

    def decide(self, row: int) -> None:
        """Look at a quote and perhaps send an order."""
        raise NotImplementedError

    def apply(self, row: int) -> None:
        """The order's later leg fills at this quote."""
        raise NotImplementedError

    def finish(self, row: int) -> None:
        """The data has ended."""

    def mark(self, row: int) -> float:
        """What the open position adds to equity at a quote."""
        del row
        return 0.0

    # equity

    def observe(self, row: int) -> float:
        """Look at equity: peak, drawdown, circuit breaker."""
        equity = self.capital + (self.counts[metrics.REALIZED] + self.mark(row))
        self.peak = max(self.peak, equity)
        drawdown = self.peak - equity
        drawdown_pct = drawdown / self.peak * 100.0
        self.counts[metrics.MAX_DRAWDOWN] = max(self.counts[metrics.MAX_DRAWDOWN], drawdown)
        self.counts[metrics.MAX_DRAWDOWN_PCT] = max(self.counts[metrics.MAX_DRAWDOWN_PCT], drawdown_pct)
        limit = self.number("circuit_breaker_pct")
        if limit > 0 and drawdown_pct >= limit:
            self.tripped = True
        return float(equity)

    def observe_grid(self, row: int) -> None:
        """Look at equity for the grid."""
        self.equity_grid.append(self.observe(row))

    def book(self, row: int, amount: float) -> None:
        """Realise a result at a quote."""
        self.roll_day(row)
        self.counts[metrics.REALIZED] += amount
        self.realized_today += amount

    def close_trade(self, row: int, result: float) -> None:
        """Count a trade that is over."""
        self.counts[metrics.TRADES] += 1
        if result > 0:
            self.counts[metrics.WINS] += 1
            self.counts[metrics.GROSS_PROFIT] += result
        elif result < 0:
            self.counts[metrics.LOSSES] += 1
            self.counts[metrics.GROSS_LOSS] -= result
            self.cooling_until_ns = int(self.m.ts_ns[row]) + int(self.number("cooldown_s") * 1e9)

    # safety

    def roll_day(self, row: int) -> None:
        """A new UTC day has realised nothing yet."""
        day = int(self.m.ts_ns[row]) // DAY_NS
        if day != self.today:
            self.today, self.realized_today = day, 0.0

    def refused(self, row: int) -> bool:
        """True when a safety limit forbids an entry at this quote."""
        self.roll_day(row)
        now = int(self.m.ts_ns[row])
        daily = self.number("max_daily_loss")
        if self.tripped or (daily > 0 and self.realized_today <= -daily):
            return True
        hourly = int(self.number("max_trades_per_hour"))
        if hourly > 0 and len(self.entry_times) >= hourly and now - self.entry_times[-hourly] < HOUR_NS:
            return True
        return now < self.cooling_until_ns

    def entry_direction(self, row: int, threshold_ab: float, threshold_ba: float) -> int:
        """+1 to sell A and buy B, -1 the other way, 0 for no signal; counts a signal once per stretch."""
        edge_ab, edge_ba = self.m.edge_ab[row], self.m.edge_ba[row]
        wants_ab, wants_ba = edge_ab >= threshold_ab, edge_ba >= threshold_ba
        if not wants_ab and not wants_ba:
            self.signalled = False
            return 0
        if not self.signalled:
            self.counts[metrics.SIGNALS] += 1
        direction = 1 if wants_ab and (not wants_ba or edge_ab >= edge_ba) else -1
        if self.refused(row):
            if not self.signalled:
                self.counts[metrics.VIOLATIONS] += 1
            self.signalled = True
            return 0
        self.signalled = True
        return direction

    # execution

    def row_after(self, row: int, latency_ms: float) -> int:
        """The first quote at or after this one's time plus a latency; the number of quotes when there is none."""
        due = int(self.m.ts_ns[row]) + int(latency_ms * 1e6)
        while row < len(self.m) and self.m.ts_ns[row] < due:
            row += 1
        return row

    def leg(self, row: int, venue: int, side: int) -> Leg:
        """A leg executed at a quote."""
        m = self.m
        bid, ask = (m.bid_a, m.ask_a) if venue == 0 else (m.bid_b, m.ask_b)
        bid_size, ask_size = (m.bid_size_a, m.ask_size_a) if venue == 0 else (m.bid_size_b, m.ask_size_b)
        slip = self.number("slippage_bps") / 1e4
        touch = float(ask[row] if side > 0 else bid[row])
        shown = float(ask_size[row] if side > 0 else bid_size[row])
        return Leg(row, venue, side, touch, touch * (1.0 + side * slip), shown)

    def legs(self, row: int, direction: int, *, must: bool) -> tuple[Leg, Leg] | None:
        """Both legs of an order sent at `row` (sell A, buy B for +1), A's first; None if one finds no quote."""
        row_a = self.row_after(row, self.number("latency_a_ms"))
        row_b = self.row_after(row, self.number("latency_b_ms"))
        last = len(self.m) - 1
        if must:
            row_a, row_b = min(row_a, last), min(row_b, last)
        if row_a > last or row_b > last:
            return None
        return self.leg(row_a, 0, -direction), self.leg(row_b, 1, direction)

    def round_down(self, quantity: float) -> float:
        """To a multiple of the lot."""
        step = self.number("lot_step")
        return math.floor(quantity / step + 1e-9) * step if step > 0 else quantity

    def executable(self, legs: tuple[Leg, Leg], limit: float) -> float:
        """The quantity that both legs can trade, at most `limit`; 0 when it is too small."""
        part = self.number("participation")
        quantity = self.round_down(min(limit, part * legs[0].shown, part * legs[1].shown))
        smallest = quantity * min(legs[0].price, legs[1].price)
        return quantity if quantity > 0 and smallest >= self.number("min_notional") else 0.0

    def settle(self, legs: tuple[Leg, Leg], quantity: float, reason: int) -> float:
        """Trade both legs; the cash that flows, after fees."""
        cash = 0.0
        for leg in legs:
            notional = quantity * leg.price
            fee = notional * self.number("fee_a_bps" if leg.venue == 0 else "fee_b_bps") / 1e4
            slippage = quantity * abs(leg.price - leg.touch)
            cash += -leg.side * notional
            cash -= fee
            self.counts[metrics.FEES] += fee
            self.counts[metrics.SLIPPAGE] += slippage
            self.counts[metrics.NOTIONAL] += notional
            ts_ns = int(self.m.ts_ns[leg.row])
            self.fills.append(Fill(leg.row, ts_ns, leg.venue, leg.side, leg.price, quantity, fee, slippage, reason))
        return cash


class ConvergenceRun(ReferenceRun):
    """Long the cheap venue, short the dear one, closed when the spread reverts."""

    position: Position | None = None
    order: tuple[int, tuple[Leg, Leg], float, int] | None = None

    def mark(self, row: int) -> float:
        """The open quantity's part of the entry's cash, and what unwinding it at the touch would bring."""
        position, m = self.position, self.m
        if position is None:
            return 0.0
        unwound = m.bid_b[row] - m.ask_a[row] if position.direction > 0 else m.bid_a[row] - m.ask_b[row]
        return float(position.entry_cash * (position.left / position.quantity) + position.left * unwound)

    def decide(self, row: int) -> None:
        """Enter when flat, close when open."""
        if self.position is None:
            self.decide_entry(row)
        else:
            self.decide_exit(row, self.position)

    def decide_entry(self, row: int) -> None:
        """Enter in the direction whose edge is large enough."""
        threshold = self.number("min_spread_pct")
        direction = self.entry_direction(row, threshold, threshold)
        legs = self.legs(row, direction, must=False) if direction else None
        if legs is None:
            return
        bought = legs[1] if direction > 0 else legs[0]
        quantity = self.executable(legs, self.number("max_position") / bought.price)
        if quantity > 0:
            self.order = (direction, legs, quantity, fills.ENTRY)
            self.due_row = max(legs[0].row, legs[1].row)
            self.entry_times.append(int(self.m.ts_ns[row]))

    def decide_exit(self, row: int, position: Position) -> None:
        """Close for the first reason that holds."""
        reason = self.exit_reason(row, position)
        if reason < 0:
            return
        legs = self.legs(row, -position.direction, must=True)
        assert legs is not None
        part = self.number("participation")
        quantity = min(position.left, part * legs[0].shown, part * legs[1].shown)
        if quantity < position.left:
            quantity = self.executable(legs, quantity)
        if quantity > 0:
            self.order = (-position.direction, legs, quantity, reason)
            self.due_row = max(legs[0].row, legs[1].row)

    def exit_reason(self, row: int, position: Position) -> int:
        """Why to close at this quote, or -1."""
        m = self.m
        cost_pct = m.unwind_ab[row] if position.direction > 0 else m.unwind_ba[row]
        gain_pct = position.entry_edge_pct - cost_pct
        held_ns = int(m.ts_ns[row]) - position.opened_ns
        if self.tripped:
            return fills.BREAKER
        if self.number("stop_loss_pct") > 0 and gain_pct <= -self.number("stop_loss_pct"):
            return fills.STOP_LOSS
        if self.number("take_profit_pct") > 0 and gain_pct >= self.number("take_profit_pct"):
            return fills.TAKE_PROFIT
        if cost_pct <= self.number("exit_spread_pct"):
            return fills.EXIT
        if self.number("max_hold_s") > 0 and held_ns >= int(self.number("max_hold_s") * 1e9):
            return fills.MAX_HOLD
        return fills.END if row == len(m) - 1 else -1

    def apply(self, row: int) -> None:
        """Both legs have filled."""
        assert self.order is not None
        direction, legs, quantity, reason = self.order
        cash = self.settle(legs, quantity, reason)
        if self.position is None:
            bought, sold = (legs[1], legs[0]) if direction > 0 else (legs[0], legs[1])
            edge_pct = (sold.price - bought.price) / bought.price * 100.0
            self.position = Position(direction, quantity, quantity, cash, edge_pct, int(self.m.ts_ns[row]))
            return
        position = self.position
        result = position.entry_cash * (quantity / position.quantity) + cash
        position.left -= quantity
        position.result += result
        if position.left <= 0:
            held_s = (int(self.m.ts_ns[row]) - position.opened_ns) / 1e9
            self.counts[metrics.HOLD_S] += held_s
            self.counts[metrics.EXPOSURE_S] += held_s
            self.position = None
            self.signalled = False
        self.book(row, result)
        if self.position is None:
            self.close_trade(row, position.result)
        self.observe(row)

    def finish(self, row: int) -> None:
        """What is still open is valued at the last quote."""
        if self.position is not None:
            self.counts[metrics.OPEN_MARK] = self.mark(row)
            self.counts[metrics.EXPOSURE_S] += (int(self.m.ts_ns[row]) - self.position.opened_ns) / 1e9


class InventoryRun(ReferenceRun):
    """Balances on both venues: buy on the cheap one, sell on the dear one, even out by transfer or reverse trade.

    Balances of quote currency are kept in A's currency, converted when a trade flows. Equity is measured as
    hedged: what is held is not valued anew, so pnl is what trading made less what transfers cost.
    """

    def __init__(self, market: Market, params: Mapping[str, Value]) -> None:
        super().__init__(market, params)
        share = self.number("base_share")
        self.quote = [self.capital * (1.0 - share) / 2.0] * 2
        price = float((market.bid_a[0] + market.ask_a[0]) / 2.0) if len(market) else 1.0
        self.base = [self.capital * share / 2.0 / price] * 2
        self.order: tuple[tuple[Leg, Leg], float, int] | None = None
        self.transfer: tuple[int, int, float, int, float] | None = None

    def imbalanced(self) -> int:
        """+1 when A has too little base, -1 when B has, 0 when neither."""
        total = self.base[0] + self.base[1]
        limit = self.number("rebalance_trigger") * total
        if total <= 0 or self.base[0] == self.base[1]:
            return 0
        if self.base[0] < limit:
            return 1
        return -1 if self.base[1] < limit else 0

    def decide(self, row: int) -> None:
        """Receive what has arrived, even out, trade."""
        self.receive(row)
        lacking = self.imbalanced()
        if lacking and self.p["rebalance"] == "transfer" and self.transfer is None:
            self.send(row)
        threshold = self.number("min_spread_pct")
        thresholds = [threshold, threshold]
        reverse = lacking if self.p["rebalance"] == "reverse" else 0
        if reverse:
            # A lacks base: buy on A, sell on B, which is the direction -1; and the other way round.
            which = 1 if reverse > 0 else 0
            thresholds[which] = min(threshold, self.number("rebalance_spread_pct"))
        direction = self.entry_direction(row, thresholds[0], thresholds[1])
        legs = self.legs(row, direction, must=False) if direction else None
        if legs is None:
            return
        quantity = self.executable(legs, self.affordable(legs, direction))
        if quantity > 0:
            evens_out = reverse == -direction
            self.order = (legs, quantity, fills.REBALANCE if evens_out else fills.ENTRY)
            self.due_row = max(legs[0].row, legs[1].row)
            self.entry_times.append(int(self.m.ts_ns[row]))

    def affordable(self, legs: tuple[Leg, Leg], direction: int) -> float:
        """The quantity that the limit and the balances pay for."""
        buy, sell = (1, 0) if direction > 0 else (0, 1)
        fee = self.number("fee_b_bps" if buy == 1 else "fee_a_bps") / 1e4
        cost_each = legs[buy].price * (1.0 + max(fee, 0.0)) * (1.0 + 1e-12)
        dust = DUST_SHARE * self.capital
        if self.quote[buy] < dust or self.base[sell] <= 0:
            return 0.0
        # The fee of the buy comes out of the balance, the fee of the sale out of its proceeds.
        limit = min(self.number("max_position") / legs[buy].price, self.quote[buy] / cost_each, self.base[sell])
        return 0.0 if limit * legs[buy].price < dust else limit

    def apply(self, row: int) -> None:
        """Both legs have filled."""
        assert self.order is not None
        legs, quantity, reason = self.order
        for leg in legs:
            notional = quantity * leg.price
            fee = notional * self.number("fee_a_bps" if leg.venue == 0 else "fee_b_bps") / 1e4
            self.quote[leg.venue] += -leg.side * notional - fee
            self.base[leg.venue] += leg.side * quantity
        result = self.settle(legs, quantity, reason)
        self.book(row, result)
        self.close_trade(row, result)
        self.signalled = False
        self.observe(row)

    def send(self, row: int) -> None:
        """Move half the difference of base one way, and half the difference of quote where that is lacking."""
        fee = self.number("transfer_fee_pct") / 100.0
        to_base = 0 if self.base[0] < self.base[1] else 1
        to_quote = 0 if self.quote[0] < self.quote[1] else 1
        base = (self.base[1 - to_base] - self.base[to_base]) / 2.0
        quote = (self.quote[1 - to_quote] - self.quote[to_quote]) / 2.0
        self.base[1 - to_base] -= base
        self.quote[1 - to_quote] -= quote
        price = (self.m.bid_a[row] + self.m.ask_a[row]) / 2.0
        cost = float(base * fee * price + quote * fee)
        arrival_ns = int(self.m.ts_ns[row]) + int(self.number("transfer_delay_s") * 1e9)
        self.transfer = (arrival_ns, to_base, base * (1.0 - fee), to_quote, quote * (1.0 - fee))
        self.counts[metrics.FEES] += cost
        self.book(row, -cost)
        self.observe(row)

    def receive(self, row: int) -> None:
        """Credit a transfer that has arrived."""
        if self.transfer is not None and self.m.ts_ns[row] >= self.transfer[0]:
            _, to_base, base, to_quote, quote = self.transfer
            self.base[to_base] += base
            self.quote[to_quote] += quote
            self.transfer = None


def reference_run(market: Market, params: Mapping[str, Value]) -> ReferenceRun:
    """Run resolved parameters over a market and return the run with everything it counted."""
    run = (ConvergenceRun if params["strategy"] == "convergence" else InventoryRun)(market, params)
    run.walk()
    return run
