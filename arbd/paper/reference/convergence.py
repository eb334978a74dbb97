"""The convergence strategy of the reference engine."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from arbd.paper import fills, metrics
from arbd.paper.market.prepared import DUST
from arbd.paper.reference.execution import Order, ReferenceRun
from arbd.paper.reference.venue import Execution
from arbd.paper.strategies import convergence
from arbd.values import dataclass

FUNDING_NS = 8 * 3_600 * 1e9
YEAR_NS = 365 * 86_400 * 1e9


@dataclass(slots=True)
class Position:
    """What convergence holds: short on one venue, long on the other. `direction` +1 is short A, -1 short B.

    Per venue: the quantity held, what its opening fills brought in cash that is not realised yet, their average price
    and how much they were.
    """

    direction: int
    opened_ns: int
    opened_row: int
    carry_row: int
    held: list[float] = field(default_factory=lambda: [0.0, 0.0])
    basis: list[float] = field(default_factory=lambda: [0.0, 0.0])
    price: list[float] = field(default_factory=lambda: [0.0, 0.0])
    opened: list[float] = field(default_factory=lambda: [0.0, 0.0])
    edge_pct: float = 0.0
    result: float = 0.0

    def sign(self, venue: int) -> int:
        """+1 where it is long, -1 where it is short."""
        return -self.direction if venue == 0 else self.direction

    def open(self, venue: int, done: Execution, cash: float) -> None:
        """More of it."""
        self.held[venue] += done.filled
        self.basis[venue] += cash
        opened = self.opened[venue] + done.filled
        if self.opened[venue] > 0:
            self.price[venue] = (self.price[venue] * self.opened[venue] + done.filled * done.price) / opened
        else:
            self.price[venue] = done.price
        self.opened[venue] = opened

    def close(self, venue: int, done: Execution, cash: float, left: float) -> float:
        """Less of it; what that realises."""
        part = self.basis[venue]
        if left > 0:
            part *= done.filled / self.held[venue]
        self.basis[venue] -= part
        self.held[venue] = left
        return part + cash


class ConvergenceRun(ReferenceRun):
    """Long the cheap venue, short the rich one, closed when the spread reverts."""

    code = convergence.STRATEGY.code
    position: Position | None = None

    def mark(self, row: int) -> float:
        """What closing at the touch would add to what is realised, less the carry since the last fill."""
        position = self.position
        if position is None:
            return 0.0
        worth = 0.0
        for venue in self.venues:
            sign = position.sign(venue.number)
            worth += position.basis[venue.number]
            worth += sign * position.held[venue.number] * venue.touch(row, -sign)
        funding, borrow = self.carry(position, row)
        return worth - (funding + borrow)

    def open_notional(self, row: int) -> float:
        """Both legs at the touch where they would be closed."""
        position, notional = self.position, 0.0
        if position is not None:
            for venue in self.venues:
                notional += position.held[venue.number] * venue.touch(row, -position.sign(venue.number))
        return notional

    def carry(self, position: Position, row: int) -> tuple[float, float]:
        """Funding and borrowing since the last fill.

        Rates per time are on the average price of the opening fills; funding that the market tells is on the mid of its
        row, and is paid by what was held before that row.
        """
        first, last = np.searchsorted(self.m.funding_rows, [position.carry_row, row], side="right").tolist()
        elapsed_ns = float(int(self.m.ts_ns[row]) - int(self.m.ts_ns[position.carry_row]))
        funding = borrow = 0.0
        for venue, name in enumerate("ab"):
            if position.held[venue] <= 0:
                continue
            sign, notional = (
                position.sign(venue),
                position.held[venue] * position.price[venue],
            )
            rate = self.number(f"funding_{name}_bps_8h") / 1e4
            funding += sign * notional * rate * (elapsed_ns / FUNDING_NS)
            told = float(self.m.funding_sums[last, venue] - self.m.funding_sums[first, venue])
            funding += sign * position.held[venue] * told
            if sign < 0:
                borrow += notional * (self.number(f"borrow_{name}_pct_year") / 100.0) * (elapsed_ns / YEAR_NS)
        return funding, borrow

    # decisions

    def decide(self, row: int) -> None:
        """Enter when flat, close when open."""
        if self.position is None:
            self.decide_entry(row)
        else:
            self.decide_exit(row, self.position)

    def decide_entry(self, row: int) -> None:
        """Enter in the direction whose edge is large enough."""
        direction = self.entry_direction(row, self.number("min_spread_ab_pct"), self.number("min_spread_ba_pct"))
        if direction == 0:
            return
        buyer = self.venues[1] if direction > 0 else self.venues[0]
        quantity = self.number("max_position") / buyer.price(buyer.seen(row), 1)
        quantities = self.pair(row, direction, quantity)
        if quantities is not None:
            self.send(row, direction, quantities, fills.ENTRY)
            self.entry_times.append(int(self.m.ts_ns[row]))

    def pair(self, row: int, direction: int, quantity: float) -> tuple[float, float] | None:
        """Both legs of an entry, as far as the sizes shown now allow; None when one would be too small to be sent."""
        a, b = self.venues
        row_a, row_b = a.seen(row), b.seen(row)
        quantity = min(quantity, a.available(row_a, -direction), b.available(row_b, direction))
        quantity = (a if a.lot > b.lot else b).round_down(quantity)
        quantities = a.round_down(quantity), b.round_down(quantity)
        can = a.sendable(row_a, -direction, quantities[0]) and b.sendable(row_b, direction, quantities[1])
        return quantities if can else None

    def decide_exit(self, row: int, position: Position) -> None:
        """Close for the first reason that holds."""
        reason = self.exit_reason(row, position)
        seen = self.venues[0].seen(row), self.venues[1].seen(row)
        quantities = self.closing(seen, position) if reason >= 0 else None
        if quantities is not None:
            self.send(row, -position.direction, quantities, reason)

    def exit_reason(self, row: int, position: Position) -> int:
        """Why to close at this quote, or -1."""
        m = self.m
        cost_pct = -(m.edge_ba[row] if position.direction > 0 else m.edge_ab[row])
        gain_pct = position.edge_pct - -(m.cost_ba[row] if position.direction > 0 else m.cost_ab[row])
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
        return -1

    def closing(self, rows: tuple[int, int], position: Position) -> tuple[float, float] | None:
        """Both legs of an exit: all that is held, or what the sizes shown at A's and B's row allow on both; None for too little."""
        held = position.held
        quantity = max(held)
        for venue in self.venues:
            if held[venue.number] > 0:
                quantity = min(quantity, venue.available(rows[venue.number], -position.sign(venue.number)))
        if quantity < max(held):
            quantity = (self.venues[0] if self.venues[0].lot > self.venues[1].lot else self.venues[1]).round_down(
                quantity
            )
        quantities = [0.0, 0.0]
        for venue in self.venues:
            at = venue.number
            if held[at] <= quantity:
                quantities[at] = held[at]
                continue
            quantities[at] = venue.round_down(quantity)
            if not venue.sendable(rows[at], -position.sign(at), quantities[at]):
                return None
        return quantities[0], quantities[1]

    def most(self, order: Order, venue: int, row: int) -> tuple[float, bool]:
        """No balance bounds it; what closes all that is held may be of any size."""
        del row
        closes = order.reason not in (fills.ENTRY, fills.HEDGE)
        whole = closes and self.position is not None and order.quantities[venue] == self.position.held[venue]
        return float("inf"), whole

    # effects

    def apply(self, row: int, order: Order, done: list[Execution | None]) -> None:
        """Both legs have filled, as far as they did."""
        opens = order.reason in (fills.ENTRY, fills.HEDGE)
        if self.position is None and not any(each is not None and each.filled > 0 for each in done):
            for venue, each in enumerate(done):
                self.settle(order, venue, each)
            return
        if self.position is None:
            self.position = Position(order.direction, int(self.m.ts_ns[row]), row, row)
        position, result = self.position, self.pay_carry(row, self.position)
        closed = False
        for venue, each in enumerate(done):
            cash = self.settle(order, venue, each)
            if each is None or each.filled <= 0:
                continue
            if opens:
                position.open(venue, each, cash)
            else:
                left = self.venues[venue].subtract(position.held[venue], each.filled)
                result += position.close(venue, each, cash, left)
                closed = True
        self.book(row, result)
        position.result += result
        if position.held == [0.0, 0.0]:
            self.end_trade(row, position)
        else:
            self.balance(row, position, opens=opens)
        if closed:
            self.observe(row)
        else:
            self.watch_margin(row, self.capital + (self.counts[metrics.REALIZED] + self.mark(row)))

    def pay_carry(self, row: int, position: Position) -> float:
        """Realise what holding has cost since the last fill."""
        funding, borrow = self.carry(position, row)
        position.carry_row = row
        self.counts[metrics.FUNDING] += funding
        self.counts[metrics.BORROW] += borrow
        return -(funding + borrow)

    def end_trade(self, row: int, position: Position) -> None:
        """All is closed."""
        held_s = (int(self.m.ts_ns[row]) - position.opened_ns) / 1e9
        self.counts[metrics.HOLD_S] += held_s
        self.counts[metrics.EXPOSURE_S] += held_s
        self.position = None
        self.signalled = False
        self.hedged(row)
        self.close_trade(row, position.result)

    def balance(self, row: int, position: Position, *, opens: bool) -> None:
        """Deal with what one leg is larger than the other; take note of the edge when there is nothing to be done."""
        larger = 0 if position.held[0] > position.held[1] else 1
        excess = position.held[larger] - position.held[1 - larger]
        if excess >= DUST * position.held[larger] and not self.over:
            if opens and self.p["unhedged"] == "hedge":
                venue, side = self.venues[1 - larger], position.sign(1 - larger)
                quantity = venue.round_down(excess)
                if venue.sendable(venue.seen(row), side, quantity):
                    self.send_hedge(row, 1 - larger, side, quantity, fills.HEDGE)
                    return
            venue, side = self.venues[larger], -position.sign(larger)
            whole = position.held[1 - larger] <= 0
            quantity = excess if whole else venue.round_down(excess)
            if whole or venue.sendable(venue.seen(row), side, quantity):
                self.send_hedge(row, larger, side, quantity, fills.UNWIND)
                return
        self.hedged(row)
        if position.opened[0] > 0 and position.opened[1] > 0:
            sells, buys = (0, 1) if position.direction > 0 else (1, 0)
            sold, bought = position.price[sells], position.price[buys]
            position.edge_pct = (sold - bought) / bought * 100.0

    def void(self, row: int) -> None:
        """What is under way is void, but for legs that filled up to this row."""
        order, self.order = self.order, None
        if order is not None:
            done = self.execute(order, row)
            if done != [None, None]:
                self.done_row = max(each.row for each in done if each is not None)
                self.apply(row, order, done)

    def before_gap(self, row: int) -> None:
        """What is open is closed, whatever the sizes shown allow."""
        self.over = True
        self.void(row)
        if self.position is not None:
            held = self.position.held
            self.close_at(row, self.position, (held[0], held[1]), fills.GAP)
        self.over = False

    def finish(self, row: int) -> None:
        """What is open is closed at the last quote as far as sizes allow, and the rest is valued there.

        That is no decision of the strategy, which cannot know that this quote is the last.
        """
        self.over = True
        self.void(row)
        opened_here = self.position is not None and self.position.opened_row == self.done_row == row
        if self.position is not None and not opened_here and all(venue.usable(row) for venue in self.venues):
            quantities = self.closing((row, row), self.position)
            if quantities is not None:
                self.close_at(row, self.position, quantities, fills.END)
        if self.position is not None:
            self.counts[metrics.OPEN_MARK] = self.mark(row)
            funding, borrow = self.carry(self.position, row)
            self.counts[metrics.FUNDING] += funding
            self.counts[metrics.BORROW] += borrow
            self.counts[metrics.EXPOSURE_S] += (int(self.m.ts_ns[row]) - self.position.opened_ns) / 1e9
            self.hedged(row)

    def close_at(self, row: int, position: Position, quantities: tuple[float, float], reason: int) -> None:
        """Close by settlement at a quote: no order is sent, and none is refused."""
        order = Order(-position.direction, quantities, (row, row), reason, row)
        done: list[Execution | None] = []
        for venue, quantity in zip(self.venues, quantities, strict=True):
            side = order.side(venue.number)
            if quantity <= 0:
                done.append(None)
                continue
            # Before a gap all is closed at the touch, whatever the book shows.
            price = venue.price(row, side) if reason == fills.GAP else venue.price_of(row, side, quantity)
            done.append(Execution(row, side, venue.touch(row, side), price, quantity, fills.FILLED))
        self.apply(row, order, done)
