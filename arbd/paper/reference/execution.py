"""The paper engine, tick by tick, meant to be read: the oracle that the compiled engine must equal to the bit.

At every quote, in this order:

1. grid times that lie before it are observed, at the quote before;
2. an order whose later leg is due here takes effect: its legs have filled, each at its own quote, or were rejected; if
   one leg filled more than the other, the remainder is hedged or unwound by an order of its own;
3. unless an order is under way or took effect at this very quote, or a venue's quote is too old, none, or not yet seen,
   the strategy decides, by the quotes that it sees;
4. with `gap: close_before`, at the last quote before a gap what is under way is void, and what is open is closed.

A leg fills at the first quote at or after the decision plus its venue's latency at which that venue may be traded on,
at the touch of that quote, or the average of the levels that it takes, worsened by slippage, for at most what is left
of its part of the sizes shown. Nothing that is decided at a quote depends on a later one. A leg whose quote would lie
after the end of the data is void.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping

import numpy as np

from arbd.paper import metrics
from arbd.paper.fills import HEDGE, UNWIND, Fill, Reject
from arbd.paper.market.prepared import grid_rows
from arbd.paper.market.series import Series
from arbd.paper.params import Value, followed
from arbd.paper.reference.venue import Execution, Venue
from arbd.values import dataclass

DAY_NS = 86_400 * 10**9
HOUR_NS = 3_600 * 10**9


@dataclass(frozen=True, slots=True)
class Order:
    """Legs under way: A's and B's quantity (0 for none) and the rows where they fill. `direction` +1 sells A, buys B."""

    direction: int
    quantities: tuple[float, float]
    rows: tuple[int, int]
    reason: int
    sent_row: int

    def side(self, venue: int) -> int:
        """+1 where it buys."""
        return -self.direction if venue == 0 else self.direction

    @property
    def due_row(self) -> int:
        """Where its later leg fills."""
        return max(row for row, quantity in zip(self.rows, self.quantities, strict=True) if quantity > 0)


class ReferenceRun(ABC):
    """One market, one set of parameters. `walk` is the loop; the strategies fill in `decide` and `apply`."""

    code: int

    def __init__(self, market: Series, params: Mapping[str, Value]) -> None:
        self.m = market
        self.p = {k: float(value) if not isinstance(value, str) else value for k, value in followed(params).items()}
        self.venues = Venue(market, self.p, 0), Venue(market, self.p, 1)
        self.capital = self.number("initial_capital")
        self.counts = metrics.no_counts(1)[0]
        self.at_rows: list[int] = []
        self.equity_grid: list[float] = []
        self.fills: list[Fill] = []
        self.rejects: list[Reject] = []
        self.order: Order | None = None
        self.done_row = -1
        self.peak = self.capital
        self.realized_today = 0.0
        self.trades_today = 0
        self.today = -1
        self.entry_times: deque[int] = deque()
        self.cooling_until_ns = -(2**62)
        self.tripped = False
        self.given_up = False
        self.signalled = False
        # No more orders: the data has ended, or it is closed before a gap.
        self.over = False
        # What is unhedged: since when, at which venue it is dealt with, and the touch there when that was decided.
        self.unhedged_since_ns = -1
        self.hedge_venue = -1
        self.hedge_touch = 0.0

    def number(self, name: str) -> float:
        """A parameter as a number."""
        return float(self.p[name])

    # the loop

    def walk(self) -> None:
        """Go through all quotes."""
        m, n = self.m, len(self.m)
        self.at_rows = grid_rows(m.ts_ns, self.number("grid_s")).tolist()
        ends = set(m.ends.tolist()) - {n - 1}
        for row in range(n):
            self.observe_grid(row)
            if self.given_up:
                break
            self.step(row)
            if row in ends and not self.given_up:
                self.before_gap(row)
        if n and not self.given_up:
            self.finish(n - 1)
            self.counts[metrics.SPAN_S] = (m.ts_ns[-1] - m.ts_ns[0]) / 1e9
        self.observe_grid(n)
        self.counts[metrics.BREAKER] = 1.0 if self.tripped else 0.0
        self.counts[metrics.GIVEN_UP] = 1.0 if self.given_up else 0.0

    def step(self, row: int) -> None:
        """An order that is due takes effect, or else the strategy decides."""
        if self.order is not None:
            if self.is_due(row):
                self.take_effect(row)
        elif not np.isnan(self.m.edge_ab[row]):
            self.decide(row)
            if self.is_due(row):
                self.take_effect(row)

    def is_due(self, row: int) -> bool:
        """Whether the later leg of an order fills at this quote."""
        return self.order is not None and self.order.due_row == row

    def take_effect(self, row: int) -> None:
        """The order under way is done at this quote."""
        order, self.order = self.order, None
        assert order is not None
        self.done_row = row
        self.apply(row, order, self.execute(order, row))

    @abstractmethod
    def decide(self, row: int) -> None:
        """Look at a quote and perhaps send an order."""

    @abstractmethod
    def apply(self, row: int, order: Order, done: list[Execution | None]) -> None:
        """An order's legs have filled, or not: A's, then B's, None for one that it has not or that is void."""

    @abstractmethod
    def before_gap(self, row: int) -> None:
        """This is the last quote before a gap, and positions are closed before gaps."""

    @abstractmethod
    def finish(self, row: int) -> None:
        """The data has ended."""

    def mark(self, row: int) -> float:
        """What the open position adds to equity at a quote."""
        del row
        return 0.0

    # equity

    def observe(self, row: int) -> float:
        """Look at equity: peak, drawdown, circuit breaker, giving up."""
        equity = self.capital + (self.counts[metrics.REALIZED] + self.mark(row))
        self.peak = max(self.peak, equity)
        drawdown = self.peak - equity
        drawdown_pct = drawdown / self.peak * 100.0
        self.counts[metrics.MAX_DRAWDOWN] = max(self.counts[metrics.MAX_DRAWDOWN], drawdown)
        self.counts[metrics.MAX_DRAWDOWN_PCT] = max(self.counts[metrics.MAX_DRAWDOWN_PCT], drawdown_pct)
        if self.number("circuit_breaker_pct") > 0 and drawdown_pct >= self.number("circuit_breaker_pct"):
            self.tripped = True
        if self.number("give_up_drawdown_pct") > 0 and drawdown_pct >= self.number("give_up_drawdown_pct"):
            self.given_up = True
        self.watch_margin(row, float(equity))
        return float(equity)

    def watch_margin(self, row: int, equity: float) -> None:
        """Look at equity over the notional that is open."""
        notional = self.open_notional(row)
        if notional > 0:
            self.counts[metrics.MARGIN_LOW] = min(self.counts[metrics.MARGIN_LOW], equity / notional)

    def open_notional(self, row: int) -> float:
        """What is open on both venues, at the touch where it would be closed; 0 for a strategy that holds no position."""
        del row
        return 0.0

    def observe_grid(self, row: int) -> None:
        """Look at equity at all grid points whose quotes are before `row`."""
        while not self.given_up and len(self.equity_grid) < len(self.at_rows):
            at = self.at_rows[len(self.equity_grid)]
            if at >= row:
                return
            self.equity_grid.append(self.observe(at))

    def book(self, row: int, amount: float) -> None:
        """Realise a result at a quote."""
        self.roll_day(row)
        self.counts[metrics.REALIZED] += amount
        self.realized_today += amount

    def close_trade(self, row: int, result: float) -> None:
        """Count a trade that is over; the day has rolled."""
        self.counts[metrics.TRADES] += 1
        self.trades_today += 1
        if result > 0:
            self.counts[metrics.WINS] += 1
            self.counts[metrics.GROSS_PROFIT] += result
        elif result < 0:
            self.counts[metrics.LOSSES] += 1
            self.counts[metrics.GROSS_LOSS] -= result
            self.cooling_until_ns = int(self.m.ts_ns[row]) + int(self.number("cooldown_s") * 1e9)
        if 0 < self.number("give_up_trades_per_day") < self.trades_today:
            self.given_up = True

    # safety

    def roll_day(self, row: int) -> None:
        """A new UTC day has realised nothing yet."""
        day = int(self.m.ts_ns[row]) // DAY_NS
        if day != self.today:
            self.today, self.realized_today, self.trades_today = day, 0.0, 0

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
        wants_ab = edge_ab >= threshold_ab and self.unusual(row, edge_ab, self.m.sigma_ab)
        wants_ba = edge_ba >= threshold_ba and self.unusual(row, edge_ba, self.m.sigma_ba)
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

    def unusual(self, row: int, edge: float, sigma: metrics.FloatArray) -> bool:
        """Whether a centred edge is far enough out, in its own moving deviations."""
        if not len(sigma) or self.number("entry_sigma") <= 0:
            return True
        return bool(sigma[row] > 0 and edge >= self.number("entry_sigma") * sigma[row])

    # orders

    def send(self, row: int, direction: int, quantities: tuple[float, float], reason: int) -> None:
        """Send an order of one or two legs."""
        now = int(self.m.ts_ns[row])
        rows = [venue.row_after(row, now + venue.delay_ns(row)) for venue in self.venues]
        self.order = Order(direction, quantities, (rows[0], rows[1]), reason, row)
        self.counts[metrics.ORDERS] += sum(quantity > 0 for quantity in quantities)

    def send_hedge(self, row: int, venue: int, side: int, quantity: float, reason: int) -> None:
        """Send an order for what is unhedged; it meets a later quote than the one at which that was found."""
        there = self.venues[venue]
        wait_ns = int(self.number("hedge_latency_ms") * 1e6)
        at = there.row_after(row + 1, int(self.m.ts_ns[row]) + wait_ns + there.delay_ns(row))
        if self.unhedged_since_ns < 0:
            self.unhedged_since_ns = int(self.m.ts_ns[row])
            largest = quantity * there.touch(row, side)
            self.counts[metrics.LARGEST_UNHEDGED] = max(self.counts[metrics.LARGEST_UNHEDGED], largest)
        if self.hedge_venue != venue:
            self.hedge_venue, self.hedge_touch = venue, there.touch(row, side)
        direction = -side if venue == 0 else side
        self.order = Order(direction, (quantity, 0.0) if venue == 0 else (0.0, quantity), (at, at), reason, row)
        self.counts[metrics.ORDERS] += 1

    def hedged(self, row: int) -> None:
        """Nothing is unhedged any more, or nothing that can be dealt with."""
        if self.unhedged_since_ns >= 0:
            self.counts[metrics.UNHEDGED_S] += (int(self.m.ts_ns[row]) - self.unhedged_since_ns) / 1e9
        self.unhedged_since_ns, self.hedge_venue = -1, -1

    @abstractmethod
    def most(self, order: Order, venue: int, row: int) -> tuple[float, bool]:
        """How much of a leg can be paid for, and whether it closes all that is held there."""

    def execute(self, order: Order, last: int) -> list[Execution | None]:
        """The legs of an order that fill at or before a row."""
        done: list[Execution | None] = []
        for venue, quantity, row in zip(self.venues, order.quantities, order.rows, strict=True):
            if quantity <= 0 or row > last:
                done.append(None)
                continue
            most, whole = self.most(order, venue.number, row)
            side = order.side(venue.number)
            done.append(venue.execute(row, side, quantity, most, whole=whole))
        return done

    def settle(self, order: Order, venue: int, done: Execution | None) -> float:
        """Account for a leg; the cash that flows, after fees."""
        if done is None:
            return 0.0
        ts_ns, ordered = int(self.m.ts_ns[done.row]), order.quantities[venue]
        if done.filled <= 0:
            self.counts[metrics.REJECTED] += 1
            self.rejects.append(
                Reject(done.row, ts_ns, venue, done.side, done.price, order.reason, order.sent_row, ordered, done.cause)
            )
            return 0.0
        notional = done.filled * done.price
        fee = notional * self.venues[venue].fee(done.row)
        self.venues[venue].trade(done.row, notional)
        slippage = done.filled * abs(done.price - done.touch)
        self.counts[metrics.FEES] += fee
        self.counts[metrics.SLIPPAGE] += slippage
        self.counts[metrics.NOTIONAL] += notional
        if order.reason in (HEDGE, UNWIND):
            self.counts[metrics.UNHEDGED_PNL] += done.filled * done.side * (self.hedge_touch - done.price)
        self.fills.append(
            Fill(done.row, ts_ns, venue, done.side, done.price, done.filled, fee, slippage, order.reason,
                 order.sent_row, ordered)
        )  # fmt: skip
        return -done.side * notional - fee
