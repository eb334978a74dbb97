"""Tables of what `search_peers.py run` found: medians of the seeds, and how often one method is as good as another."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from search_fronts import FrontProblem

# Regrets count as equal within this part of each other, volumes within this part of their size.
NEAR = 0.05
Medians = Mapping[tuple[str, str], Sequence[float]]


def tables(
    lines: Iterable[Mapping[str, Any]], problems: Sequence[Any], slots: int, marks: Sequence[int]
) -> Iterator[str]:
    """Lines of text: a table for each number of iterations, then the comparisons, for each half of the problems."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for line in lines:
        # Those of others are the same for every number of slots.
        if line["slots"] == slots or line["method"].startswith(("optuna", "pycma", "nevergrad", "pymoo")):
            found[line["problem"], line["method"]].append(line["best"])
    medians = _regrets(found, problems)
    methods = list(dict.fromkeys(method for _, method in found))
    for held_back, kind in ((False, "chosen on"), (True, "held back")):
        for several in (False, True):
            names = [p.name for p in problems if p.held_back is held_back and isinstance(p, FrontProblem) is several]
            what = "volume" if several else "regret"
            for place, mark in enumerate(marks):
                yield f"{what} after {mark} iterations, slots {slots}, problems {kind}: median (seeds)"
                yield from _table(names, methods, found, medians, place)
                yield ""
            for method in methods:
                yield from _compared(method, names, methods, medians, marks, several)
            yield ""


def _regrets(found: Mapping[tuple[str, str], Sequence[Sequence[float]]], problems: Sequence[Any]) -> Medians:
    """Medians less the least there is, or the least that any search found; volumes as they are."""
    medians: dict[tuple[str, str], Sequence[float]] = {}
    for problem in problems:
        mine = {method: best for (name, method), best in found.items() if name == problem.name}
        if isinstance(problem, FrontProblem):
            least = 0.0
        else:
            least = (
                problem.least
                if not math.isnan(problem.least)
                else min((min(b) for m in mine.values() for b in m), default=0)
            )
        for method, best in mine.items():
            medians[problem.name, method] = (np.median(np.array(best), axis=0) - least).tolist()
    return medians


def _table(
    names: Sequence[str],
    methods: Sequence[str],
    found: Mapping[tuple[str, str], Sequence[Any]],
    medians: Medians,
    place: int,
) -> Iterator[str]:
    shown = [method for method in methods if any((name, method) in medians for name in names)]
    yield f"{'':13}" + "".join(f"{method:>15}" for method in shown)
    for name in names:
        cells = [
            f"{abs(medians[name, method][place]):.4g} ({len(found[name, method])})"
            if (name, method) in medians
            else "-"
            for method in shown
        ]
        yield f"{name:13}" + "".join(f"{cell:>15}" for cell in cells)


def _compared(
    method: str, names: Sequence[str], methods: Sequence[str], medians: Medians, marks: Sequence[int], several: bool
) -> Iterator[str]:
    """In how many problems a method of ours is at least about as good as each other one, and as the best of all."""
    if method.startswith(("optuna", "pycma", "nevergrad", "pymoo", "random")):
        return
    parts = []
    for other in methods:
        both = [name for name in names if (name, method) in medians and (name, other) in medians]
        if other != method and both:
            counts = [
                sum(_near(medians[name, method][place], medians[name, other][place], several) for name in both)
                for place in range(len(marks))
            ]
            parts.append(f"{other} {'/'.join(map(str, counts))} of {len(both)}")
    if parts:
        yield f"{method} better than or within {NEAR:.0%} of: " + ", ".join(parts)


def _near(one: float, other: float, several: bool) -> bool:
    # Volumes have the sign of losses.
    return one <= (other * (1 - NEAR) if several else other * (1 + NEAR) + 1e-9)
