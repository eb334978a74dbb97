"""Cells of a column are those of its single values."""

from __future__ import annotations

import csv
import io

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from arbd.results.cells import float_cells, integer_cells, iso_utc, quoted, time_cells

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.floats() | st.floats(-1e17, 1e17) | st.integers(-(10**6), 10**6).map(float) | st.floats(0, 1)))
@example([1e16, 1e15, 9999999999999998.0, 1e-4, 9.999e-5, -0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2.0**53])
def test_numbers_are_what_repr_says(values: list[float]) -> None:
    assert float_cells(np.array(values, dtype=np.float64)) == [repr(value) for value in values]


@given(st.lists(INT64))
def test_integers_are_what_str_says(values: list[int]) -> None:
    assert integer_cells(np.array(values, dtype=np.int64)) == [str(value) for value in values]


@given(st.lists(st.integers(-(10**18), 4 * 10**18) | st.integers(-(10**9), 10**9).map(lambda second: second * 10**9)))
def test_times_are_what_a_single_one_is(values: list[int]) -> None:
    assert time_cells(np.array(values, dtype=np.int64)) == [iso_utc(value) for value in values]


@given(st.lists(st.text(max_size=8) | st.text("\",\r\n' ;x", max_size=8)))
def test_texts_are_quoted_as_the_library_does(texts: list[str]) -> None:
    for text, cell in zip(texts, quoted(texts), strict=True):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(["a", text, "b"])
        assert line.getvalue() == f"a,{cell},b\n"
