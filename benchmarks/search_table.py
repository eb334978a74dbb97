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
PEERS = ("optuna", "pycma", "nevergrad", "pymoo")
PLANS = ("random", "sobol")
Medians = Mapping[tuple[str, str], Sequence[float]]
Found = Mapping[tuple[str, str], Sequence[Sequence[float]]]


def tables(
    lines: Iterable[Mapping[str, Any]],
    problems: Sequence[Any],
    slots: int,
    marks: Sequence[int],
    shown: Sequence[int],
    chosen: Sequence[str],
) -> Iterator[str]:
    """Lines of text: a table of medians for each number of iterations in `shown`, then the comparisons.

    `chosen` are the methods, none for all; a method stands with what all of its seeds have reached.
    """
    found = _found(lines, slots, len(marks))
    medians = _medians(found, problems)
    known = list(dict.fromkeys(method for _, method in found))
    methods = [method for method in (chosen or known) if method in known]
    for several in (False, True):
        mine = [p for p in problems if isinstance(p, FrontProblem) is several]
        for mark in shown:
            what = "volume of the front" if several else "regret"
            yield f"{what} after {mark} iterations, slots {slots}, medians; * held back"
            yield from _table(mine, methods, found, medians, marks.index(mark))
            yield ""
        yield f"better than or within {NEAR:.0%} of, after {', '.join(map(str, marks))} iterations; of these, held back"
        yield from _compared(mine, methods, medians, marks, several)
        yield ""


def _found(lines: Iterable[Mapping[str, Any]], slots: int, marks: int) -> Found:
    """What was reached by problem and method, by the marks, NaN beyond the end of a search."""
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(dict)
    for line in lines:
        # Those of others that know every result, and fixed plans, are the same for every number of slots.
        alike = line["method"].startswith((*PEERS, *PLANS)) and not line["method"].endswith("_batch")
        if line["slots"] == slots or alike:
            best = line["best"] + [math.nan] * (marks - len(line["best"]))
            found[line["problem"], line["method"]][line["seed"]] = best
    return {key: list(seeds.values()) for key, seeds in found.items()}


def _medians(found: Found, problems: Sequence[Any]) -> Medians:
    """Medians less the least there is, or the least that any search found; volumes as they are."""
    medians: dict[tuple[str, str], Sequence[float]] = {}
    for problem in problems:
        mine = {method: np.array(best) for (name, method), best in found.items() if name == problem.name}
        least = 0.0 if isinstance(problem, FrontProblem) else problem.least
        if math.isnan(least):
            least = min((float(np.nanmin(best)) for best in mine.values()), default=0.0)
        for method, best in mine.items():
            medians[problem.name, method] = (np.median(best, axis=0) - least).tolist()
    return medians


def _table(
    problems: Sequence[Any], methods: Sequence[str], found: Found, medians: Medians, place: int
) -> Iterator[str]:
    """A line for each problem, a column for each method, and how many seeds stand behind each, at least."""
    names = [problem.name for problem in problems]
    shown = [m for m in methods if any(not math.isnan(medians.get((n, m), [math.nan] * 9)[place]) for n in names)]
    widths = [max(9, len(method) + 2) for method in shown]
    yield f"{'':14}" + "".join(f"{method:>{width}}" for method, width in zip(shown, widths, strict=True))
    for problem in problems:
        cells = [medians.get((problem.name, method), [math.nan] * 9)[place] for method in shown]
        texts = ["-" if math.isnan(cell) else f"{abs(cell):.3g}" for cell in cells]
        label = problem.name + (" *" if problem.held_back else "")
        yield f"{label:14}" + "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
    seeds = [min(len(found[name, method]) for name in names if (name, method) in found) for method in shown]
    yield f"{'seeds':14}" + "".join(f"{count:>{width}}" for count, width in zip(seeds, widths, strict=True))


def _compared(
    problems: Sequence[Any], methods: Sequence[str], medians: Medians, marks: Sequence[int], several: bool
) -> Iterator[str]:
    """In how many problems a method of ours is at least about as good as each other one."""
    for method in methods:
        if method.startswith((*PEERS, *PLANS)):
            continue
        for other in methods:
            if other == method:
                continue
            parts = [_counted(problems, method, other, medians, place, several) for place in range(len(marks))]
            if any(parts):
                yield f"{method:>12} {other:<13}" + "".join(f"{part or '-':>26}" for part in parts)


def _counted(problems: Sequence[Any], method: str, other: str, medians: Medians, place: int, several: bool) -> str:
    """How often, for people; '' where nothing can be compared."""
    both = []
    for problem in problems:
        pair = [medians.get((problem.name, name), [math.nan] * 9)[place] for name in (method, other)]
        if not any(map(math.isnan, pair)):
            both.append((problem.held_back, _near(pair[0], pair[1], several)))
    held_back = [near for held, near in both if held]
    if not both:
        return ""
    return f"{sum(near for _, near in both)} of {len(both)}, {sum(held_back)} of {len(held_back)}"


def _near(one: float, other: float, several: bool) -> bool:
    # Volumes have the sign of losses.
    return one <= (other * (1 - NEAR) if several else other * (1 + NEAR) + 1e-9)
