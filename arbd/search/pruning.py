"""Pruning: an iteration whose intermediate values are no match for those of earlier ones ends before its time.

Keeps I5: what an iteration is compared with are the intermediate values of the results that its generation was suggested
from, which are a function of the job, and which are published with the generation. How far others are meanwhile decides
nothing. So who is pruned, and at which step, is the same on one slot and on many hosts, after kills and with stragglers.

The rules are those of Optuna's pruners (Akiba et al. 2019) and of Golovin et al. (2017, median stopping): the best value
so far is compared with a percentile of what completed iterations reported at the same step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from arbd.arrays import Floats, Ints, np
from arbd.values import dataclass

Report = tuple[int, float]

MEDIAN, PERCENTILE, PATIENT = "median", "percentile", "patient"
# Intermediate values that are kept of an iteration; of more, every second, every fourth and so on, and the last one.
MAX_REPORTS = 1_000
MAX_STEP = 2**53
# So many completed iterations, the newest ones that are known, say what is usual at a step.
MAX_COMPARED = 4_096


@dataclass(frozen=True, slots=True)
class PruneRules:
    """When an iteration is pruned.

    `percentile`: kept are those whose best value so far is in the best so many percent of what completed iterations had at
    the step (50 is `rule: median`). `startup_trials` iterations have to be completed before anything is compared, `min_trials` of them with
    a value at the step, and steps before `warmup_steps` are not looked at. `patience`: only after so many steps
    without an improvement of more than `min_delta`; `rule: patient` asks for nothing else.
    """

    rule: str = MEDIAN
    percentile: float = 50.0
    startup_trials: int = 5
    min_trials: int = 1
    warmup_steps: int = 0
    patience: int = 0
    min_delta: float = 0.0

    @property
    def compares(self) -> bool:
        """True when an iteration is compared with others."""
        return self.rule != PATIENT

    def to_plain(self) -> dict[str, Any]:
        """For msgpack."""
        return {
            "rule": self.rule,
            "percentile": self.percentile,
            "startup_trials": self.startup_trials,
            "min_trials": self.min_trials,
            "warmup_steps": self.warmup_steps,
            "patience": self.patience,
            "min_delta": self.min_delta,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """At each of `steps`, which grow, the loss that the best so far must not exceed; lower is better."""

    steps: Ints
    losses: Floats

    @classmethod
    def none(cls) -> Thresholds:
        """Nothing is known yet."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0))

    def at(self, step: int) -> float:
        """NaN where nobody can say."""
        place = int(np.searchsorted(self.steps, step))
        there = place < len(self.steps) and self.steps[place] == step
        return float(self.losses[place]) if there else float("nan")

    def to_plain(self) -> list[bytes]:
        """For msgpack."""
        return [self.steps.astype("<i8").tobytes(), self.losses.astype("<f8").tobytes()]

    @classmethod
    def of_plain(cls, steps: bytes, losses: bytes) -> Thresholds:
        """What `to_plain` made; ValueError when it is none."""
        found = cls(np.frombuffer(steps, "<i8"), np.frombuffer(losses, "<f8"))
        if len(found.steps) != len(found.losses) or np.any(np.diff(found.steps) <= 0):
            raise ValueError("thresholds of pruning that do not belong to growing steps")
        return found


class ThresholdSource(Protocol):
    """Knows what the intermediate values of each iteration are compared with."""

    def thresholds(self, iteration: int) -> Thresholds:
        """Of one iteration."""
        ...


@dataclass(slots=True)
class Reported:
    """The intermediate values of an iteration, in the order in which they came: `MAX_REPORTS` of them at most."""

    _kept: list[Report] = field(default_factory=list)
    _every: int = 1
    _count: int = 0
    _last: Report | None = None

    def add(self, step: int, value: float) -> None:
        """One more."""
        self._last = step, value
        if self._count % self._every == 0:
            if len(self._kept) == MAX_REPORTS - 1:
                self._kept = self._kept[::2]
                self._every *= 2
            if self._count % self._every == 0:
                self._kept.append(self._last)
        self._count += 1

    def values(self) -> list[Report]:
        """What is kept; the last one always is."""
        is_last_kept = (self._count - 1) % self._every == 0
        return self._kept if self._last is None or is_last_kept else [*self._kept, self._last]


