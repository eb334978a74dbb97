"""The paper engine, tick by tick, meant to be read: the oracle that the compiled engine must equal to the bit.

At every quote, in this order:

1. grid times that lie before it are observed, at the quote before;
2. orders that are due fill: a position opens or closes, or a pair of inventory trades is done, when the later
   of its two legs has filled;
3. unless an order is under way or was done at this very quote, or a venue's quote is too old or none, the strategy
   decides;
4. at the last quote before a gap, what is open is closed, whole and at once.

A leg fills at the first quote at or after the decision plus its venue's latency at which that venue may be traded on, at
the touch of that quote worsened by slippage. Both legs trade the same quantity: what the position limit and both quotes'
sizes allow. An entry whose legs do not both find a quote before the next gap, or the end of the data, is not made; an exit
fills at the last quote there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arbd.paper import metrics
from arbd.paper.fills import Fill
from arbd.paper.market.prepared import BOOK_COLUMNS, Series, grid_rows
from arbd.paper.params import Value

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


class ReferenceRun(ABC):
    """One market, one set of parameters. `walk` is the loop; the strategies fill in `decide` and `apply`."""

    code: int

    def __init__(self, market: Series, params: Mapping[str, Value]) -> None:
        self.m = market
        self.column = {name: market.book[:, at] for at, name in enumerate(BOOK_COLUMNS)}
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
        at_rows = grid_rows(m.ts_ns, self.number("grid_s")).tolist()
        self.ends = m.ends.tolist()
        self.due_row = -1
        for row in range(n):
            while len(self.equity_grid) < len(at_rows) and at_rows[len(self.equity_grid)] < row:
                self.observe_grid(at_rows[len(self.equity_grid)])
            if self.due_row == row:
                self.apply(row)
                self.due_row = -1
            elif self.due_row < 0 and self.usable(row, 0) and self.usable(row, 1):
                self.decide(row)
                if self.due_row == row:
                    self.apply(row)
                    self.due_row = -1
            if row == self.ends[0] and row < n - 1:
                self.before_gap(row)
                self.ends.pop(0)
        while len(self.equity_grid) < len(at_rows):
            self.observe_grid(at_rows[len(self.equity_grid)])
        if n:
            self.counts[metrics.SPAN_S] = (m.ts_ns[-1] - m.ts_ns[0]) / 1e9
            self.finish(n - 1)
        self.counts[metrics.BREAKER] = 1.0 if self.tripped else 0.0

    def usable(self, row: int, venue: int) -> bool:
        """False where a venue's quote is too old, or none."""
        return not (len(self.m.unusable) and self.m.unusable[row] >> venue & 1)

    @abstractmethod
    def decide(self, row: int) -> None:
        """Look at a quote and perhaps send an order."""

    @abstractmethod
    def apply(self, row: int) -> None:
        """The order's later leg fills at this quote."""

    def before_gap(self, row: int) -> None:  # noqa: B027 - most strategies have nothing to do
        """This is the last quote before a gap."""

    def finish(self, row: int) -> None:  # noqa: B027 - most strategies have nothing to do
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

    def row_after(self, row: int, latency_ms: float, venue: int) -> int:
        """The first usable quote of a venue at or after this one's time plus a latency, or the number of all quotes."""
        due = int(self.m.ts_ns[row]) + int(latency_ms * 1e6)
        while row < len(self.m) and (self.m.ts_ns[row] < due or not self.usable(row, venue)):
            row += 1
        return row

    def leg(self, row: int, venue: int, side: int) -> Leg:
        """A leg executed at a quote."""
        v = "ab"[venue]
        slip = self.number("slippage_bps") / 1e4
        touch = float(self.column[f"ask_{v}" if side > 0 else f"bid_{v}"][row])
        shown = float(self.column[f"ask_size_{v}" if side > 0 else f"bid_size_{v}"][row])
        return Leg(row, venue, side, touch, touch * (1.0 + side * slip), shown)

    def legs(self, row: int, direction: int, *, must: bool) -> tuple[Leg, Leg] | None:
        """Both legs of an order sent at `row` (sell A, buy B for +1), A's first; None if one finds no quote."""
        row_a = self.row_after(row, self.number("latency_a_ms"), 0)
        row_b = self.row_after(row, self.number("latency_b_ms"), 1)
        last = self.ends[0]
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
