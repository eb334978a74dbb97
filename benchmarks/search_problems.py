"""Functions that search methods are compared on: each with its space and its least value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """`loss` is to be minimised; `least` is the smallest value there is, or the best that is known."""

    name: str
    space: SearchSpace
    loss: Callable[[Params], float]
    least: float


def _floats(count: int, low: float, high: float) -> SearchSpace:
    return SearchSpace(tuple(FloatDimension(f"x{i}", low, high) for i in range(count)))


def _branin(p: Params) -> float:
    x, y = p["x0"], p["x1"]
    bowl = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_H_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_H_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_H_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann6(p: Params) -> float:
    x = np.array([p[f"x{i}"] for i in range(6)])
    return float(-(_H_ALPHA * np.exp(-(_H_A * (x - _H_P) ** 2).sum(axis=1))).sum())


def _rosenbrock4(p: Params) -> float:
    x = np.array([p[f"x{i}"] for i in range(4)])
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def _ackley5(p: Params) -> float:
    x = np.array([p[f"x{i}"] for i in range(5)])
    near = -20 * math.exp(-0.2 * math.sqrt(float((x * x).mean())))
    return near - math.exp(float(np.cos(2 * math.pi * x).mean())) + 20 + math.e


def _mixed(p: Params) -> float:
    """A bowl whose place and depth depend on choices, over a float, two whole numbers, a choice and a boolean."""
    middle, depth = {"a": (0.2, 0.3), "b": (0.7, 0.0), "c": (0.5, 0.6), "d": (0.9, 1.0)}[p["kind"]]
    loss = depth + 4 * (p["x"] - middle) ** 2 + (math.log(p["k"]) - math.log(40)) ** 2 / 4 + (p["m"] - 13) ** 2 / 100
    return loss + (0.0 if p["flag"] == (p["kind"] in "bd") else 0.4)


_MIXED = SearchSpace(
    (
        FloatDimension("x", 0.0, 1.0),
        IntDimension("k", 1, 500, log=True),
        IntDimension("m", 0, 20),
        ChoiceDimension("kind", ("a", "b", "c", "d")),
        ChoiceDimension("flag", (False, True)),
    )
)
_PAPER = SearchSpace(
    (
        FloatDimension("min_spread_pct", 0.02, 0.40),
        FloatDimension("exit_spread_pct", -0.20, 0.20),
        FloatDimension("stop_loss_pct", 0.0, 1.0),
        IntDimension("max_hold_s", 60, 20_000, log=True),
        FloatDimension("participation", 0.1, 1.0),
    )
)
_COSTS = {"fee_a_bps": 1.0, "fee_b_bps": 1.0, "latency_a_ms": 200.0, "latency_b_ms": 100.0, "grid_s": 600.0}


@lru_cache(maxsize=1)
def _market() -> Any:
    from arbd.paper.market.synth import synth_profile
    from arbd.paper.objective import PaperObjective

    return PaperObjective([synth_profile("kimchi", 1, 40_000)], _COSTS)


def _paper(p: Params) -> float:
    pnl = _market().evaluate(p)[0]["pnl"]
    return float("nan") if math.isnan(pnl) else -pnl


def problems() -> list[Problem]:
    """All six. The paper engine's least is not known: the best value that any method found stands in for it."""
    return [
        Problem("branin", SearchSpace((FloatDimension("x0", -5, 10), FloatDimension("x1", 0, 15))), _branin, 0.39788735772973816),
        Problem("hartmann6", _floats(6, 0, 1), _hartmann6, -3.322368011415515),
        Problem("rosenbrock4", _floats(4, -5, 10), _rosenbrock4, 0.0),
        Problem("ackley5", _floats(5, -32.768, 32.768), _ackley5, 0.0),
        Problem("mixed", _MIXED, _mixed, 0.0),
        Problem("paper", _PAPER, _paper, math.nan),
    ]  # fmt: skip
