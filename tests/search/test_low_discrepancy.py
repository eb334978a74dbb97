"""The sequences are SciPy's to the bit, wherever they are entered, and cost no import of `scipy.stats`."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from arbd.errors import ArbdError
from arbd.search.low_discrepancy import BITS, halton_points, sobol_points

SEEDS = st.integers(0, 2**63 - 1)


@pytest.mark.slow
@given(dimensions=st.integers(1, 300), seed=SEEDS, first=st.integers(0, 2**BITS - 400), count=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_sobol_points_are_scipys_to_the_bit(dimensions: int, seed: int, first: int, count: int) -> None:
    engine = qmc.Sobol(dimensions, scramble=True, bits=BITS, rng=np.random.default_rng(seed))
    if first:
        engine.fast_forward(first)
    with warnings.catch_warnings():
        # Of counts that are no power of two.
        warnings.simplefilter("ignore", UserWarning)
        expected = engine.random(count)
    assert np.array_equal(sobol_points(dimensions, seed, first, count), expected)


@given(dimensions=st.integers(1, 60), seed=SEEDS, first=st.integers(0, 2**40), count=st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_halton_points_are_scipys_to_the_bit(dimensions: int, seed: int, first: int, count: int) -> None:
    engine = qmc.Halton(dimensions, scramble=True, rng=np.random.default_rng(seed))
    # What fast_forward does, without computing every point before.
    engine.num_generated = first
    assert np.array_equal(halton_points(dimensions, seed, first, count), engine.random(count))


@pytest.mark.parametrize("points", [sobol_points, halton_points])
def test_no_points_are_no_points(points: object) -> None:
    assert callable(points)
    assert points(3, 1, 7, 0).shape == (0, 3)


def test_the_last_points_of_the_sobol_sequence_are_there_and_no_more() -> None:
    assert len(sobol_points(2, 1, 2**BITS - 1, 1)) == 1
    with pytest.raises(AssertionError):
        sobol_points(2, 1, 2**BITS - 1, 2)


def test_more_dimensions_than_the_table_has_are_refused_by_number() -> None:
    with pytest.raises(ArbdError, match=r"sobol has 21,201 dimensions, and 21,202 parameters are searched"):
        sobol_points(21_202, 1, 0, 1)


@pytest.mark.parametrize("method", ["sobol", "halton", "lhs"])
def test_a_plan_costs_no_import_of_scipy(method: str) -> None:
    text = f"""
import sys
from arbd.search.samplers import make_sampler
from arbd.search.space import FloatDimension, SearchSpace
make_sampler({method!r}, SearchSpace((FloatDimension("x", 0.0, 1.0),)), 1, 100, {{}}).rows(1, 100)
print([name for name in sys.modules if name.partition(".")[0] == "scipy"])
"""
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout == "[]\n"
