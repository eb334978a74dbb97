"""Functions that search methods are compared on: each with its space and its least value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from search_markets import (
    BINANCE,
    BRL,
    PAPER_SPACE,
    QUOTES_SPACE,
    TOUCH_SPACE,
    loss_of,
    recorded,
    recorded_market,
    synthetic_market,
)

from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """`loss` is to be minimised; `least` is the smallest value there is, or the best that is known.

    Constants of the methods are chosen on problems that are not `held_back`, and judged on those that are.
    """

    name: str
    space: SearchSpace
    loss: Callable[[Params], float]
    least: float
    held_back: bool = False


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
    """A bowl whose place and depth depend on choices, over a float, two integers, a choice and a boolean."""
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


def _shift(key: int, count: int) -> Any:
    """Where an optimum lies: anywhere but in a centre, the same in every run."""
    return np.random.default_rng(key).uniform(0.1, 0.9, count)


def _vector(p: Params, count: int) -> Any:
    return np.array([p[f"x{i}"] for i in range(count)])


def _sparse(key: int, count: int) -> Callable[[Params], float]:
    """Of `count` parameters six count, with weights from 1 to 4."""
    at, which = _shift(key, 6), np.random.default_rng(key + 1).permutation(count)[:6]
    return lambda p: float((np.array([1, 1, 2, 2, 3, 4]) * (_vector(p, count)[which] - at) ** 2).sum())


def _rastrigin(key: int, count: int) -> Callable[[Params], float]:
    at = _shift(key, count)

    def loss(p: Params) -> float:
        z = 4.0 * (_vector(p, count) - at)
        return float((z * z - 2.0 * np.cos(2 * math.pi * z) + 2.0).sum())

    return loss


def _rosenbrock(key: int, count: int) -> Callable[[Params], float]:
    at = _shift(key, count)

    def loss(p: Params) -> float:
        z = 6.0 * (_vector(p, count) - at) + 1.0
        return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())

    return loss


def _ellipsoid(key: int, count: int) -> Callable[[Params], float]:
    """Turned, and a hundred times as long as it is wide."""
    at = _shift(key, count)
    turned, _ = np.linalg.qr(np.random.default_rng(key + 1).standard_normal((count, count)))
    scales = 10.0 ** np.linspace(0, 4, count)
    return lambda p: float((scales * (turned @ (_vector(p, count) - at)) ** 2).sum())


def _levy(key: int, count: int) -> Callable[[Params], float]:
    at = _shift(key, count)

    def loss(p: Params) -> float:
        w = 1 + 10.0 * (_vector(p, count) - at) / 4
        middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
        ends = math.sin(math.pi * w[0]) ** 2 + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
        return float(middle + ends)

    return loss


_LETTERS = ("a", "b", "c", "d", "e", "f")


def _choices(key: int) -> tuple[SearchSpace, Callable[[Params], float]]:
    """Six choices of six values, of which two matter together, and two numbers."""
    rng = np.random.default_rng(key)
    tables = rng.random((6, 6))
    tables -= tables.min(axis=1)[:, None]
    pair = rng.random((6, 6))
    pair -= pair.min()
    at = _shift(key + 1, 2)

    def loss(p: Params) -> float:
        place = [_LETTERS.index(p[f"c{i}"]) for i in range(6)]
        own = sum(tables[i, place[i]] for i in range(2, 6))
        return float(own + 2 * pair[place[0], place[1]] + ((_vector(p, 2) - at) ** 2).sum())

    choices = tuple(ChoiceDimension(f"c{i}", _LETTERS) for i in range(6))
    return SearchSpace((*choices, *_floats(2, 0, 1).dimensions)), loss


def _mixed9(key: int) -> tuple[SearchSpace, Callable[[Params], float]]:
    """Three floats, three integers, two choices and a boolean; the choices move the optimum."""
    at = _shift(key, 12)
    space = SearchSpace(
        (
            *_floats(3, 0, 1).dimensions,
            IntDimension("k", 1, 1_000, log=True), IntDimension("m", 0, 40), IntDimension("n", 0, 12),
            ChoiceDimension("kind", _LETTERS[:4]), ChoiceDimension("way", _LETTERS[:3]),
            ChoiceDimension("flag", (False, True)),
        )
    )  # fmt: skip

    def loss(p: Params) -> float:
        kind, way = _LETTERS.index(p["kind"]), _LETTERS.index(p["way"])
        middle = at[:3] * (1.0 if kind == 2 else 0.7 + 0.1 * kind)
        z = np.array([math.log(p["k"]) / math.log(1_000) - at[3], p["m"] / 40 - at[4], p["n"] / 12 - at[5]])
        depth = 0.15 * abs(kind - 2) + 0.1 * ((way + 1) % 3) + (0.0 if p["flag"] == (way == 2) else 0.2)
        return float(depth + 3 * ((_vector(p, 3) - middle) ** 2).sum() + (z * z).sum())

    return space, loss


def _more() -> list[Problem]:
    choices, of_choices = _choices(5)
    more_choices, of_more_choices = _choices(77)
    mixed, of_mixed = _mixed9(9)
    unit = {count: _floats(count, 0, 1) for count in (4, 5, 6, 8, 20, 25)}
    return [
        Problem("sparse25", unit[25], _sparse(3, 25), 0.0),
        Problem("choices", choices, of_choices, 0.0),
        Problem("levy5", unit[5], _levy(11, 5), 0.0, held_back=True),
        Problem("rastrigin4", unit[4], _rastrigin(13, 4), 0.0, held_back=True),
        Problem("rosenbrock6", unit[6], _rosenbrock(17, 6), 0.0, held_back=True),
        Problem("ellipsoid8", unit[8], _ellipsoid(19, 8), 0.0, held_back=True),
        Problem("sparse20", unit[20], _sparse(23, 20), 0.0, held_back=True),
        Problem("choices2", more_choices, of_more_choices, 0.0, held_back=True),
        Problem("mixed9", mixed, of_mixed, 0.0, held_back=True),
        Problem("paper2", PAPER_SPACE, loss_of(lambda: synthetic_market(5, 30_000, 0.5)), math.nan, held_back=True),
    ]


def problems() -> list[Problem]:
    """All sixteen, half of them held back, and two more where there are recorded quotes.

    Of the paper engine the best value that any method found is the least.
    """
    return [*_first(), *_more(), *_recorded()]


def _recorded() -> list[Problem]:
    return [
        Problem(name, space, loss_of(partial(recorded_market, file)), math.nan, held_back)
        for name, space, file, held_back in (
            ("quotes", QUOTES_SPACE, BRL, False),
            ("quotes2", TOUCH_SPACE, BINANCE, True),
        )
        if recorded(file) is not None
    ]


def _first() -> list[Problem]:
    return [
        Problem("branin", SearchSpace((FloatDimension("x0", -5, 10), FloatDimension("x1", 0, 15))), _branin, 0.39788735772973816),
        Problem("hartmann6", _floats(6, 0, 1), _hartmann6, -3.322368011415515),
        Problem("rosenbrock4", _floats(4, -5, 10), _rosenbrock4, 0.0),
        Problem("ackley5", _floats(5, -32.768, 32.768), _ackley5, 0.0),
        Problem("mixed", _MIXED, _mixed, 0.0),
        Problem("paper", PAPER_SPACE, loss_of(lambda: synthetic_market(1, 40_000)), math.nan),
    ]  # fmt: skip
