"""The same bits on every machine: golden values, and closeness to the true ones."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arbd.search.logarithms import exp, log


@given(st.floats(-700, 700))
def test_exp_is_right_to_about_a_unit_in_the_last_place(value: float) -> None:
    found, true = float(exp(np.array([value]))[0]), math.exp(value)
    assert abs(found - true) <= 2 * math.ulp(true)


@given(st.floats(1e-300, 1e300))
def test_log_is_right_to_a_unit_in_the_last_place(value: float) -> None:
    assert abs(log(value) - math.log(value)) <= math.ulp(math.log(value))


def test_no_machine_changes_a_bit() -> None:
    values = exp(np.arange(-7_000, 7_000) / 13.0)
    logs = np.array([log(number / 7) for number in range(1, 500)])
    assert hashlib.sha256(values.tobytes() + logs.tobytes()).hexdigest() == (
        "445001655ec60ea5915314505589c04c9adc08717f9be29e9dabd21b11d4898d"
    )