class Pruner:
    """Looks at the intermediate values of one iteration, one after the other. `sign` makes losses of them."""

    def __init__(self, rules: PruneRules, sign: float, thresholds: Thresholds) -> None:
        self._rules = rules
        self._sign = sign
        self._thresholds = thresholds
        self._best = self._before = float("nan")
        self._recent: deque[float] = deque()

    def restarted(self) -> Pruner:
        """For another attempt at the same iteration."""
        return Pruner(self._rules, self._sign, self._thresholds)

    def look(self, step: int, value: float) -> str:
        """Why the iteration is pruned at this step; '' when it is to go on."""
        rules, loss = self._rules, self._sign * value
        self._best = float(np.fmin(self._best, loss))
        no_improvement = self._no_improvement(loss) if rules.patience else True
        if step < rules.warmup_steps or not no_improvement:
            return ""
        since = f"no improvement in {rules.patience} steps" if rules.patience else ""
        if not rules.compares:
            return f"pruned at step {step}: {since}"
        threshold = self._thresholds.at(step)
        if np.isnan(threshold) or self._best <= threshold:
            return ""
        best, usual = self._sign * self._best, self._sign * threshold
        rule = "the median" if rules.rule == MEDIAN else f"which the best {rules.percentile:g} % had"
        return f"pruned at step {step}: {best:.6g} is worse than {usual:.6g}, {rule}" + (since and f"; {since}")

    def _no_improvement(self, loss: float) -> bool:
        """True when the last `patience` + 1 values are no better than the best one before them."""
        self._recent.append(loss)
        if len(self._recent) <= self._rules.patience + 1:
            return False
        self._before = float(np.fmin(self._before, self._recent.popleft()))
        return bool(self._before + self._rules.min_delta < np.fmin.reduce(list(self._recent)))


class ReportedHistory:
    """What iterations of a search reported, as far as it is known. `sign` makes losses of the values."""

    def __init__(self, rules: PruneRules, sign: float) -> None:
        self._rules = rules
        self._sign = sign
        self._completed: dict[int, tuple[Ints, Floats]] = {}

    def learn(self, iteration: int, reports: Sequence[Report] | None) -> None:
        """The values of an iteration; None when it is not completed, whatever it was taken for before."""
        if reports:
            # Of several values at a step the first one counts.
            by_step = dict(reversed(reports))
            steps = np.array(sorted(by_step), dtype=np.int64)
            values = np.array([by_step[step] for step in steps.tolist()], dtype=np.float64)
            self._completed[iteration] = steps, self._sign * values
        elif reports is None:
            self._completed.pop(iteration, None)
        else:
            self._completed[iteration] = np.empty(0, dtype=np.int64), np.empty(0)

    def thresholds(self, up_to: int) -> Thresholds:
        """From the completed ones of iterations 1 to `up_to`; later calls are for as many or more."""
        known = sorted(iteration for iteration in self._completed if iteration <= up_to)
        for iteration in known[:-MAX_COMPARED]:
            del self._completed[iteration]
        compared = [self._completed[iteration] for iteration in known[-MAX_COMPARED:]]
        if not self._rules.compares or len(compared) < max(1, self._rules.startup_trials):
            return Thresholds.none()
        return thresholds_of(compared, self._rules)


def thresholds_of(compared: Sequence[tuple[Ints, Floats]], rules: PruneRules) -> Thresholds:
    """The percentile at each step of the losses of several iterations; NaN among them is no value."""
    steps = np.concatenate([steps for steps, _ in compared])
    losses = np.concatenate([losses for _, losses in compared])
    there = ~np.isnan(losses)
    steps, losses = steps[there], losses[there]
    order = np.lexsort((losses, steps))
    steps, losses = steps[order], losses[order]
    each, first, count = np.unique(steps, return_index=True, return_counts=True)
    # Between two values it is interpolated, as NumPy's percentile does.
    place = rules.percentile / 100 * (count - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, count - 1)
    below, above = losses[first + low], losses[first + high]
    share = place - low
    with np.errstate(invalid="ignore"):
        between = below + share * (above - below)
    # An infinite neighbour that has no part in it does not count.
    found = np.where((share == 0) | (below == above), below, between)
    enough = (count >= rules.min_trials) & (each >= rules.warmup_steps)
    return Thresholds(each[enough].astype(np.int64), found[enough])


def last_losses(reports: Mapping[int, Sequence[Report]], iterations: Sequence[int], sign: float) -> Floats:
    """The last value of each iteration as a loss, NaN where it reported none."""
    found = (reports.get(iteration) for iteration in iterations)
    return np.array([sign * steps[-1][1] if steps else np.nan for steps in found], dtype=np.float64)


def learnt_from(losses: Floats, reported: Floats) -> Floats:
    """Losses that a search learns from: `losses` (NaN where nothing completed), and of what was pruned its last value.

    Bounded by what completed: what was pruned is no better than the median, whatever it reported in the middle, and
    no worse than the worst, as an early step may be measured on another scale.
    """
    finite = losses[np.isfinite(losses)]
    pruned = np.isnan(losses) & ~np.isnan(reported)
    if not len(finite) or not pruned.any():
        return losses
    return np.where(pruned, np.clip(reported, np.median(finite), finite.max()), losses)
