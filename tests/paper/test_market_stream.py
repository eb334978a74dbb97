"""Files pass through in pieces: what comes out, and what is refused, is what reading them whole gives."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.errors import DataError
from arbd.paper.market import readers, store
from arbd.paper.market.cache import load, load_market
from arbd.paper.market.prepared import Market, prepare
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.market.readers import SUFFIXES, read_quotes
from arbd.paper.market.writers import write_quotes
from tests.paper.test_levels_and_funding import same, same_markets, with_funding, with_levels
from tests.paper.test_own_quotes import OPTIONAL, columns

ROWS = 60


@pytest.fixture(autouse=True, params=[7, 1000])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces of so many rows; no file is small enough to be read whole."""
    monkeypatch.setattr(readers, "CHUNK_ROWS", request.param)
    monkeypatch.setattr(store, "COPY_ROWS", request.param)
    monkeypatch.setattr(readers, "WHOLE_CSV_BYTES", 0)
    monkeypatch.setattr(readers, "WHOLE_BYTES", {})
    return int(request.param)


def markets() -> dict[str, Quotes]:
    every = columns(ROWS)
    one = {name: column for name, column in every.items() if name != "fx"}
    return {
        "all columns": build_quotes(every, "x")[0],
        "no fx": build_quotes(one, "x")[0],
        "fx of one value": build_quotes({**one, "fx": np.full(ROWS, 1380.0)}, "x")[0],
        "fx that begins at 1": build_quotes({**one, "fx": np.append(np.ones(ROWS - 1), 2.0)}, "x")[0],
        "the prices alone": build_quotes({n: c for n, c in every.items() if n not in OPTIONAL}, "x")[0],
        "ages of one value": build_quotes({**one, "age_a_ns": np.full(ROWS, 5), "block": np.full(ROWS, 2)}, "x")[0],
        "levels and funding": build_quotes(with_levels(4, 2) | with_funding("b"), "x")[0],
        "one row": build_quotes({n: c[:1] for n, c in every.items()}, "x")[0],
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_market_that_streamed_in_is_the_one_read_whole(tmp_path: Path, suffix: str) -> None:
    for name, quotes in markets().items():
        path = tmp_path / f"{name}{suffix}"
        write_quotes(quotes, path)
        for _ in ("cold", "warm"):
            found, market = load_market(path, tmp_path / "cache")
            assert same(found, quotes), name
            assert same_markets(market, prepare(quotes)), name
            assert plain(market) == plain(prepare(quotes)), name


def plain(market: Market) -> list[Any]:
    return [market.ts_ns.tolist(), market.age_a_ns.tolist(), market.age_b_ns.tolist(), market.block.tolist()]


FAULTS: dict[str, dict[str, list[tuple[int, float]]]] = {
    "good": {},
    "crossed at the end": {"bid_a": [(59, 1e9)]},
    "no price at a border": {"ask_b": [(20, np.nan), (7, 0.0)]},
    "several": {"bid_b": [(3, -1), (40, np.inf)], "age_a_ns": [(41, -5)], "fx": [(0, 0.0)]},
    "back at a border": {"ts_ns": [(20, -3)]},
    "back within": {"ts_ns": [(30, -3), (31, -2)]},
    "one far ahead": {"ts_ns": [(6, 10_000)]},
    "all but one": {"bid_a": [(row, np.nan) for row in range(1, 60)]},
    "all": {"bid_a": [(row, np.nan) for row in range(60)]},
    "size": {"bid_size_a": [(19, -1.0)], "ask_size_b": [(21, np.nan)]},
}


def faulty(faults: dict[str, list[tuple[int, float]]]) -> dict[str, Any]:
    made = {name: column.copy() for name, column in columns(ROWS).items()}
    for name, places in faults.items():
        for row, value in places:
            if name == "ts_ns":
                made[name][row] += int(value) * 10**9
            else:
                made[name][row] = value
    return made


def outcome(read: Any) -> Any:
    try:
        quotes, dropped = read()
    except DataError as error:
        return error.reason, error.row
    return {name: column.tolist() for name, column in quotes.columns().items()}, dropped


def written(path: Path, given: dict[str, Any]) -> Path:
    """A file of any columns, good or bad."""
    if path.suffix == ".npz":
        np.savez(path, **given)
        return path
    import duckdb

    connection = duckdb.connect()
    connection.register("q", given)
    form = "FORMAT parquet" if path.suffix == ".parquet" else "FORMAT csv, HEADER"
    connection.execute(f"COPY (FROM q) TO '{path}' ({form})")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_what_is_wrong_is_told_or_dropped_as_in_a_file_read_whole(tmp_path: Path, suffix: str, fault: str) -> None:
    path = written(tmp_path / f"q{suffix}", faulty(FAULTS[fault]))
    for on_bad_rows in ("refuse", "drop"):

        def streamed(how: str = on_bad_rows) -> tuple[Quotes, int]:
            loaded = load(path, tmp_path / "cache", how)
            return loaded.quotes, loaded.dropped

        assert str(outcome(streamed)) == str(outcome(lambda how=on_bad_rows: read_quotes(path, how)))


def test_a_file_that_is_newest_first_or_empty_is_refused_alike(tmp_path: Path) -> None:
    backwards = {name: column[::-1].copy() for name, column in columns(ROWS).items()}
    empty = {name: column[:0] for name, column in columns(ROWS).items()}
    for given, how in itertools.product((backwards, empty), ("refuse", "drop")):
        path = written(tmp_path / "q.npz", given)
        with pytest.raises(DataError) as whole:
            read_quotes(path, how)
        with pytest.raises(DataError) as streamed:
            load(path, tmp_path / "cache", how)
        assert str(whole.value) == str(streamed.value)


def test_cells_of_a_long_csv_are_told_with_their_row(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", columns(ROWS))
    lines = path.read_text().splitlines()
    for row, text, reason in (
        (45, "high", "ask_a is 'high', not a number"),
        (2, "1_0", "ask_a is '1_0', not a number"),
    ):
        cells = lines[row].split(",")
        cells[2] = text
        (tmp_path / "bad.csv").write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]))
        with pytest.raises(DataError, match=reason) as caught:
            load(tmp_path / "bad.csv", tmp_path / "cache")
        assert caught.value.row == row


def test_a_column_called_as_duckdb_numbers_rows_is_no_hindrance(tmp_path: Path) -> None:
    path = written(tmp_path / "q.parquet", {**columns(ROWS), "file_row_number": np.zeros(ROWS)})
    assert same(load(path, tmp_path / "cache").quotes, build_quotes(columns(ROWS), "x")[0])


def test_an_entry_holds_what_is_told_once(tmp_path: Path) -> None:
    quotes = build_quotes({**columns(ROWS), "fx": np.ones(ROWS), "age_a_ns": np.zeros(ROWS, dtype=np.int64)}, "x")[0]
    write_quotes(quotes, tmp_path / "q.npz")
    load_market(tmp_path / "q.npz", tmp_path / "cache")
    (entry,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    names = {path.stem for path in entry.glob("*.npy")}
    assert names == {
        "ts_ns", "book", "edge_ab", "edge_ba", "age_a_ns", "age_b_ns", "block", "told", "rows_dropped",
    }  # fmt: skip
    assert np.load(entry / "age_a_ns.npy").shape == (1,)
