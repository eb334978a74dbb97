"""Is the best of many trials better than doing nothing? Tests that know how many were tried, and how alike they are.

Superior predictive ability: Hansen, "A Test for Superior Predictive Ability", J. Business & Economic Statistics 23(4),
2005; without the studentising it is the reality check of White, Econometrica 68(5), 2000. StepM: Romano and Wolf,
"Stepwise Multiple Testing as Formalized Data Snooping", Econometrica 73(4), 2005. All resample time by the stationary
bootstrap of Politis and Romano, J. American Statistical Association 89, 1994, the same times for all trials.

Where trials are studentised, each resample is by its own deviation too (as in the bootstrap-t; Hansen keeps that of the
data): of many trials on few steps, the best is one whose deviation came out small, and the resamples must know that.
On 64 steps and 500 trials of noise, Hansen's form rejects at 5 % three times too often, this one not.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from arbd.errors import NotComputableError, UsageError
from arbd.validation.blocks import FloatArray, IntArray, checked_returns
from arbd.values import dataclass

MIN_STEPS = 8
# A trial with returns in fewer steps would be missing from many a resample, and its deviation with it.
MIN_ACTIVE_STEPS = 10
# The least that a resample's variance counts for, as a share of that of the data.
LEAST_VARIANCE = 0.1
# Numbers that are held at a time in one array: 64 MiB.
CELLS = 1 << 23


@dataclass(frozen=True, slots=True)
class Superiority:
    """p-values of "no trial has a mean above 0", by what is assumed of the trials that did badly.

    `p_lower` leaves them all out, `p_upper` takes them for as good as doing nothing (White), `p_consistent` leaves out
    those that are clearly bad (Hansen); p_lower <= p_consistent <= p_upper. `statistic` is sqrt(n_steps) * mean /
    deviation (without the division where not studentised), at least 0, of `trial`: the greatest, or the one asked for.
    `critical` is what it would have to exceed for p_consistent to be at most `level`, `critical_upper` for p_upper;
    `tested` is how many trials had returns in enough steps to be compared, `reps` how many resamples were made.
    """

    p_lower: float
    p_consistent: float
    p_upper: float
    statistic: float
    trial: int
    tested: int
    critical: float
    critical_upper: float
    level: float
    reps: int


def superior_predictive_ability(
    returns: npt.ArrayLike,
    block: float = 10.0,
    reps: int = 2000,
    seed: int = 1,
    *,
    trial: int | None = None,
    level: float = 0.05,
    studentise: bool = True,
) -> Superiority:
    """Hansen's test on `returns` (n_steps, n_trials), each in excess of its benchmark (doing nothing: 0).

    `block` is the mean length in steps of what the bootstrap keeps together: longer than positions are held. Sums over
    blocks of steps, transposed, may be given as returns; then `block` is in those. With `trial`, the p-values are those
    of that trial among all: how often the best of as many without skill does as well. A p-value is (1 + resamples that
    reach the statistic) / (1 + `reps`), so it is never 0. Trials with returns other than 0 in fewer than 10 steps are
    left out where studentised. NotComputableError with fewer than 8 steps, or where no trial (or not the one asked
    for) can be compared.
    """
    _check_level(level)
    data = _prepared(returns, block, studentise)
    chosen = int(data.scores.argmax()) if trial is None else data.position(trial)
    statistic = max(0.0, float(data.scores[chosen]))
    # In the unit of the scores, a mean of -1 deviation is -1 only where they are studentised.
    line = -math.sqrt(2 * math.log(math.log(data.n_steps))) * data.unit
    centres = np.stack([np.maximum(data.scores, 0.0), np.where(data.scores < line, 0.0, data.scores), data.scores])
    greatest = np.maximum(data.resampled_greatest(centres, block, reps, seed), 0.0)
    lower, consistent, upper = ((1 + (greatest >= statistic).sum(axis=0)) / (1 + reps)).tolist()
    at = max(0, math.ceil((1 - level) * (1 + reps)) - 1)
    critical, critical_upper = np.sort(greatest[:, 1:], axis=0)[at].tolist() if at < reps else (math.inf, math.inf)
    number, tested = int(data.trials[chosen]), len(data.trials)
    return Superiority(lower, consistent, upper, statistic, number, tested, critical, critical_upper, level, reps)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"a level of {level:g}; expected one between 0 and 1")


def step_m(
    returns: npt.ArrayLike, level: float = 0.05, block: float = 10.0, reps: int = 2000, seed: int = 1
) -> IntArray:
    """The trials with a mean above 0, by number, such that any of them is wrong with probability `level` at most.

    Arguments and errors as for `superior_predictive_ability`. An empty answer means that none can be told from luck.
    """
    _check_level(level)
    data = _prepared(returns, block, studentise=True)
    found = np.zeros(len(data.trials), dtype=np.bool_)
    while not found.all():
        rest = data.only(~found)
        greatest = rest.resampled_greatest(rest.scores[None, :], block, reps, seed)[:, 0]
        more = ~found & (data.scores > np.quantile(greatest, 1 - level, method="higher"))
        if not more.any():
            break
        found |= more
    return data.trials[found]


def stationary_bootstrap(n_steps: int, block: float, reps: int, rng: np.random.Generator) -> IntArray:
    """How often each resample of the stationary bootstrap has each step, (reps, n_steps); times go round at the end."""
    fresh = rng.random((n_steps, reps)) < 1 / block
    starts = rng.integers(0, n_steps, (n_steps, reps))
    fresh[0] = True
    at = np.zeros(reps, dtype=np.int64)
    counts = np.zeros((reps, n_steps), dtype=np.int64)
    every = np.arange(reps)
    for is_start, start in zip(fresh, starts, strict=True):
        at = np.where(is_start, start, (at + 1) % n_steps)
        counts[every, at] += 1
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """Trials that can be compared, by number, in the unit of their scores.

    `table` (n_steps, n) has their returns such that its means are the `scores` (n,): sqrt(n_steps) * mean, over the
    deviation where `studentised`. `unit` (n,) is what the deviation of a score is.
    """

    table: FloatArray
    trials: IntArray
    scores: FloatArray
    unit: FloatArray
    studentised: bool

    @property
    def n_steps(self) -> int:
        return len(self.table)

    def position(self, trial: int) -> int:
        """Where a trial is among these."""
        at = int(np.searchsorted(self.trials, trial))
        if at == len(self.trials) or self.trials[at] != trial:
            raise NotComputableError(
                f"trial {trial} has no returns, or in fewer than {MIN_ACTIVE_STEPS} of {self.n_steps} steps or blocks"
            )
        return at

    def only(self, chosen: npt.NDArray[np.bool_]) -> _Prepared:
        return replace(
            self, table=self.table[:, chosen], trials=self.trials[chosen], scores=self.scores[chosen],
            unit=self.unit[chosen],
        )  # fmt: skip

    def resampled_greatest(self, centres: FloatArray, block: float, reps: int, seed: int) -> FloatArray:
        """The greatest score of each resample after taking off each of the `centres` (k, n): (reps, k).

        The times that are drawn depend on the other arguments alone, not on the trials.
        """
        rng = np.random.default_rng(seed)
        greatest = np.full((reps, len(centres)), -np.inf)
        some = max(1, min(reps, 256, CELLS // self.n_steps))
        wide = max(1, CELLS // max(some, self.n_steps))
        for start in range(0, reps, some):
            out = greatest[start : start + some]
            weights = stationary_bootstrap(self.n_steps, block, len(out), rng) / self.n_steps
            for first in range(0, self.table.shape[1], wide):
                part = self.table[:, first : first + wide]
                scores = weights @ part
                by = self._deviations(weights, part, scores)
                for which, centre in enumerate(centres):
                    found = (scores - centre[first : first + wide]) * by
                    np.maximum(out[:, which], found.max(axis=1), out=out[:, which])
        return greatest

    def _deviations(self, weights: FloatArray, part: FloatArray, means: FloatArray) -> FloatArray | float:
        """By what to multiply the resamples' scores: deviation of the data over that of the resample."""
        if not self.studentised:
            return 1.0
        variance = part.var(axis=0)
        resampled = weights @ (part * part)
        resampled -= means * means
        resampled /= variance
        np.maximum(resampled, LEAST_VARIANCE, out=resampled)
        np.sqrt(resampled, out=resampled)
        return np.divide(1.0, resampled, out=resampled)


