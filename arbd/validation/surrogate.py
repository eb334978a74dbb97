"""Markets without an edge, made from a real one: what luck alone gives a search on data that look the same.

Venue B's mid becomes venue A's mid times a premium whose increments have random signs, block by block. Times, touch
widths, sizes, ages, exchange rates, all of venue A, and the volatility of the premium with its clusters stay; that the
premium comes back is gone. After surrogate data (Theiler et al., Physica D 58, 1992) and permutation tests of trading
rules (Masters, "Permutation and Randomization Tests for Trading System Development", 2020).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.validation.blocks import FloatArray

# How many drawings of signs are looked at for one whose premium keeps to the real one's range.
DRAWS = 32


class TwoVenues(Protocol):
    """What is needed of quotes: columns of equal length n, and to be a dataclass."""

    @property
    def bid_a(self) -> FloatArray:
        """Bids of venue A."""

    @property
    def ask_a(self) -> FloatArray:
        """Asks of venue A."""

    @property
    def bid_b(self) -> FloatArray:
        """Bids of venue B."""

    @property
    def ask_b(self) -> FloatArray:
        """Asks of venue B."""

    @property
    def fx(self) -> FloatArray:
        """Units of A's quote currency per unit of B's."""

    # A dataclass, so that it can be made again with other prices.
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Venues = TypeVar("Venues", bound=TwoVenues)


def surrogate(quotes: Venues, seed: int, block: int, *, keep_range: bool = True) -> Venues:
    """The same quotes with other prices of venue B: a premium without reversion.

    `quotes` is a dataclass with columns bid_a, ask_a, bid_b, ask_b and fx, n rows each; where it has a column `block`
    (rows of one uninterrupted recording share its value), increments over gaps are moves like others. `block` is how
    many neighbouring increments get one sign. NotComputableError with fewer than 2 rows.
    """
    premium = np.log((quotes.bid_b + quotes.ask_b) * quotes.fx / (quotes.bid_a + quotes.ask_a))
    other = np.exp(surrogate_walk(premium, seed, block, keep_range=keep_range) - premium)
    return dataclasses.replace(quotes, bid_b=quotes.bid_b * other, ask_b=quotes.ask_b * other)


def surrogate_walk(values: npt.ArrayLike, seed: int, block: int, *, keep_range: bool = True) -> FloatArray:
    """`values` (n,) with the signs of their increments drawn anew for each `block` of them; the first value stays.

    `keep_range`: of several drawings the first that moves no farther than `values` do, from lowest to highest, or the
    one that comes closest to that: a walk that comes back no more wanders wider than what it was made from, and where
    it does, luck is larger. The same seed gives the same drawing.
    """
    real = np.asarray(values, dtype=np.float64)
    if real.ndim != 1:
        raise UsageError(f"values of shape {real.shape}; expected (n,)")
    if block < 1:
        raise UsageError(f"blocks of {block} increments; expected at least 1")
    if len(real) < 2:
        raise NotComputableError(f"a market without an edge is made of at least 2 rows; there are {len(real)}")
    increments = np.diff(real)
    n_signs = -(-len(increments) // block)
    rng = np.random.default_rng(seed)
    best, least = real, np.inf
    for _ in range(DRAWS if keep_range else 1):
        signs = np.repeat(rng.choice((-1.0, 1.0), n_signs), block)[: len(increments)]
        walk = np.concatenate([real[:1], real[0] + np.cumsum(signs * increments)])
        spans = np.ptp(walk)
        if spans < least:
            best, least = walk, spans
        if spans <= np.ptp(real):
            break
    return best
