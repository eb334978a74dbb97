"""What a Sharpe ratio is worth: after its own uncertainty, after the number of trials, after the length of the track.

All Sharpe ratios are per step (mean / standard deviation of the returns of one step), never annualised: an annualised
one in these formulas makes everything look certain. Kurtosis is not in excess: 3 for a normal distribution. The form
is the classic one, with the observed ratio in its own variance and n - 1 (Bailey and López de Prado 2012, 2014).

Sources: Bailey, López de Prado, "The Sharpe Ratio Efficient Frontier", J. Risk 15(2), 2012 (SSRN 1821643); "The
Deflated Sharpe Ratio", J. Portfolio Management 40(5), 2014 (SSRN 2460551); Bailey, Borwein, López de Prado, Zhu,
"Pseudo-Mathematics and Financial Charlatanism", Notices of the AMS 61(5), 2014.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from arbd.errors import NotComputableError, UsageError

EULER_GAMMA = 0.57721566490153286
_NORMAL = NormalDist()


def probabilistic_sharpe_ratio(
    sr: float, n: float, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio is above `benchmark`, given `sr` seen over `n` steps.

    `sr` and `benchmark` are per step; `skew` and `kurtosis` (3 is normal) are those of the returns of the steps.
    NotComputableError with fewer than 2 steps, or where the moments leave the ratio without any uncertainty.
    """
    _finite(sr=sr, benchmark=benchmark)
    if n < 2:
        raise NotComputableError(f"the uncertainty of a Sharpe ratio takes at least 2 steps; there are {n:g}")
    return _NORMAL.cdf((sr - benchmark) * math.sqrt(n - 1) / math.sqrt(_variance(sr, skew, kurtosis)))


def expected_max_sharpe(n_trials: float, sd: float = 1.0) -> float:
    """The best Sharpe ratio to expect of `n_trials` independent trials without any skill: the line of luck.

    `sd` is the standard deviation of the Sharpe ratios over the trials, in whose unit the answer is. An approximation
    for large numbers; one trial (or less than the approximation reaches) gives 0, which is what one draw is expected
    to be.
    """
    _finite(n_trials=n_trials, sd=sd)
    if n_trials < 1:
        raise NotComputableError(f"the best of {n_trials:g} trials does not exist; it takes at least 1")
    if sd < 0:
        raise UsageError(f"a standard deviation of {sd:g} is negative")
    if n_trials == 1:
        return 0.0
    usual = _NORMAL.inv_cdf(1 - 1 / n_trials)
    far = _NORMAL.inv_cdf(1 - 1 / (n_trials * math.e))
    return sd * max(0.0, (1 - EULER_GAMMA) * usual + EULER_GAMMA * far)


def deflated_sharpe_ratio(
    sr: float, n: float, n_trials: float, sd_trials: float, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the best of `n_trials` has skill: its probabilistic Sharpe ratio above the line of luck.

    `sr`, seen over `n` steps, and `sd_trials`, the standard deviation of the trials' ratios, are per step.
    NotComputableError as for the parts.
    """
    return probabilistic_sharpe_ratio(sr, n, skew, kurtosis, expected_max_sharpe(n_trials, sd_trials))


def min_track_record_length(
    sr: float, benchmark: float = 0.0, confidence: float = 0.95, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Number of steps after which `sr` (per step) would be above `benchmark` with this confidence.

    NotComputableError where the ratio is not above the benchmark: no length of track would show that it is.
    """
    _finite(sr=sr, benchmark=benchmark)
    if not 0.5 <= confidence < 1:
        raise UsageError(f"a confidence of {confidence:g}; expected at least 0.5 and below 1")
    if sr <= benchmark:
        raise NotComputableError(
            f"the Sharpe ratio, {sr:.4g} per step, is not above {benchmark:.4g}: no length of track would show that it is"
        )
    return 1 + _variance(sr, skew, kurtosis) * (_NORMAL.inv_cdf(confidence) / (sr - benchmark)) ** 2


def min_backtest_length(n_trials: float, target_sr: float) -> float:
    """Years of data below which `n_trials` without skill are expected to give `target_sr` (annualised) by luck."""
    _finite(target_sr=target_sr)
    if target_sr <= 0:
        raise UsageError(f"a target Sharpe ratio of {target_sr:g}; expected one above 0")
    return (expected_max_sharpe(n_trials) / target_sr) ** 2


def _variance(sr: float, skew: float, kurtosis: float) -> float:
    """(n - 1) times the variance of a Sharpe ratio, from the moments of the returns."""
    _finite(skew=skew, kurtosis=kurtosis)
    # Rounding of moments that were printed or computed is allowed for.
    if kurtosis < (1 + skew * skew) * (1 - 1e-9):
        raise UsageError(
            f"no distribution has skewness {skew:g} and kurtosis {kurtosis:g} "
            "(kurtosis is not in excess: 3 is normal, and it is never below 1 + skewness squared)"
        )
    variance = 1 - skew * sr + (kurtosis - 1) / 4 * sr * sr
    if variance <= 0:
        raise NotComputableError(
            f"returns of skewness {skew:g} and kurtosis {kurtosis:g} give the Sharpe ratio {sr:g} no uncertainty"
        )
    return variance


def _finite(**numbers: float) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise NotComputableError(f"{name} is {number}, not a finite number")
