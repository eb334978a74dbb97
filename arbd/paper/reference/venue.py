"""A venue as an order meets it: what it shows, what is left of that, at what price, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from arbd.paper import fills
from arbd.paper.draws import REFUSAL, latency_factor, uniform
from arbd.paper.market.prepared import BOOK_COLUMNS, DUST, side_bit
from arbd.paper.market.series import Series
from arbd.paper.params import FEE_TIERS, Value
from arbd.values import dataclass

DAY_NS = 86_400 * 10**9
TURNOVER_DAYS = 30


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of an order at its row; `filled` is 0 when it was rejected, for `cause`. Prices are in A's currency."""

    row: int
    side: int
    touch: float
    price: float
    filled: float
    cause: int


class Venue:
    """One of the two venues, with the parameters that are its own."""

    def __init__(self, market: Series, params: Mapping[str, Value], number: int) -> None:
        def own(name: str) -> float:
            return float(params[name.format("ab"[number])])

        self.m, self.number = market, number
        self.slippage = own("slippage_bps") / 1e4
        self.participation = own("participation")
        self.base_fee = own("fee_{}_bps") / 1e4
        self.tiers = [
            (own(f"fee_{{}}_tier_{tier}_turnover"), own(f"fee_{{}}_tier_{tier}_bps") / 1e4)
            for tier in range(1, FEE_TIERS + 1)
            if own(f"fee_{{}}_tier_{tier}_turnover") > 0
        ]
        # What was traded here, by UTC day.
        self.traded: dict[int, float] = {}
        self.lot = own("lot_step_{}")
        self.minimum = own("min_notional_{}")
        self.tick = own("tick_{}")
        self.latency_ns = own("latency_{}_ms") * 1e6
        self.jitter = own("latency_jitter")
        self.reject_pct = own("reject_pct_{}")
        self.seed = int(own("execution_seed"))
        self.n_levels = min(market.levels.shape[1], int(own("book_levels")) - 1)
        self.taken = {-1: 0.0, 1: 0.0}
        self.taken_row = {-1: -1, 1: -1}

    # prices

    def touch(self, row: int, side: int) -> float:
        """The best price shown to a buyer (+1) or a seller (-1)."""
        return float(self.m.book[row, BOOK_COLUMNS.index(f"{'ask' if side > 0 else 'bid'}_{'ab'[self.number]}")])

    def price(self, row: int, side: int) -> float:
        """The touch worsened by slippage, and rounded to the tick against the trader."""
        return self.worsened(self.touch(row, side), side)

    def price_of(self, row: int, side: int, quantity: float) -> float:
        """The same for what a quantity costs on average, from the best level on of which something is left."""
        return self.worsened(self.average(row, side, quantity), side) if self.n_levels > 0 else self.price(row, side)

    def ladder(self, row: int, side: int) -> Iterator[tuple[float, float]]:
        """The levels of a side from the touch on: price, and the part of the size that an order may take."""
        column = BOOK_COLUMNS.index(f"{'ask' if side > 0 else 'bid'}_{'ab'[self.number]}")
        yield float(self.m.book[row, column]), self.participation * float(self.m.book[row, column + 4])
        for level in self.m.levels[row, : self.n_levels]:
            yield float(level[column]), self.participation * float(level[column + 4])

    def average(self, row: int, side: int, quantity: float) -> float:
        """What a unit costs on average; what no level has left any more is at the last price."""
        skip, rest, paid, last = self._taken(row, side), quantity, 0.0, self.touch(row, side)
        for price, part in self.ladder(row, side):
            if skip >= part:
                skip -= part
                continue
            took = min(rest, part - skip)
            if took == quantity:
                return price
            skip, last = 0.0, price
            paid += took * price
            rest -= took
            if rest <= 0:
                break
        return (paid + rest * last) / quantity if rest > 0 else paid / quantity

    def worsened(self, price: float, side: int) -> float:
        """By slippage, and rounded to the tick against the trader."""
        price = price * (1.0 + side * self.slippage)
        if self.tick > 0 and side > 0:
            return math.ceil(price / self.tick - DUST) * self.tick
        return math.floor(price / self.tick + DUST) * self.tick if self.tick > 0 else price

    # fees

    def fee(self, row: int) -> float:
        """The share of the notional at a row: of the tiers that the turnover of the 30 UTC days before reaches, the last."""
        fee, turnover = self.base_fee, 0.0
        if self.tiers:
            today = int(self.m.ts_ns[row]) // DAY_NS
            for day in range(today - TURNOVER_DAYS, today):
                turnover += self.traded.get(day, 0.0)
        for least, tier_fee in self.tiers:
            if least <= turnover:
                fee = tier_fee
        return fee

    def trade(self, row: int, notional: float) -> None:
        """It counts for the fee from the next UTC day on."""
        day = int(self.m.ts_ns[row]) // DAY_NS
        self.traded[day] = self.traded.get(day, 0.0) + notional

    # time

    def seen(self, row: int) -> int:
        """The row of the quote that has come to the strategy by a row."""
        return int(self.m.seen[row, self.number]) if len(self.m.seen) else row

    def usable(self, row: int) -> bool:
        """False where the venue's quote is too old, or none."""
        return not (len(self.m.unusable) and self.m.unusable[row] >> self.number & 1)

    def delay_ns(self, row: int) -> int:
        """How long an order that is sent at a row is under way."""
        if self.jitter > 0:
            factor = latency_factor(self.seed, self.m.salt, row, self.number, self.jitter)
            return int(self.latency_ns * factor)
        return int(self.latency_ns)

    def row_after(self, row: int, time_ns: int) -> int:
        """The first row from `row` on that is not before a time and whose quote is usable, or the number of all rows."""
        while row < len(self.m) and (self.m.ts_ns[row] < time_ns or not self.usable(row)):
            row += 1
        return row

    # quantities

    def available(self, row: int, side: int) -> float:
        """What an order can still have of what is shown: its part, less what was taken of the same quote before."""
        allowed = 0.0
        for _, part in self.ladder(row, side):
            allowed += part
        left = allowed - self._taken(row, side)
        return 0.0 if left < DUST * allowed else left

    def _taken(self, row: int, side: int) -> float:
        bit = side_bit(self.number, side)
        news = self.m.fresh[self.taken_row[side] + 1 : row + 1] >> bit & 1
        return 0.0 if news.any() else self.taken[side]

    def take(self, row: int, side: int, quantity: float) -> None:
        """It is gone until the next quote."""
        self.taken[side], self.taken_row[side] = self._taken(row, side) + quantity, row

    def round_down(self, quantity: float) -> float:
        """To a multiple of the lot."""
        return math.floor(quantity / self.lot + DUST) * self.lot if self.lot > 0 else quantity

    def subtract(self, quantity: float, part: float) -> float:
        """What is left; nothing, if it is what rounding leaves."""
        left = quantity - part
        return 0.0 if left < DUST * quantity or left < self.lot / 2 else left

    def sendable(self, row: int, side: int, quantity: float) -> bool:
        """Whether an order of that quantity can be sent, by the prices of this row."""
        return quantity > 0 and quantity * self.price(row, side) >= self.minimum

    def execute(self, row: int, side: int, ordered: float, most: float, *, whole: bool) -> Execution:
        """An order meets its quote. `most` is what can be paid for at the touch; `whole` if it closes all that is held."""
        touch, price = self.touch(row, side), self.price(row, side)
        filled, cause = self._fill(row, side, ordered, most, whole=whole)
        if filled > 0:
            price = self.price_of(row, side, filled)
            self.take(row, side, filled)
        return Execution(row, side, touch, price, filled, cause)

    def _fill(self, row: int, side: int, ordered: float, most: float, *, whole: bool) -> tuple[float, int]:
        if self.reject_pct > 0:
            luck = uniform(self.seed, self.m.salt, row, REFUSAL + self.number)
            if luck * 100.0 < self.reject_pct:
                return 0.0, fills.REFUSED
        filled = min(ordered, self.available(row, side))
        if filled <= 0:
            return 0.0, fills.NOTHING_LEFT
        if self.n_levels > 0 and side > 0 and math.isfinite(most):
            # It pays for so much at the touch, and for less further down.
            most = most * (self.price(row, side) / self.price_of(row, side, filled))
        filled = min(filled, most)
        if filled <= 0:
            return 0.0, fills.BALANCE
        if filled < ordered:
            filled = self.round_down(filled)
            if filled <= 0:
                return 0.0, fills.BELOW_LOT
        if not (whole and filled == ordered) and filled * self.price_of(row, side, filled) < self.minimum:
            return 0.0, fills.BELOW_MINIMUM
        return filled, fills.FILLED
