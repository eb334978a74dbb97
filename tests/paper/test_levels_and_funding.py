"""The book below the touch and funding: from any file, through the cache, to what the engine reads."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from arbd.errors import DataError
from arbd.paper.engine import run
from arbd.paper.market import prepared
from arbd.paper.market.cache import load_market
from arbd.paper.market.levels import level_names
from arbd.paper.market.prepared import BOOK_COLUMNS, Market, prepare
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.market.readers import SUFFIXES, read_quotes
from arbd.paper.market.writers import write_quotes
from arbd.paper.params import MAX_LEVELS
from tests.conftest import Arbctl
from tests.paper.markets import params_of

NAN = float("nan")
SECOND = 10**9
ROWS = 7


def base() -> dict[str, Any]:
    mid = 100.0 + np.arange(ROWS)
    return {
        "ts_ns": 1_735_689_600 * SECOND + np.arange(ROWS) * SECOND,
        "bid_a": mid, "ask_a": mid + 1, "bid_b": mid / 10, "ask_b": mid / 10 + 1, "fx": np.full(ROWS, 10.0),
    }  # fmt: skip


def with_levels(depth_a: int, depth_b: int, seed: int = 0) -> dict[str, Any]:
    """Books that are not equally deep in all rows."""
    rng = np.random.default_rng(seed)
    columns = base()
    for venue, depth in (("a", depth_a), ("b", depth_b)):
        there = rng.integers(1, max(depth, 1) + 1, ROWS)
        for level in range(2, depth + 1):
            bid, bid_size, ask, ask_size = level_names(venue, level)
            exists = there >= level
            columns[bid] = np.where(exists, columns[f"bid_{venue}"] - (level - 1) * 0.01, NAN)
            columns[ask] = np.where(exists, columns[f"ask_{venue}"] + (level - 1) * 0.01, NAN)
            columns[bid_size] = np.where(exists, rng.choice([0.0, 0.5, 2.0], ROWS), rng.choice([0.0, NAN]))
            columns[ask_size] = np.where(exists, rng.choice([0.1, 3.0], ROWS), 0.0)
    return columns


def with_funding(*venues: str) -> dict[str, Any]:
    rates = {"a": [NAN, 1e-4, NAN, NAN, -2e-4, NAN, NAN], "b": [NAN, NAN, 5e-5, NAN, 3e-4, NAN, 0.0]}
    return {f"funding_{venue}": np.array(rates[venue]) for venue in venues}


def same(a: Quotes, b: Quotes) -> bool:
    mine, others = a.columns(), b.columns()
    return mine.keys() == others.keys() and all(np.array_equal(mine[n], others[n], equal_nan=True) for n in mine)


def same_markets(a: Market, b: Market) -> bool:
    names = ("book", "edge_ab", "edge_ba", "unusable", "levels", "funding_rows", "funding_rates")
    return all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in names)


DEPTHS = [(1, 1), (2, 1), (1, 3), (4, 2), (20, 20)]
FUNDED = [(), ("a",), ("b",), ("a", "b")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_levels_and_funding_pass_every_format_the_cache_and_conversion(
    tmp_path: Path, arbctl: Arbctl, suffix: str
) -> None:
    for number, (depths, funded) in enumerate(itertools.product(DEPTHS, FUNDED)):
        quotes, _ = build_quotes(with_levels(*depths, number) | with_funding(*funded), "made")
        path = tmp_path / f"q{number}{suffix}"
        write_quotes(quotes, path)
        read, _ = read_quotes(path)
        assert same(read, quotes)
        assert read.told().keys() == quotes.told().keys()
        for _ in ("cold", "warm"):
            cached, market = load_market(path, tmp_path / "cache")
            assert same(cached, quotes)
            assert same_markets(market, prepare(quotes))
    code, _, err = arbctl("market", "convert", path, tmp_path / "back.csv")
    assert (code, err) == (0, "")
    assert same(read_quotes(tmp_path / "back.csv")[0], quotes)


def test_levels_of_a_market_are_converted_and_have_a_price_everywhere() -> None:
    quotes, _ = build_quotes(with_levels(3, 2), "made")
    market = prepare(quotes)
    assert market.levels.shape == (ROWS, 2, 8)
    assert np.isfinite(market.levels).all()
    for number, (venue, fx) in itertools.product((0, 1), (("a", 1.0), ("b", 10.0))):
        for side in ("bid", "ask"):
            price, size = quotes.levels[number].column(side, venue), quotes.levels[number].column(f"{side}_size", venue)
            at, size_at = BOOK_COLUMNS.index(f"{side}_{venue}"), BOOK_COLUMNS.index(f"{side}_size_{venue}")
            exists = ~np.isnan(price)
            assert np.array_equal(market.levels[exists, number, at], price[exists] * fx)
            assert np.array_equal(market.levels[~exists, number, at], market.book[~exists, at])
            assert np.array_equal(market.levels[:, number, size_at], np.where(exists, size, 0.0))


def test_a_quote_that_is_none_has_nothing_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    quotes, _ = build_quotes(with_levels(3, 3), "made")
    quotes.ask_a[[0, 3]] = NAN
    whole = prepare(quotes)
    assert (whole.levels[[0, 3]][:, :, [4, 5]] == 0).all()
    assert np.isfinite(whole.levels).all()
    monkeypatch.setattr(prepared, "CHUNK_ROWS", 2)
    assert same_markets(prepare(quotes), whole)


def test_funding_of_a_market_is_where_and_what_was_paid() -> None:
    market = prepare(build_quotes(base() | with_funding("a", "b"), "made")[0])
    assert market.funding_rows.tolist() == [1, 2, 4, 6]
    assert market.funding_rates.tolist() == [[1e-4, 0.0], [0.0, 5e-5], [-2e-4, 3e-4], [0.0, 0.0]]
    assert market.beginning(3).funding_rows.tolist() == [1, 2]
    assert market.beginning(3).levels.shape == (3, 0, 8)
    assert not len(prepare(build_quotes(base(), "made")[0]).funding_rows)


def test_what_a_source_does_not_tell_is_nothing_and_costs_no_memory() -> None:
    quotes, _ = build_quotes(base(), "made")
    assert quotes.levels == ()
    assert (quotes.funding_a.strides, quotes.funding_b.strides) == ((0,), (0,))
    assert np.isnan(quotes.funding_a).all()
    one_sided, _ = build_quotes(with_levels(2, 1), "made")
    assert np.isnan(one_sided.levels[0].bid_b).all() and (one_sided.levels[0].ask_size_b == 0).all()
    assert not any(name.endswith("_b_2") for name in one_sided.told())


def test_a_strategy_that_asks_for_neither_trades_as_without_them() -> None:
    params = params_of(min_spread_pct=-50.0, exit_spread_pct=-100.0, max_hold_s=2)
    plain = run(prepare(build_quotes(base(), "made")[0]), params)
    full = run(prepare(build_quotes(with_levels(5, 5) | with_funding("a", "b"), "made")[0]), params)
    assert plain.fills and plain.fills == full.fills


def changed(name: str, row: int, value: float) -> dict[str, Any]:
    columns = base()
    for venue in "ab":
        for level in (2, 3):
            for own, step in zip(level_names(venue, level), (1 - level, 0, level - 1, 0), strict=True):
                side = f"{own.split('_')[0]}_{venue}"
                columns[own] = columns[side] + step if step else np.full(ROWS, 1.0)
    columns |= with_funding("a", "b")
    columns[name] = columns[name].copy()
    columns[name][row] = value
    return columns


BAD = [
    ("bid_a_2", 100.5, "bid_a_2 100.5 is better than bid_a 100.0"),
    ("ask_b_3", 11.5, "ask_b_3 11.5 is better than ask_b_2 12.0"),
    ("bid_b_3", -1.0, "bid_b_3 is -1.0, not a positive number"),
    ("ask_a_2", np.inf, "ask_a_2 is inf, not a positive number"),
    ("ask_a_2", NAN, "ask_size_a_2 is 1.0 without a price"),
    ("bid_size_a_2", -0.5, "bid_size_a_2 is -0.5, not a size"),
    ("ask_size_b_3", NAN, "ask_size_b_3 is nan, not a size"),
    ("funding_a", 1.0, "funding_a is 1.0, not a rate"),
    ("funding_b", -np.inf, "funding_b is -inf, not a rate"),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD)
def test_bad_levels_and_rates_are_refused_or_dropped(name: str, value: float, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        build_quotes(changed(name, 0, value), "q.csv")
    assert caught.value.row == 1
    kept, dropped = build_quotes(changed(name, 0, value), "q.csv", "drop")
    assert (len(kept), dropped, len(kept.levels)) == (ROWS - 1, 1, 2)
    assert np.array_equal(kept.levels[1].bid_a, changed(name, 0, value)["bid_a_3"][1:])


def test_a_level_without_the_one_above_it_is_refused_in_a_row_and_in_a_file() -> None:
    columns = changed("ask_a_2", 3, NAN)
    columns["ask_size_a_2"][3] = 0.0
    with pytest.raises(DataError, match="ask_a_3 is there without ask_a_2") as caught:
        build_quotes(columns, "q.csv")
    assert caught.value.row == 4
    columns = changed("ask_a_2", 0, 102.0)
    for name in level_names("a", 2):
        del columns[name]
    with pytest.raises(DataError, match="has bid_a_3, but no bid_a_2: levels follow on"):
        build_quotes(columns, "q.csv")
    columns = changed("ask_a_2", 0, 102.0)
    del columns["ask_size_b_3"]
    with pytest.raises(DataError, match="has bid_b_3, bid_size_b_3, ask_b_3, but no ask_size_b_3: a level has four"):
        build_quotes(columns, "q.csv")


def test_empty_cells_of_any_writer_mean_no_level_and_no_payment(tmp_path: Path) -> None:
    columns = base()
    text = ",".join([*columns, *level_names("a", 2), "funding_b"]) + "\n"
    for row in range(ROWS):
        cells = [repr(column[row].item()) for column in columns.values()]
        level = [repr(99.0 + row), "1", repr(102.0 + row), "2"] if row % 2 else ["", "", "", ""]
        text += ",".join([*cells, *level, "0.0001" if row == 5 else ""]) + "\n"
    (tmp_path / "q.csv").write_text(text)
    duckdb.execute(f"COPY (FROM '{tmp_path}/q.csv') TO '{tmp_path}/q.parquet'")
    for suffix in (".csv", ".parquet"):
        quotes, _ = read_quotes(tmp_path / f"q{suffix}")
        assert np.isnan(quotes.levels[0].bid_a).tolist() == [row % 2 == 0 for row in range(ROWS)]
        assert quotes.levels[0].ask_size_a.tolist() == [2.0 * (row % 2) for row in range(ROWS)]
        assert prepare(quotes).funding_rows.tolist() == [5]


def test_fifty_levels_are_read(tmp_path: Path) -> None:
    quotes, _ = build_quotes(with_levels(MAX_LEVELS, MAX_LEVELS), "made")
    for suffix in (".npz", ".parquet"):
        write_quotes(quotes, tmp_path / f"q{suffix}")
        assert len(read_quotes(tmp_path / f"q{suffix}")[0].levels) == MAX_LEVELS - 1
