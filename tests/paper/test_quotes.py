"""Which rows are good, and how bad ones are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arbd.errors import DataError
from arbd.paper.market.quotes import COLUMNS, REQUIRED, Quotes, build_quotes, in_time


def columns(**changed: list[float]) -> dict[str, Any]:
    base: dict[str, list[float]] = {
        "ts_ns": [1, 2, 2, 3], "bid_a": [10.0] * 4, "ask_a": [11.0] * 4, "bid_b": [10.0] * 4, "ask_b": [11.0] * 4,
    }  # fmt: skip
    return {name: np.array(values) for name, values in (base | changed).items()}


@pytest.mark.parametrize(
    ("changed", "row", "reason"),
    [
        ({"bid_a": [10, 12, 10, 10]}, 2, "the book of venue A is crossed: bid 12.0 above ask 11.0"),
        ({"ask_b": [11, 11, 9.5, 11]}, 3, "the book of venue B is crossed"),
        ({"bid_a": [10, 10, 0, 10]}, 3, "bid_a is 0.0, not a positive number"),
        ({"bid_b": [10, 10, 10, -1]}, 4, "bid_b is -1.0"),
        ({"ask_a": [float("nan"), 11, 11, 11]}, 1, "ask_a is nan"),
        ({"ask_a": [11, 11, 11, float("inf")]}, 4, "ask_a is inf"),
        ({"fx": [1, 1, 0, 1]}, 3, "fx is 0.0"),
        ({"bid_size_a": [1, 1, -1, 1]}, 3, "bid_size_a is -1.0, not a size"),
        ({"ask_size_b": [1, float("nan"), 1, 1]}, 2, "ask_size_b is nan"),
        ({"age_a_ns": [0, 5, -1, 0]}, 3, "age_a_ns is -1, a negative age"),
        ({"age_b_ns": [0, 0, 0, -7]}, 4, "age_b_ns is -7, a negative age"),
        ({"ts_ns": [1, 3, 2, 4]}, 3, "time goes backwards, from 3 to 2 ns"),
    ],
)
def test_a_bad_row_is_refused_with_its_number_and_reason(changed: dict[str, Any], row: int, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        build_quotes(columns(**changed), "quotes.csv")
    assert caught.value.row == row
    assert "drop" in str(caught.value)
    kept, dropped = build_quotes(columns(**changed), "quotes.csv", "drop")
    assert (len(kept), dropped) == (3, 1)


def test_a_locked_book_equal_times_and_zero_sizes_are_good() -> None:
    quotes, dropped = build_quotes(columns(ask_a=[10, 11, 11, 11], bid_size_a=[0, 1, 1, 1]), "x")
    assert (len(quotes), dropped) == (4, 0)


def test_missing_sizes_are_unlimited_and_a_missing_fx_is_one() -> None:
    quotes, _ = build_quotes(columns(), "x")
    assert np.isinf(quotes.ask_size_b).all()
    assert (quotes.fx == 1).all()


def test_what_a_source_does_not_tell_costs_no_memory_and_is_not_written() -> None:
    quotes, _ = build_quotes(columns(block=[1, 1, 2, 2]), "x")
    assert (quotes.age_a_ns.tolist(), quotes.age_b_ns.tolist()) == ([0] * 4, [0] * 4)
    assert quotes.block.tolist() == [1, 1, 2, 2]
    assert {name for name, column in quotes.columns().items() if column.strides == (0,)} == {
        "bid_size_a", "ask_size_a", "bid_size_b", "ask_size_b", "fx", "age_a_ns", "age_b_ns", "funding_a", "funding_b",
    }  # fmt: skip
    assert set(quotes.told()) == {"ts_ns", "bid_a", "ask_a", "bid_b", "ask_b", "block"}
    assert set(Quotes(**{name: getattr(quotes, name) for name in COLUMNS[:10]}).told()) == set(REQUIRED)


def test_dropping_rows_keeps_ages_blocks_and_what_is_not_told() -> None:
    quotes, dropped = build_quotes(columns(bid_a=[10, 99, 10, 10], age_a_ns=[0, 1, 2, 3]), "x", "drop")
    assert (quotes.age_a_ns.tolist(), dropped) == ([0, 2, 3], 1)
    assert (len(quotes.block), quotes.block.strides) == (3, (0,))


def test_missing_columns_and_empty_files_are_refused() -> None:
    with pytest.raises(DataError, match="no column bid_b; needed are ts_ns"):
        build_quotes({n: c for n, c in columns().items() if n != "bid_b"}, "x")
    with pytest.raises(DataError, match="holds no rows"):
        build_quotes({name: column[:0] for name, column in columns().items()}, "x")
    with pytest.raises(DataError, match="all 4 rows are bad"):
        build_quotes(columns(bid_a=[99.0] * 4), "x", "drop")


def test_dropping_keeps_time_from_going_backwards() -> None:
    quotes, dropped = build_quotes(columns(ts_ns=[1, 9, 2, 3], bid_a=[10, 99, 10, 10]), "x", "drop")
    assert (quotes.ts_ns.tolist(), dropped) == ([1, 2, 3], 1)


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ([1, 2, 900, 3, 4, 5], [1, 2, 3, 4, 5]),
        ([900, 1, 2, 2, 3], [1, 2, 2, 3]),
        ([5, 6, 1, 7], [5, 6, 7]),
        ([5, 3], [5]),
        ([1, 5, 3, 6], [1, 5, 6]),
        ([], []),
    ],
)
def test_the_most_rows_in_order_of_time_are_kept(times: list[int], kept: list[int]) -> None:
    ts_ns = np.array(times, dtype=np.int64)
    assert ts_ns[in_time(ts_ns)].tolist() == kept


def test_no_longer_run_in_order_of_time_is_missed() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        ts_ns = rng.integers(0, 6, size=8)
        runs = [ts_ns[[i for i in range(8) if mask >> i & 1]] for mask in range(256)]
        most = max(len(run) for run in runs if (np.diff(run) >= 0).all())
        kept = ts_ns[in_time(ts_ns)]
        assert ((np.diff(kept) >= 0).all(), len(kept)) == (True, most)


def test_columns_of_several_lengths_or_dimensions_are_refused() -> None:
    with pytest.raises(DataError, match="bid_a has 3 rows and ts_ns 4"):
        build_quotes(columns(bid_a=[10, 10, 10]), "x")
    with pytest.raises(DataError, match="bid_a has 2 dimensions"):
        build_quotes(columns(bid_a=[[10], [10], [10], [10]]), "x")  # type: ignore[list-item]
