"""A market as sets of parameters see it: what of a quote is news, how far edges are from their own moving means."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from arbd.paper.arguments import as_argument
from arbd.paper.market.loops import moving
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.params import Value
from arbd.values import dataclass

# Bits of a quote that is none, or too old.
UNUSABLE_A, UNUSABLE_B = 1, 2


@dataclass(frozen=True, slots=True)
class View:
    """The rules by which sets of parameters see a market: all that their series depends on."""

    max_quote_age_s: float = 0.0
    max_quote_age_a_s: float = 0.0
    max_quote_age_b_s: float = 0.0
    carry_over_gaps: bool = True
    half_life_s: float = 0.0
    feed_latency_a_ms: float = 0.0
    feed_latency_b_ms: float = 0.0

    @classmethod
    def of(cls, params: Mapping[str, Value]) -> View:
        """From resolved parameters."""
        return cls(
            max_quote_age_s=float(params["max_quote_age_s"]),
            max_quote_age_a_s=float(params["max_quote_age_a_s"]),
            max_quote_age_b_s=float(params["max_quote_age_b_s"]),
            carry_over_gaps=params["gap"] == "hold",
            half_life_s=float(params["center_half_life_s"]) if params["center"] == "ewma" else 0.0,
            feed_latency_a_ms=float(params["feed_latency_a_ms"]),
            feed_latency_b_ms=float(params["feed_latency_b_ms"]),
        )


@dataclass(frozen=True, eq=False)
class Series:
    """A market as one view sees it.

    `edge_ab` and `edge_ba` are NaN where a venue's quote may not be traded on; `unusable` (uint8, a bit per venue)
    tells whose, and is empty where all quotes may. `ends` are the last rows before each gap, and the last of all.
    `fresh` (uint8) has a bit per venue and side where what it shows is news (`side_bit`).

    With `center: ewma` the edges are less their own moving means; `cost_ab` and `cost_ba` are the edges as they are,
    `sigma_ab` and `sigma_ba` the moving deviations. Otherwise the costs are the edges, and the deviations are empty.

    `funding_sums`, shape (m + 1, 2), is what A and B paid for one unit held long through the first 0, 1, ... of
    `funding_rows`. `salt` tells the market apart in what is drawn at random.
    `levels`, shape (n, L - 1, 8), is the book below the touch, as in `Market`.

    `fx` is what B's currency is worth at each row. `seen`, shape (n, 2), int32, are the rows of A's and of B's quote that
    have come to the strategy by each row, and shape (0, 2) where quotes come at once; before the first one has come it is
    0, and the edges are NaN. Edges are of the quotes that are seen; all else is of the row itself.
    """

    ts_ns: IntArray
    book: FloatArray
    edge_ab: FloatArray
    edge_ba: FloatArray
    unusable: npt.NDArray[np.uint8]
    ends: IntArray
    fresh: npt.NDArray[np.uint8]
    cost_ab: FloatArray
    cost_ba: FloatArray
    sigma_ab: FloatArray
    sigma_ba: FloatArray
    funding_rows: IntArray
    funding_sums: FloatArray
    salt: int
    levels: FloatArray
    fx: FloatArray
    seen: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def centered(self, half_life_s: float) -> Series:
        """Edges less their own moving means, with the moving deviations."""
        ts_ns = as_argument(self.ts_ns, np.int64)
        edge_ab, sigma_ab, edge_ba, sigma_ba = (np.empty(len(self)) for _ in range(4))
        moving(ts_ns, as_argument(self.edge_ab, np.float64), half_life_s * 1e9, edge_ab, sigma_ab)
        moving(ts_ns, as_argument(self.edge_ba, np.float64), half_life_s * 1e9, edge_ba, sigma_ba)
        return replace(self, edge_ab=edge_ab, edge_ba=edge_ba, sigma_ab=sigma_ab, sigma_ba=sigma_ba)

    def delayed(self, latency_a_ns: int, latency_b_ns: int) -> Series:
        """As it comes to a strategy that sees each venue's quotes so much later."""
        came = [_came(self.ts_ns, latency_ns) for latency_ns in (latency_a_ns, latency_b_ns)]
        usable = (came[0] >= 0) & (came[1] >= 0)
        seen_a, seen_b = (np.maximum(rows, 0) for rows in came)
        if len(self.unusable):
            usable &= (self.unusable[seen_a] & UNUSABLE_A == 0) & (self.unusable[seen_b] & UNUSABLE_B == 0)
        bid_a, ask_a, bid_b, ask_b = (
            self.book[seen_a, 0],
            self.book[seen_a, 1],
            self.book[seen_b, 2],
            self.book[seen_b, 3],
        )
        edge_ab = np.where(usable, (bid_a - ask_b) / ask_b * 100.0, np.nan)
        edge_ba = np.where(usable, (bid_b - ask_a) / ask_a * 100.0, np.nan)
        seen = np.stack([seen_a, seen_b], axis=1).astype(np.int32)
        return replace(self, edge_ab=edge_ab, edge_ba=edge_ba, cost_ab=edge_ab, cost_ba=edge_ba, seen=seen)


def _came(ts_ns: IntArray, latency_ns: int) -> IntArray:
    """For each row the last one that has come by then, -1 for none; without a latency the row itself."""
    if latency_ns <= 0:
        return np.arange(len(ts_ns), dtype=np.int64)
    return np.searchsorted(ts_ns, ts_ns - latency_ns, side="right").astype(np.int64) - 1


def funding_sums(rows: IntArray, rates: FloatArray, book: FloatArray) -> FloatArray:
    """What one unit held long has paid by the first 0, 1, ... of the rows, at the mid of each: (m + 1, 2)."""
    lines = np.asarray(book[rows])
    mids = np.stack([(lines[:, 0] + lines[:, 1]) / 2.0, (lines[:, 2] + lines[:, 3]) / 2.0], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(rates * mids, axis=0)])


def market_salt(ts_ns: IntArray, book: FloatArray) -> int:
    """A number that tells markets apart by their first quote: what comes later must not change what is drawn."""
    if len(ts_ns) == 0:
        return 0
    # Neither the currency of its prices matters.
    first = np.concatenate([book[0, 1:4] / book[0, 0], book[0, 4:]])
    digest = hashlib.sha256(np.int64(ts_ns[0]).tobytes() + first.astype(np.float64).tobytes()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
