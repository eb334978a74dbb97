"""Mutants of the engine are played in the interpreter, which has to do what compiled code does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.mirrored import ROOT
from tests.mutation.__main__ import ENGINE

BY_HAND = "tests/paper/test_engine_by_hand.py::test_a_round_trip_earns_the_edge_less_fees_and_slippage"


@pytest.mark.parametrize("tests", ["tests/paper/test_search.py", BY_HAND])
def test_the_engine_in_the_interpreter_passes_the_tests_of_the_compiled_one(tests: str) -> None:
    way = ENGINE[0]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *way.options, tests],
        cwd=ROOT, env={**os.environ, **way.environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
