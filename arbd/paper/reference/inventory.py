"""The inventory strategy of the reference engine."""

from __future__ import annotations

from collections.abc import Mapping

from arbd.paper import fills, metrics
from arbd.paper.market.prepared import DUST, DUST_SHARE
from arbd.paper.market.series import Series
from arbd.paper.params import Value
from arbd.paper.reference.execution import Order, ReferenceRun
from arbd.paper.reference.venue import Execution
from arbd.paper.strategies import inventory


class InventoryRun(ReferenceRun):
    """Balances on both venues: buy on the cheap one, sell on the rich one, even out by transfer or reverse trade.

    Balances of quote currency are kept in A's currency, converted when a trade flows. Equity is measured as
    hedged: what is held is not valued anew, so pnl is what trading made less what transfers cost. What legs did not
    match of each other (`net`, and the cash it came with) is valued at A's touch until it is.

    With `mark: market` B's balance of quote currency is kept in B's own, and equity is what all balances, and what is in
    transit, are worth: base at A's mid, B's currency at `fx`.
    """

    code = inventory.STRATEGY.code

    def __init__(self, market: Series, params: Mapping[str, Value]) -> None:
        super().__init__(market, params)
        share = self.number("base_share")
        self.in_market = self.p["mark"] == "market"
        half = self.capital * (1.0 - share) / 2.0
        self.quote = [half, half / self.rate(1, 0)] if len(market) else [half, half]
        price = self.mid(0) if len(market) else 1.0
        self.base = [self.capital * share / 2.0 / price] * 2
        self.transfer: tuple[int, int, float, int, float] | None = None
        self.net = self.net_cash = 0.0
        # The pair of orders that is not over before its remainder is dealt with: A's direction, result, what it filled.
        self.pair_direction = 0
        self.pair_result = self.pair_filled = 0.0

    def mark(self, row: int) -> float:
        """What the remainder of unequal legs would bring; or, in the market, what all is worth beyond what is realised."""
        if self.in_market:
            return self.worth(row) - self.capital - float(self.counts[metrics.REALIZED])
        if self.net == 0:
            return 0.0
        return self.net_cash + self.net * self.venues[0].touch(row, -1 if self.net > 0 else 1)

    def mid(self, row: int) -> float:
        """What a unit of base is worth."""
        return float((self.m.book[row, 0] + self.m.book[row, 1]) / 2.0)

    def rate(self, venue: int, row: int) -> float:
        """What a unit is worth of the currency in which a balance of quote currency is kept."""
        return float(self.m.fx[row]) if self.in_market and venue == 1 else 1.0

    def worth(self, row: int) -> float:
        """All balances, and what is in transit."""
        base, quote = self.base[0] + self.base[1], self.quote[0] + self.quote[1] * self.rate(1, row)
        if self.transfer is not None:
            _, _, moved_base, to_quote, moved_quote = self.transfer
            base, quote = base + moved_base, quote + moved_quote * self.rate(to_quote, row)
        return quote + base * self.mid(row)

    def imbalanced(self) -> int:
        """+1 when A has too little base, -1 when B has, 0 when neither."""
        total = self.base[0] + self.base[1]
        limit = self.number("rebalance_trigger") * total
        if total <= 0 or self.base[0] == self.base[1]:
            return 0
        if self.base[0] < limit:
            return 1
        return -1 if self.base[1] < limit else 0

    # decisions

    def decide(self, row: int) -> None:
        """Receive what has arrived, even out, trade."""
        self.receive(row)
        lacking = self.imbalanced()
        if lacking and self.p["rebalance"] == "transfer" and self.transfer is None:
            self.transfer_half(row)
        thresholds = [self.number("min_spread_ab_pct"), self.number("min_spread_ba_pct")]
        reverse = lacking if self.p["rebalance"] == "reverse" else 0
        if reverse:
            # A lacks base: buy on A, sell on B, which is the direction -1; and the other way round.
            which = 1 if reverse > 0 else 0
            thresholds[which] = min(thresholds[which], self.number("rebalance_spread_pct"))
        direction = self.entry_direction(row, thresholds[0], thresholds[1])
        if direction == 0:
            return
        quantity = self.affordable(row, direction)
        buy, sell = (self.venues[1], self.venues[0]) if direction > 0 else (self.venues[0], self.venues[1])
        row_buy, row_sell = buy.seen(row), sell.seen(row)
        quantity = min(quantity, buy.available(row_buy, 1), sell.available(row_sell, -1))
        quantity = (buy if buy.lot > sell.lot else sell).round_down(quantity)
        bought, sold = buy.round_down(quantity), sell.round_down(quantity)
        if buy.sendable(row_buy, 1, bought) and sell.sendable(row_sell, -1, sold):
            reason = fills.REBALANCE if reverse == -direction else fills.ENTRY
            self.send(row, direction, (sold, bought) if direction > 0 else (bought, sold), reason)
            self.entry_times.append(int(self.m.ts_ns[row]))
            self.pair_direction, self.pair_result, self.pair_filled = direction, 0.0, 0.0

    def affordable(self, row: int, direction: int) -> float:
        """The quantity that the limit and the balances pay for, at the prices of this row."""
        buy, sell = (1, 0) if direction > 0 else (0, 1)
        price = self.venues[buy].price(self.venues[buy].seen(row), 1)
        dust = DUST_SHARE * self.capital
        if self.quote[buy] * self.rate(buy, row) < dust or self.base[sell] <= 0:
            return 0.0
        limit = min(self.number("max_position") / price, self.payable(buy, row, price), self.base[sell])
        return 0.0 if limit * price < dust else limit

    def payable(self, venue: int, row: int, price: float) -> float:
        """What a balance of quote currency buys; the fee of a buy comes out of it, that of a sale out of its proceeds."""
        fee = self.venues[venue].fee(row)
        return self.quote[venue] * self.rate(venue, row) / (price * (1.0 + max(fee, 0.0)) * (1.0 + 1e-12))

    def most(self, order: Order, venue: int, row: int) -> tuple[float, bool]:
        """What the balance pays for at the price of the fill; nothing, if it is what rounding leaves."""
        side = order.side(venue)
        price = self.venues[venue].price(row, side)
        most = self.payable(venue, row, price) if side > 0 else self.base[venue]
        dust = min(most, order.quantities[venue]) * price < DUST_SHARE * self.capital
        return 0.0 if dust else most, False

    # effects

    def apply(self, row: int, order: Order, done: list[Execution | None]) -> None:
        """Both legs have filled, as far as they did."""
        result = 0.0
        for venue, each in enumerate(done):
            cash = self.settle(order, venue, each)
            if each is None or each.filled <= 0:
                continue
            self.quote[venue] += cash / self.rate(venue, each.row)
            if each.side > 0:
                self.base[venue] += each.filled
            else:
                left = self.base[venue] - each.filled
                self.base[venue] = 0.0 if left < DUST * each.filled else left
            result += self.flow(each.side * each.filled, cash)
            self.pair_filled = max(self.pair_filled, each.filled)
        if abs(self.net) < DUST * self.pair_filled:
            result += self.net_cash
            self.net = self.net_cash = 0.0
        self.book(row, result)
        self.pair_result += result
        if not self.over and self.net != 0 and self.pair_filled > 0 and self.balance(row):
            return
        self.hedged(row)
        if self.pair_filled > 0:
            self.close_trade(row, self.pair_result)
            self.signalled = False
            self.observe(row)

    def flow(self, quantity: float, cash: float) -> float:
        """Base that came (or went, below zero) for cash; what that realises against what came before."""
        if self.net * quantity >= 0:
            self.net += quantity
            self.net_cash += cash
            return 0.0
        matched = min(abs(quantity), abs(self.net))
        before, now = self.net_cash * (matched / abs(self.net)), cash * (matched / abs(quantity))
        if matched < abs(quantity):
            self.net, self.net_cash = self.net + quantity, cash - now
        else:
            self.net, self.net_cash = self.net + quantity, self.net_cash - before
        return before + now

    def balance(self, row: int) -> bool:
        """Send an order for what legs did not match; False when there is none that could be sent."""
        side = -1 if self.net > 0 else 1
        # The venue whose leg fell short trades on that leg's side: the seller of the pair sells, the buyer buys.
        short = 0 if (side < 0) == (self.pair_direction > 0) else 1
        ways = [(short, fills.HEDGE), (1 - short, fills.UNWIND)]
        for at, reason in ways if self.p["unhedged"] == "hedge" else ways[::-1]:
            venue = self.venues[at]
            seen = venue.seen(row)
            price = venue.price(seen, side)
            pays = self.payable(at, row, price) if side > 0 else self.base[at]
            quantity = venue.round_down(min(abs(self.net), pays))
            if quantity * price >= DUST_SHARE * self.capital and venue.sendable(seen, side, quantity):
                self.send_hedge(row, at, side, quantity, reason)
                return True
        return False

    def transfer_half(self, row: int) -> None:
        """Move half the difference of base one way, and half the difference of quote where that is lacking."""
        fee = self.number("transfer_fee_pct") / 100.0
        to_base = 0 if self.base[0] < self.base[1] else 1
        quotes = self.quote[0], self.quote[1] * self.rate(1, row)
        to_quote = 0 if quotes[0] < quotes[1] else 1
        base = (self.base[1 - to_base] - self.base[to_base]) / 2.0
        quote = (quotes[1 - to_quote] - quotes[to_quote]) / 2.0
        self.base[1 - to_base] -= base
        self.quote[1 - to_quote] -= quote / self.rate(1 - to_quote, row)
        cost = base * fee * self.mid(row) + quote * fee
        arrival_ns = int(self.m.ts_ns[row]) + int(self.number("transfer_delay_s") * 1e9)
        self.transfer = (
            arrival_ns,
            to_base,
            base * (1.0 - fee),
            to_quote,
            quote * (1.0 - fee) / self.rate(to_quote, row),
        )
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

    def before_gap(self, row: int) -> None:
        """Balances are holdings, not a position: they are carried over."""

    def finish(self, row: int) -> None:
        """Legs that fill before the end do; what they did not match is valued at the last quote."""
        self.over = True
        order, self.order = self.order, None
        if order is not None:
            done = self.execute(order, row)
            if done != [None, None]:
                self.apply(row, order, done)
        self.counts[metrics.OPEN_MARK] = self.mark(row)
        self.hedged(row)
