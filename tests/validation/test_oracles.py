"""Other people's implementations agree where they compute the same. They are heavy: skipped where not installed."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from arbd.validation import (
    combinatorial_purged,
    deflated_sharpe_ratio,
    expected_max_sharpe,
    probabilistic_sharpe_ratio,
    superior_predictive_ability,
    walk_forward,
)


def _import(name: str) -> Any:
    """A module whose own import may warn of what is no concern of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def _ratio(returns: npt.NDArray[np.float64]) -> tuple[float, int, float, float]:
    z = (returns - returns.mean()) / returns.std()
    return float(returns.mean() / returns.std(ddof=1)), len(returns), float((z**3).mean()), float((z**4).mean())


@pytest.mark.parametrize("seed", range(5))
def test_sharpe_statistics_are_those_of_skfolio(seed: int) -> None:
    measures = _import("skfolio.measures")
    table = np.random.default_rng(seed).standard_t(5, (400, 30)) * 0.01 + 0.0005
    ratios = table.mean(axis=0) / table.std(axis=0, ddof=1)
    best = table[:, int(ratios.argmax())]
    sr, n, skew, kurtosis = _ratio(best)
    ours = probabilistic_sharpe_ratio(sr, n, skew, kurtosis, 0.02)
    assert ours == pytest.approx(measures.probabilistic_sharpe_ratio(best, benchmark_sharpe_ratio=0.02), abs=1e-12)
    spread = float(ratios.std(ddof=1))
    assert expected_max_sharpe(30, spread) == pytest.approx(measures.expected_max_sharpe_ratio(30, spread), abs=1e-12)
    ours = deflated_sharpe_ratio(sr, n, 30, spread, skew, kurtosis)
    assert ours == pytest.approx(measures.deflated_sharpe_ratio(best, ratios), abs=1e-12)


@pytest.mark.parametrize(
    ("train", "test", "purge", "anchored"), [(40, 10, 0, False), (40, 10, 3, False), (30, 7, 2, True)]
)
def test_walk_forward_folds_are_those_of_skfolio(train: int, test: int, purge: int, anchored: bool) -> None:
    selection = _import("skfolio.model_selection")
    # There, the purge lies between the training rows and the test, here it is taken off the training window.
    theirs = selection.WalkForward(test_size=test, train_size=train - purge, purged_size=purge, expand_train=anchored)
    at = np.arange(120)
    expected = [(list(a), list(b)) for a, b in theirs.split(np.zeros((120, 1)))]
    folds = walk_forward(0, 120, train, test, anchored=anchored, purge=purge)
    assert [(list(at[f.train_rows(at)]), list(at[f.test_rows(at)])) for f in folds] == expected


@pytest.mark.parametrize(
    ("groups", "tests", "purge", "embargo"), [(6, 2, 0, 0), (6, 2, 3, 0), (5, 3, 2, 4), (10, 8, 1, 0)]
)
def test_combinatorial_folds_are_those_of_skfolio(groups: int, tests: int, purge: int, embargo: int) -> None:
    selection = _import("skfolio.model_selection")
    theirs = selection.CombinatorialPurgedCV(
        n_folds=groups, n_test_folds=tests, purged_size=purge, embargo_size=embargo
    )
    at = np.arange(120)
    # There, the purge counts on both sides of a test and the embargo comes on top of it.
    ours = combinatorial_purged(0, 120, groups, tests, purge=purge, embargo=purge + embargo)
    expected = {(tuple(a), tuple(np.concatenate(b))) for a, b in theirs.split(np.zeros((120, 1)))}
    assert {(tuple(at[f.train_rows(at)]), tuple(at[f.test_rows(at)])) for f in ours.folds} == expected
    assert len(ours.paths) == theirs.n_test_paths


@pytest.mark.parametrize("seed", range(4))
def test_p_values_without_studentising_are_those_of_arch(seed: int) -> None:
    bootstrap = _import("arch.bootstrap")
    returns = np.random.default_rng(seed).normal(0, 0.01, (300, 12)) * np.linspace(0.5, 2, 12) + 0.0004 * seed
    theirs = bootstrap.SPA(np.zeros(300), -returns, block_size=10, reps=3000, seed=seed)
    theirs.compute()
    ours = superior_predictive_ability(returns, 10, 3000, studentise=False)
    expected = [theirs.pvalues[name] for name in ("lower", "consistent", "upper")]
    assert [ours.p_lower, ours.p_consistent, ours.p_upper] == pytest.approx(expected, abs=0.03)


def test_the_package_needs_numpy_alone() -> None:
    import subprocess

    code = "import sys, arbd.validation; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    heavy = ["scipy", "numba", "pandas", "msgpack", "yaml", "pydantic", "duckdb"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
