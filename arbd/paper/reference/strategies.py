"""The strategies of the reference engine, and how a run of it is made. See `reference.py` for the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arbd.paper import fills, metrics
from arbd.paper.market.prepared import DUST_SHARE, Series
from arbd.paper.params import Value
from arbd.paper.reference.execution import Leg, ReferenceRun
from arbd.paper.strategies import STRATEGIES, convergence, inventory


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


class ConvergenceRun(ReferenceRun):
    """Long the cheap venue, short the dear one, closed when the spread reverts."""

    code = convergence.STRATEGY.code
    position: Position | None = None
    order: tuple[int, tuple[Leg, Leg], float, int] | None = None

    def mark(self, row: int) -> float:
        """The open quantity's part of the entry's cash, and what unwinding it at the touch would bring."""
        position, quote = self.position, self.column
        if position is None:
            return 0.0
        sell, buy = ("bid_b", "ask_a") if position.direction > 0 else ("bid_a", "ask_b")
        unwound = quote[sell][row] - quote[buy][row]
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
        cost_pct = -(m.edge_ba[row] if position.direction > 0 else m.edge_ab[row])
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

    def before_gap(self, row: int) -> None:
        """Whatever the sizes shown allow: what comes after the gap is not known."""
        if self.position is not None:
            direction = -self.position.direction
            legs = self.leg(row, 0, -direction), self.leg(row, 1, direction)
            self.order = (direction, legs, self.position.left, fills.GAP)
            self.apply(row)

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

    code = inventory.STRATEGY.code

    def __init__(self, market: Series, params: Mapping[str, Value]) -> None:
        super().__init__(market, params)
        share = self.number("base_share")
        self.quote = [self.capital * (1.0 - share) / 2.0] * 2
        price = float((self.column["bid_a"][0] + self.column["ask_a"][0]) / 2.0) if len(market) else 1.0
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
        price = (self.column["bid_a"][row] + self.column["ask_a"][row]) / 2.0
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


def reference_run(market: Series, params: Mapping[str, Value]) -> ReferenceRun:
    """Run resolved parameters over a market and return the run with everything it counted."""
    code = STRATEGIES.get(str(params["strategy"])).code
    run = next(kind for kind in (ConvergenceRun, InventoryRun) if kind.code == code)(market, params)
    run.walk()
    return run
