"""Skill or luck: pure functions on arrays that say what the best of many trials is worth. Needs numpy alone.

`returns` is always (n_steps, n_trials): what each trial earned in each step, as a share of capital. Where a statistic
takes block sums instead, `s` and `q` are (n_trials, n_blocks), the sums of returns and of their squares over blocks of
steps, and `counts` (n_blocks,) the steps of each. A statistic that cannot be computed raises `NotComputableError`,
whose message is the reason; none ever answers with a zero or a NaN in place of one.
"""

from arbd.errors import NotComputableError
from arbd.validation.folds import CombinatorialFolds, Fold, Window, combinatorial_purged, walk_forward
from arbd.validation.out_of_sample import OutOfSample, combined_p, null_p, out_of_sample, rank_correlation
from arbd.validation.overfitting import Overfitting, overfitting_error, probability_of_backtest_overfitting
from arbd.validation.robustness import Plateau, plateau, plateau_optimum
from arbd.validation.sharpe import (
    deflated_sharpe_ratio,
    expected_max_sharpe,
    min_backtest_length,
    min_track_record_length,
    probabilistic_sharpe_ratio,
)
from arbd.validation.superior import Superiority, step_m, superior_predictive_ability
from arbd.validation.surrogate import surrogate, surrogate_walk
from arbd.validation.trials import effective_trials

__all__ = [
    "CombinatorialFolds",
    "Fold",
    "NotComputableError",
    "OutOfSample",
    "Overfitting",
    "Plateau",
    "Superiority",
    "Window",
    "combinatorial_purged",
    "combined_p",
    "deflated_sharpe_ratio",
    "effective_trials",
    "expected_max_sharpe",
    "min_backtest_length",
    "min_track_record_length",
    "null_p",
    "out_of_sample",
    "overfitting_error",
    "plateau",
    "plateau_optimum",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "rank_correlation",
    "step_m",
    "superior_predictive_ability",
    "surrogate",
    "surrogate_walk",
    "walk_forward",
]
