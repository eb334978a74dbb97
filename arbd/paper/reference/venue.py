"""A venue as an order meets it: what it shows, what is left of that, at what price, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from arbd.paper import fills
from arbd.paper.draws import REFUSAL, latency_factor, uniform
from arbd.paper.market.prepared import BOOK_COLUMNS, DUST
from arbd.paper.market.series import Series, side_bit
from arbd.paper.params import Value


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
        self.fee = own("fee_{}_bps") / 1e4
        self.lot = own("lot_step_{}")
        self.minimum = own("min_notional_{}")
        self.tick = own("tick_{}")
        self.latency_ns = own("latency_{}_ms") * 1e6
        self.jitter = own("latency_jitter")
        self.reject_pct = own("reject_pct_{}")
        self.seed = int(own("execution_seed"))
        self.taken = {-1: 0.0, 1: 0.0}
        self.taken_row = {-1: -1, 1: -1}

    # prices

    def touch(self, row: int, side: int) -> float:
        """The best price shown to a buyer (+1) or a seller (-1)."""
        return float(self.m.book[row, BOOK_COLUMNS.index(f"{'ask' if side > 0 else 'bid'}_{'ab'[self.number]}")])

    def price(self, row: int, side: int) -> float:
        """The touch worsened by slippage, and rounded to the tick against the trader."""
        price = self.touch(row, side) * (1.0 + side * self.slippage)
        if self.tick > 0 and side > 0:
            return math.ceil(price / self.tick - DUST) * self.tick
        return math.floor(price / self.tick + DUST) * self.tick if self.tick > 0 else price

    # time

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
        v = "ab"[self.number]
        shown = float(self.m.book[row, BOOK_COLUMNS.index(f"{'ask' if side > 0 else 'bid'}_size_{v}")])
        allowed = self.participation * shown
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
        """An order meets its quote. `most` is what can be paid for; `whole` if it closes all that is held."""
        touch, price = self.touch(row, side), self.price(row, side)
        filled, cause = self._fill(row, side, ordered, most, price, whole=whole)
        if filled > 0:
            self.take(row, side, filled)
        return Execution(row, side, touch, price, filled, cause)

    def _fill(
        self, row: int, side: int, ordered: float, most: float, price: float, *, whole: bool
    ) -> tuple[float, int]:
        if self.reject_pct > 0:
            luck = uniform(self.seed, self.m.salt, row, REFUSAL + self.number)
            if luck * 100.0 < self.reject_pct:
                return 0.0, fills.REFUSED
        filled = min(ordered, self.available(row, side))
        if filled <= 0:
            return 0.0, fills.NOTHING_LEFT
        filled = min(filled, most)
        if filled <= 0:
            return 0.0, fills.BALANCE
        if filled < ordered:
            filled = self.round_down(filled)
            if filled <= 0:
                return 0.0, fills.BELOW_LOT
        if not (whole and filled == ordered) and filled * price < self.minimum:
            return 0.0, fills.BELOW_MINIMUM
        return filled, fills.FILLED
