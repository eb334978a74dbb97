"""NumPy behind `arbd.arrays` is NumPy, and is imported when something of it is used, not before."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy
import numpy.typing
import pytest

from arbd import arrays

USES = """
import sys
from arbd import arrays
from arbd.search.space import FloatDimension, SearchSpace
space = SearchSpace((FloatDimension("x", 0.0, 1.0),))
before = "numpy" in sys.modules
{use}
print(before, "numpy" in sys.modules)
"""


def test_everything_of_numpy_is_there() -> None:
    assert [name for name in numpy.__all__ if getattr(arrays.np, name) is not getattr(numpy, name)] == []


def test_types_of_arrays_are_those_of_numpy() -> None:
    assert arrays.npt.NDArray is numpy.typing.NDArray


def test_what_is_not_there_is_missed_as_ever() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = arrays.np.no_such_name


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("space.to_plain()", "False False"),
        ("space.from_unit(arrays.np.full((1, 1), 0.5))", "False True"),
        ("arrays.load()", "False True"),
    ],
)
def test_numpy_is_imported_when_it_is_used(use: str, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", USES.format(use=use)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == told


THREADS = """
import json, os
{load}
from threadpoolctl import threadpool_info
print(json.dumps([[each["num_threads"] for each in threadpool_info()], os.environ.get("OPENBLAS_THREAD_TIMEOUT")]))
"""


@pytest.mark.parametrize("given", [None, "20"])
def test_linear_algebra_has_its_threads_and_the_environment_is_left_as_it_was(given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_THREAD_TIMEOUT"}
    environment |= {} if given is None else {"OPENBLAS_THREAD_TIMEOUT": given}
    plain, loaded = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", THREADS.format(load=load)],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            ).stdout
        )
        for load in ("import numpy", "from arbd import arrays; arrays.load()")
    )
    assert plain == loaded
    assert loaded[1] == given
