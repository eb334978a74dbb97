"""Problems of several losses that search methods are compared on: each with the point that volumes are measured from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from search_markets import BRL, PAPER_SPACE, QUOTES_SPACE, recorded, recorded_market, synthetic_market

from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace

Params = Mapping[str, Any]


@dataclass(frozen=True)
class FrontProblem:
    """`losses` are to be minimised together; what is not below `reference` in all of them encloses no volume."""

    name: str
    space: SearchSpace
    losses: Callable[[Params], tuple[float, ...]]
    reference: tuple[float, ...]
    held_back: bool = False


def _unit(count: int) -> SearchSpace:
    return SearchSpace(tuple(FloatDimension(f"x{i}", 0.0, 1.0) for i in range(count)))


def _apart(p: Params, key: int, first: int, count: int) -> float:
    """How far the parameters from `first` on are from where the front is, which is in no centre and at no end."""
    at = np.random.default_rng(key).uniform(0.15, 0.85, count)
    return float(sum(abs(p[f"x{i}"] - at[i]) for i in range(first, count)) / (count - first))


def _zdt1(p: Params) -> tuple[float, ...]:
    """Zitzler, Deb and Thiele 2000, the first, moved."""
    far = 1 + 9 * _apart(p, 31, 1, 6)
    return p["x0"], far * (1 - math.sqrt(p["x0"] / far))


def _zdt3(p: Params) -> tuple[float, ...]:
    """The third, whose front has gaps, moved."""
    far = 1 + 9 * _apart(p, 37, 1, 6)
    share = p["x0"] / far
    return p["x0"], far * (1 - math.sqrt(share) - share * math.sin(10 * math.pi * p["x0"]))


def _sphere3(p: Params) -> tuple[float, ...]:
    """Deb and others 2002, the second: a part of a sphere between three losses, moved."""
    far = 1 + 4 * _apart(p, 41, 2, 6) ** 2
    a, b = p["x0"] * math.pi / 2, p["x1"] * math.pi / 2
    return far * math.cos(a) * math.cos(b), far * math.cos(a) * math.sin(b), far * math.sin(a)


_KINDS = ("a", "b", "c", "d")
_MIXED = SearchSpace(
    (
        *_unit(2).dimensions,
        IntDimension("k", 1, 500, log=True),
        IntDimension("m", 0, 20),
        ChoiceDimension("kind", _KINDS),
    )
)


def _mixed(p: Params) -> tuple[float, ...]:
    """Cost against quality, each kind with a part of the front of its own."""
    kind = _KINDS.index(p["kind"])
    off = (math.log(p["k"]) / math.log(500) - 0.7) ** 2 + (p["m"] / 20 - 0.35) ** 2 + (p["x1"] - 0.62) ** 2
    cost = 0.25 * kind + 0.25 * p["x0"]
    return cost + off, (1 - cost) ** 2 + 0.1 * ((kind * 7 + 3) % 4) / 4 + off


def _money(metrics: dict[str, float], *names: str) -> tuple[float, ...]:
    return tuple(-metrics[name] if name in ("pnl", "trades") else metrics[name] for name in names)


def _paper(p: Params) -> tuple[float, ...]:
    return _money(synthetic_market(1, 40_000).evaluate(p)[0], "pnl", "max_drawdown")


def _quotes(p: Params) -> tuple[float, ...]:
    return _money(recorded_market(BRL).evaluate(p)[0], "pnl", "max_drawdown", "trades")


def fronts() -> list[FrontProblem]:
    """All that can be had here, half of them held back."""
    found = [
        FrontProblem("zdt1", _unit(6), _zdt1, (1.1, 6.0)),
        FrontProblem("mixed front", _MIXED, _mixed, (1.6, 1.6)),
        FrontProblem("paper front", PAPER_SPACE, _paper, (0.0, 3_000.0)),
        FrontProblem("zdt3", _unit(6), _zdt3, (1.1, 6.0), held_back=True),
        FrontProblem("sphere3", _unit(6), _sphere3, (2.5, 2.5, 2.5), held_back=True),
    ]
    if recorded(BRL) is not None:
        found.append(FrontProblem("quotes front", QUOTES_SPACE, _quotes, (1_000.0, 1_000.0, 0.0), held_back=True))
    return found
