"""Other people's implementations agree where they compute the same. They are heavy: skipped where not installed."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import NotComputableError
from arbd.validation import (
    combinatorial_purged,
    deflated_sharpe_ratio,
    expected_max_sharpe,
    probabilistic_sharpe_ratio,
    step_m,
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


def _noise(kind: str, seed: int, steps: int, trials: int) -> npt.NDArray[np.float64]:
    """Returns without an edge, (steps, trials): plain, skewed, with fat tails, or that hang together over time."""
    rng = np.random.default_rng([seed, len(kind)])
    noise = rng.standard_normal((steps, trials))
    if kind == "skewed to the right":
        return np.asarray(np.exp(noise) - np.exp(0.5))
    if kind == "skewed to the left":
        return np.asarray(np.exp(0.5) - np.exp(noise))
    if kind == "fat tails":
        return rng.standard_t(3, (steps, trials))
    if kind == "autocorrelated":
        for step in range(1, steps):
            noise[step] += 0.6 * noise[step - 1]
    return noise


KINDS = ["plain", "skewed to the right", "skewed to the left", "fat tails", "autocorrelated"]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), steps=st.integers(3, 400), edge=st.floats(-0.5, 0.5))
@settings(max_examples=20, deadline=None)
def test_sharpe_statistics_are_those_of_skfolio(kind: str, seed: int, steps: int, edge: float) -> None:
    measures = _import("skfolio.measures")
    table = (_noise(kind, seed, steps, 30) + edge) * 0.01
    ratios = table.mean(axis=0) / table.std(axis=0, ddof=1)
    best = table[:, int(ratios.argmax())]
    sr, n, skew, kurtosis = _ratio(best)
    ours = probabilistic_sharpe_ratio(sr, n, skew, kurtosis, 0.02)
    assert ours == pytest.approx(measures.probabilistic_sharpe_ratio(best, benchmark_sharpe_ratio=0.02), abs=1e-12)
    spread = float(ratios.std(ddof=1))
    assert expected_max_sharpe(30, spread) == pytest.approx(measures.expected_max_sharpe_ratio(30, spread), abs=1e-12)
    ours = deflated_sharpe_ratio(sr, n, 30, spread, skew, kurtosis)
    assert ours == pytest.approx(measures.deflated_sharpe_ratio(best, ratios), abs=1e-12)


@given(train=st.integers(12, 60), test=st.integers(1, 40), purge=st.integers(0, 11), anchored=st.booleans())
@settings(deadline=None)
def test_walk_forward_folds_are_those_of_skfolio(train: int, test: int, purge: int, anchored: bool) -> None:
    selection = _import("skfolio.model_selection")
    # There, the purge lies between the training rows and the test, here it is taken off the training window.
    theirs = selection.WalkForward(test_size=test, train_size=train - purge, purged_size=purge, expand_train=anchored)
    at = np.arange(120)
    expected = [(list(a), list(b)) for a, b in theirs.split(np.zeros((120, 1)))]
    folds = walk_forward(0, 120, train, test, anchored=anchored, purge=purge)
    assert [(list(at[f.train_rows(at)]), list(at[f.test_rows(at)])) for f in folds] == expected


@given(groups=st.sampled_from([4, 5, 6, 8, 10]), data=st.data(), purge=st.integers(0, 4), embargo=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_combinatorial_folds_are_those_of_skfolio(groups: int, data: st.DataObject, purge: int, embargo: int) -> None:
    tests = data.draw(st.integers(2, groups - 1))
    selection = _import("skfolio.model_selection")
    theirs = selection.CombinatorialPurgedCV(
        n_folds=groups, n_test_folds=tests, purged_size=purge, embargo_size=embargo
    )
    at = np.arange(120)
    expected = {(tuple(a), tuple(np.concatenate(b))) for a, b in theirs.split(np.zeros((120, 1)))}
    # There, the purge counts on both sides of a test and the embargo comes on top of it.
    split = partial(combinatorial_purged, 0, 120, groups, tests, purge=purge, embargo=purge + embargo)
    if not all(train for train, _ in expected):
        with pytest.raises(NotComputableError, match="leave nothing to train on"):
            split()
        return
    ours = split()
    assert {(tuple(at[f.train_rows(at)]), tuple(at[f.test_rows(at)])) for f in ours.folds} == expected
    assert len(ours.paths) == theirs.n_test_paths


@pytest.mark.parametrize("kind", KINDS)
def test_p_values_without_studentising_are_those_of_arch(kind: str) -> None:
    bootstrap = _import("arch.bootstrap")
    seed = KINDS.index(kind)
    returns = _noise(kind, seed, 300, 12) * 0.01 * np.linspace(0.5, 2, 12) + 0.0004 * seed
    theirs = bootstrap.SPA(np.zeros(300), -returns, block_size=10, reps=3000, seed=seed)
    theirs.compute()
    ours = superior_predictive_ability(returns, 10, 3000, studentise=False)
    expected = [theirs.pvalues[name] for name in ("lower", "consistent", "upper")]
    assert [ours.p_lower, ours.p_consistent, ours.p_upper] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_trials_with_a_clear_edge_are_those_of_arch(kind: str) -> None:
    """There without studentising, so that it is the same where all deviate alike and the edge leaves no doubt."""
    bootstrap = _import("arch.bootstrap")
    returns = _noise(kind, 7, 400, 10)
    returns = (returns - returns.mean(axis=0)) / returns.std(axis=0) * 0.01
    returns[:, [2, 5]] += 0.008
    theirs = bootstrap.StepM(np.zeros(400), -returns, size=0.05, block_size=10, reps=1000, seed=1)
    theirs.compute()
    assert step_m(returns, 0.05, 10, 1000).tolist() == sorted(theirs.superior_models) == [2, 5]


def test_the_package_needs_numpy_alone() -> None:
    import subprocess

    code = "import sys, arbd.validation; print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    heavy = ["scipy", "numba", "pandas", "msgpack", "yaml", "pydantic", "duckdb"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
