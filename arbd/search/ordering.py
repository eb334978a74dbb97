"""What is best among results: the one place of that rule, on plain arrays. `docs/ranking.md` says it in words.

Everything takes losses, lower is better, NaN where a result has none. In this order it matters: whether a result keeps
every constraint and has a number; how large its budget was (what used less of the data is no match for what used more);
by how much it breaks the constraints; its loss; and of equals, which comes first.
"""

from __future__ import annotations

from enum import IntEnum

from arbd.arrays import Floats, Ints, Mask, np

# Of long columns, so many values tell what is surely not among the best few.
SAMPLE_ROWS = 65_536


class Tier(IntEnum):
    """What can be said of a result at all; a lower tier comes first."""

    FEASIBLE = 0
    BREAKING = 1
    UNDEFINED = 2


def undefined(losses: Floats) -> Mask:
    """Which results lack a loss; `losses` is (n,) or (n, objectives)."""
    missing = np.isnan(losses)
    return np.asarray(missing if losses.ndim == 1 else missing.any(axis=1))


def tiers(losses: Floats, violation: Floats | None) -> Ints:
    """The `Tier` of each result. `violation` is (n,), 0 where every constraint holds; None where there are none."""
    found = np.full(len(losses), Tier.FEASIBLE, dtype=np.int64)
    if violation is not None:
        found[~(violation <= 0)] = Tier.BREAKING
    found[undefined(losses)] = Tier.UNDEFINED
    return found


def largest_budget(budget: Floats, counted: Mask) -> float:
    """The budget that results must have to be compared with the best; of all of them where none is counted."""
    found = budget[counted] if counted.any() else budget
    return float(found.max(initial=-np.inf, where=~np.isnan(found)))


def comparable(losses: Floats, violation: Floats | None = None, budget: Floats | None = None) -> Mask:
    """Which results can be the best, or in the front."""
    mask: Mask = tiers(losses, violation) == Tier.FEASIBLE
    if budget is not None and mask.any():
        mask &= budget == largest_budget(budget, mask)
    return mask


def best_first(
    losses: Floats, violation: Floats | None = None, budget: Floats | None = None, top_n: int | None = None
) -> Ints:
    """Positions from the best to the worst, the first `top_n` of them.

    Several objectives compare by front, and within one by crowding, the least crowded first.
    """
    n, wanted = len(losses), len(losses) if top_n is None else max(0, top_n)
    if losses.ndim == 1 and violation is None and budget is None:
        return _lowest(losses, wanted)
    tier = tiers(losses, violation)
    feasible = tier == Tier.FEASIBLE
    key, spread = np.zeros(n), np.zeros(n)
    if losses.ndim == 1:
        key = np.where(tier == Tier.UNDEFINED, 0.0, losses)
    else:
        _by_front(losses, np.flatnonzero(feasible), key, spread)
    excess = np.where(tier == Tier.BREAKING, violation if violation is not None else 0.0, 0.0)
    less_data = np.zeros(n) if budget is None else -budget
    return np.lexsort((np.arange(n), spread, key, excess, less_data, tier))[:wanted]


def _by_front(losses: Floats, members: Ints, key: Floats, spread: Floats) -> None:
    from arbd.search.pareto import crowding, front_numbers  # noqa: PLC0415 - only for several objectives

    fronts = front_numbers(losses[members])
    key[members] = fronts
    for front in np.unique(fronts):
        same = members[fronts == front]
        spread[same] = -crowding(losses[same])


def _lowest(losses: Floats, wanted: int) -> Ints:
    """`best_first` of one objective alone: what is surely not among the wanted is not sorted."""
    left = np.arange(len(losses))
    keys = losses
    for step in (max(1, len(keys) // SAMPLE_ROWS), 1):
        some = keys[::step]
        if wanted < len(some):
            near = np.flatnonzero(~(keys > np.partition(some, wanted)[wanted]))
            left, keys = left[near], keys[near]
    return left[np.argsort(keys, kind="stable")[:wanted]]


def front(losses: Floats, violation: Floats | None = None, budget: Floats | None = None) -> Mask:
    """Which results are in the Pareto front: comparable, and dominated by no other one. Of equal points all are."""
    from arbd.search.pareto import pareto_mask  # noqa: PLC0415 - only for several objectives

    mask = comparable(losses, violation, budget)
    members = np.flatnonzero(mask)
    mask[members] = pareto_mask(losses[members])
    return mask


def improvements(losses: Floats, min_delta: float = 0.0) -> Ints:
    """Positions of the results that were better than all before them: what equals an earlier one improves nothing.

    With `min_delta`, of one objective, better by more than that than the last that counts, so that small steps add up.
    With several objectives a result improves when none before it dominates or equals it. NaN improves nothing.
    """
    known = np.flatnonzero(~undefined(losses))
    if losses.ndim == 1 or losses.shape[1] == 1:
        values = losses.reshape(len(losses))[known]
        if min_delta:
            return known[_steps(values, min_delta)]
        before = np.minimum.accumulate(values)[:-1]
        return known[np.concatenate([[True], values[1:] < before])] if len(values) else known
    assert not min_delta, "for one objective"
    best = np.empty((0, losses.shape[1]))
    found: list[int] = []
    for position in known.tolist():
        point = losses[position]
        if not (best <= point).all(axis=1).any():
            best = np.concatenate([best[~(point <= best).all(axis=1)], point[None, :]])
            found.append(position)
    return np.array(found, dtype=np.int64)


def _steps(values: Floats, min_delta: float) -> Ints:
    """Positions at which the lowest value falls by more than `min_delta` below the last such one."""
    found: list[int] = []
    at, last = 0, np.inf
    while at < len(values):
        below = np.flatnonzero(values[at:] < last - min_delta) if np.isfinite(last) else np.array([0])
        if not len(below):
            break
        at += int(below[0])
        found.append(at)
        last = values[at]
        at += 1
    return np.array(found, dtype=np.int64)
