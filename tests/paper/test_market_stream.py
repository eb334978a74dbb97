"""Files pass through in pieces: what comes out, and what is refused, is what reading them whole gives."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.errors import DataError
from arbd.paper.market import describe, readers, store, writers
from arbd.paper.market.cache import load, load_market
from arbd.paper.market.describe import describe_quotes
from arbd.paper.market.prepared import Market, prepare
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.market.readers import SUFFIXES, read_quotes
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl
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
        "ts_ns", "book", "edge_ab", "edge_ba", "fresh", "age_a_ns", "age_b_ns", "block", "told", "rows_dropped",
    }  # fmt: skip
    assert np.load(entry / "age_a_ns.npy").shape == (1,)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_conversion_in_pieces_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arbctl: Arbctl, small_pieces: int, suffix: str
) -> None:
    monkeypatch.setattr(writers, "PIECE_ROWS", small_pieces)
    for name, quotes in markets().items():
        np.savez(tmp_path / f"{name}.npz", **quotes.told())
        code, _, err = arbctl("market", "convert", tmp_path / f"{name}.npz", tmp_path / f"out{suffix}")
        assert (code, err) == (0, "")
        assert same(read_quotes(tmp_path / f"out{suffix}")[0], quotes), name


def test_a_long_market_is_described_by_a_part_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    quotes = synth_profile("kimchi", 3, 40_000)
    block = (np.arange(40_000) >= 25_000).astype(np.int64)
    funding = np.full(40_000, np.nan)
    funding[[5, 7_001, 39_999]] = 1e-4
    quotes = replace(quotes, block=block, funding_a=funding, age_b_ns=np.arange(40_000) * 1_000)
    whole = describe_quotes(quotes)
    monkeypatch.setattr(describe, "MAX_ROWS", 3_000)
    monkeypatch.setattr(describe, "PIECE_ROWS", 777)
    part = describe_quotes(quotes)
    for name in ("rows", "start_ns", "blocks", "longest_gap_s", "oldest_quote_a_s", "oldest_quote_b_s", "funding_a"):
        assert getattr(part, name) == getattr(whole, name), name
    for name in ("span_s", "coverage"):
        assert getattr(part, name) == pytest.approx(getattr(whole, name), rel=1e-9)
    assert part.median_step_s == pytest.approx(whole.median_step_s, rel=0.05)
    for one, other in ((part.edge_ab, whole.edge_ab), (part.edge_ba, whole.edge_ba), (part.edge_best, whole.edge_best)):
        assert one.mean_bps == pytest.approx(other.mean_bps, abs=0.2)
        for at in ("5%", "50%", "95%"):
            assert one.quantiles_bps[at] == pytest.approx(other.quantiles_bps[at], abs=0.7)


LIMITED = """
import resource, sys
from pathlib import Path
import numba, duckdb, scipy.stats  # what else there is
base = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (base + (int(sys.argv[3]) << 20),) * 2)
from arbd.paper.market.cache import load_market, passing_quotes
from arbd.paper.market.describe import describe_quotes
quotes, market = load_market(Path(sys.argv[1]), Path(sys.argv[2]))
with passing_quotes(Path(sys.argv[1])) as (passing, _):
    print(len(quotes), describe_quotes(passing).rows)
"""


def test_a_file_is_cached_and_described_in_less_memory_than_it_has(tmp_path: Path, small_pieces: int) -> None:
    """Its columns, and what the engine reads of them, do not fit into what may be allocated."""
    if small_pieces > 7:
        pytest.skip("once is enough")
    rows = 3_000_000
    one = build_quotes({name: np.resize(column, rows) for name, column in columns(ROWS).items() if name != "ts_ns"}
                       | {"ts_ns": np.arange(rows, dtype=np.int64) * 10**9}, "x")[0]  # fmt: skip
    write_quotes(one, tmp_path / "q.parquet")
    size_mb = rows * (13 + 10) * 8 >> 20
    command = [sys.executable, "-c", LIMITED, tmp_path / "q.parquet", tmp_path / "cache", str(size_mb - 20)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{rows} {rows}\n", 0), done.stderr


def test_a_clock_of_its_own_passes_through_the_times_of_other_units(tmp_path: Path) -> None:
    made = columns(ROWS) | {"ts_ns": np.arange(ROWS, dtype=np.int64) * 5 * 10**13}
    assert same(load(written(tmp_path / "q.npz", made), tmp_path / "cache").quotes, build_quotes(made, "x")[0])
