"""Markets of two venues of which it is known whether there is anything to earn.

Without an edge the premium of venue B over A is a martingale (its next move has mean 0 whatever was seen), with plain,
clustered or fat-tailed moves, or with gaps in the recording; so no strategy earns anything on average, and all pay the
touch. With an edge, all of the premium comes back within some minutes (`reverting`), or a part of it does while the rest is
a martingale (`wandering`), which on some days carries it to where no threshold of the search is.
"""

from __future__ import annotations

import numpy as np

from arbd.paper.market.quotes import Quotes, build_quotes

KINDS = ("martingale", "clusters", "fat tails", "gaps")
EDGE_KINDS = ("reverting", "wandering")
STEP_S = 20.0
# Next to nothing, so that luck is not held down by costs: the hardest case for who must not call it skill.
TOUCH_BPS = 0.05
WANDER_BPS_PER_DAY = 10.0


def market(kind: str, seed: int, days: float, edge_bps: float = 0.0, half_life_s: float = 600.0) -> Quotes:
    """A market of `days`, a row every 20 s. `edge_bps` is the standard deviation of what comes back of the premium."""
    rng = np.random.default_rng([seed, (*KINDS, *EDGE_KINDS).index(kind)])
    n = int(days * 86_400 / STEP_S)
    moves = rng.standard_normal(n)
    if kind == "clusters":
        # Volatility that wanders, with a memory of some hours.
        level = _reverting(rng, n, 3 * 3_600.0)
        moves *= np.exp(0.7 * level)
    if kind == "fat tails":
        moves = rng.standard_t(3, n) / np.sqrt(3)
    wander_bps = 0.0 if kind == "reverting" else WANDER_BPS_PER_DAY
    premium = np.cumsum(moves) * 1e-4 * wander_bps / np.sqrt(86_400 / STEP_S)
    premium += edge_bps * 1e-4 * _reverting(rng, n, half_life_s)
    mid_a = 100 * np.exp(np.cumsum(rng.standard_normal(n)) * 0.02 / np.sqrt(86_400 / STEP_S))
    mid_b = mid_a * np.exp(premium)
    ts_ns = 1_704_067_200 * 10**9 + (np.arange(n) * STEP_S * 1e9).astype(np.int64)
    half = TOUCH_BPS * 1e-4 / 2
    columns = {
        "ts_ns": ts_ns, "bid_a": mid_a * (1 - half), "ask_a": mid_a * (1 + half),
        "bid_b": mid_b * (1 - half), "ask_b": mid_b * (1 + half),
    }  # fmt: skip
    if kind == "gaps":
        # Each of some recordings goes on an hour after the last one ended.
        columns["block"] = np.arange(n) * 8 // n
        columns["ts_ns"] = ts_ns + columns["block"] * 3_600 * 10**9
    return build_quotes(columns, f"{kind} market {seed}")[0]


def _reverting(rng: np.random.Generator, n: int, half_life_s: float) -> np.ndarray:
    """A process of mean 0 and deviation 1 that comes half the way back in the half-life."""
    from scipy.signal import lfilter

    kept = 0.5 ** (STEP_S / half_life_s)
    noise = rng.standard_normal(n) * np.sqrt(1 - kept * kept)
    noise[0] = rng.standard_normal()
    return np.asarray(lfilter([1.0], [1.0, -kept], noise))