def _prepared(returns: npt.ArrayLike, block: float, studentise: bool) -> _Prepared:
    table = checked_returns(returns)
    n, n_trials = table.shape
    if n_trials < 1:
        raise NotComputableError("there is no trial to test")
    if n < MIN_STEPS:
        raise NotComputableError(f"resampling time takes at least {MIN_STEPS} steps; there are {n}")
    if not 1 <= block <= n:
        raise UsageError(f"a mean block of {block:g} steps; expected 1 to the number of steps, {n}")
    deviation = bootstrap_deviation(table, block)
    comparable = deviation > 1e-12 * np.abs(table).max(axis=0)
    if not comparable.any():
        raise NotComputableError(f"the returns of all {n_trials} trials are without any spread")
    if studentise:
        comparable &= np.count_nonzero(table, axis=0) >= MIN_ACTIVE_STEPS
    trials = np.flatnonzero(comparable)
    if not len(trials):
        raise NotComputableError(
            f"none of {n_trials} trials has returns in at least {MIN_ACTIVE_STEPS} steps or blocks"
        )
    scale = deviation[trials] if studentise else np.ones(len(trials))
    scaled = np.ascontiguousarray(table[:, trials]) * (math.sqrt(n) / scale)
    return _Prepared(scaled, trials, scaled.mean(axis=0), deviation[trials] / scale, studentise)


def bootstrap_deviation(returns: FloatArray, block: float) -> FloatArray:
    """Standard deviation of sqrt(n_steps) * mean under the stationary bootstrap, exact, per trial: (n_trials,)."""
    n, n_trials = returns.shape
    lag = np.arange(n)
    kept = (1 - lag / n) * (1 - 1 / block) ** lag
    kept[1:] *= 2
    deviation = np.empty(n_trials)
    some = max(1, CELLS // (4 * n))
    for start in range(0, n_trials, some):
        part = returns[:, start : start + some]
        # Squared frequencies are the covariances around the circle, by Wiener and Khinchin.
        power = np.abs(np.fft.rfft(part - part.mean(axis=0), axis=0)) ** 2
        covariance = np.fft.irfft(power, n, axis=0) / n
        deviation[start : start + some] = np.sqrt(np.maximum(kept @ covariance, 0.0))
    return deviation
