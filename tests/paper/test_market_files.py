"""Quotes through files and through the cache, unchanged to the bit."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbd.errors import DataError, UsageError
from arbd.paper.market import cache
from arbd.paper.market.cache import load_quotes
from arbd.paper.market.quotes import Quotes
from arbd.paper.market.readers import SUFFIXES, read_quotes
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import wait_until


def same(a: Quotes, b: Quotes) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(a.columns().values(), b.columns().values(), strict=True)
    )


prices = st.floats(1e-9, 1e12, allow_nan=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(low=st.lists(prices, min_size=1, max_size=20), size=st.floats(0, allow_nan=False))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_format_keeps_every_bit(tmp_path: Path, suffix: str, low: list[float], size: float) -> None:
    bid = np.array(low)
    n = len(bid)
    known = Quotes(np.arange(n) * 7, bid, bid * 1.1, bid / 3, bid / 2, *[np.full(n, size)] * 4, bid)
    ages = {"age_a_ns": np.arange(n) * 2**58, "age_b_ns": np.arange(n), "block": np.arange(n) - 1}
    path = tmp_path / f"quotes{suffix}"
    for quotes in (known, replace(known, **ages)):
        write_quotes(quotes, path)
        assert same(read_quotes(path)[0], quotes)


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


HEAD = "ts_ns,bid_a,ask_a,bid_b,ask_b\n"


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        (HEAD + "1,10,11,10,11\n2,12,11,10,11\n", 2, "crossed"),
        (HEAD + "1,10,11,10,11\n2,ten,11,10,11\n", 2, "bid_a is 'ten', not a number"),
        (HEAD + "1,10,11,10,11\n2,,11,10,11\n", 2, "bid_a is nan, not a positive number"),
        ("age_a_ns," + HEAD + "1e3,1,10,11,10,11\n", 1, "age_a_ns is '1e3', not an integer"),
        ("block," + HEAD + "1,1,10,11,10,11\n,2,10,11,10,11\n", 2, "block is empty, not an integer"),
        (HEAD + "1.5,10,11,10,11\n", 1, "ts_ns is '1.5', not an integer"),
        ("bid_a,ask_a,bid_b,ask_b\n10,11,10,11\n", None, "needs one time column of ts_ns, ts_us"),
        ("ts_ns,ts_ms,bid_a,ask_a,bid_b,ask_b\n1,1,10,11,10,11\n", None, "it has ts_ns, ts_ms"),
        (
            "a,b\n1,2\n",
            None,
            "has none of the columns of quotes; it has a, b: they are called ts_ns, bid_a, ask_a, bid_b",
        ),
        ("Timestamp,BidA,Ask A\n1,2,3\n", None, "Ask A: rename Timestamp to ts, BidA to bid_a, Ask A to ask_a"),
        (HEAD, None, "holds no rows"),
        ("ts,bid_a,ask_a,bid_b,ask_b\nyesterday,10,11,10,11\n", 1, "ts is 'yesterday', not a UTC time"),
        ("ts_s,bid_a,ask_a,bid_b,ask_b\n99999999999,10,11,10,11\n", 1, "beyond the year 2262"),
        ("ts_s,bid_a,ask_a,bid_b,ask_b\n-9223372036854775808,10,11,10,11\n", 1, "beyond the year 2262"),
        ("ts,bid_a,ask_a,bid_b,ask_b\nNaT,10,11,10,11\n", 1, "ts is 'NaT', not a UTC time"),
        ("ts,bid_a,ask_a,bid_b,ask_b\nnow,10,11,10,11\n", 1, "ts is 'now', not a UTC time"),
        ("ts,bid_a,ask_a,bid_b,ask_b\n2500-01-01T09:00:00,10,11,10,11\n", 1, "from 1678 to 2262"),
    ],
)
def test_a_bad_csv_is_refused_with_row_and_value(tmp_path: Path, text: str, row: int | None, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read_quotes(csv(tmp_path / "q.csv", text))
    assert caught.value.row == row


@pytest.mark.parametrize(
    ("column", "values", "row", "reason"),
    [
        ("ts_s", "(1.0::DOUBLE), (1.75)", 2, "ts_s is 1.75, not an integer"),
        ("ts_s", "(1.0::DOUBLE), ('nan')", 2, "ts_s is nan, not an integer"),
        ("ts_ns", "(1::UBIGINT), (18446744073709551615)", 2, "ts_ns is 18446744073709551615, not an integer"),
        ("ts", "(TIMESTAMP '2024-01-01'), (TIMESTAMP '2500-01-01')", 2, "from 1678 to 2262"),
        (
            "ts_ns",
            "(TIMESTAMP '2024-01-01'), (TIMESTAMP '2024-01-02')",
            None,
            "times that are no numbers are called ts",
        ),
    ],
)
def test_a_bad_parquet_is_refused_with_row_and_value(
    tmp_path: Path, column: str, values: str, row: int | None, reason: str
) -> None:
    path = tmp_path / "q.parquet"
    rows = f"SELECT {column}, 10 AS bid_a, 11 AS ask_a, 10 AS bid_b, 11 AS ask_b FROM (VALUES {values}) t({column})"
    duckdb.sql(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
    with pytest.raises(DataError, match=reason) as caught:
        read_quotes(path)
    assert caught.value.row == row


def test_whole_numbers_may_be_stored_as_floats(tmp_path: Path) -> None:
    np.savez(tmp_path / "q.npz", **GOOD | {"ts_s": np.array([1.0, 2.0, 3.0]), "block": np.array([0.0, 0.0, 1.0])})
    quotes, _ = read_quotes(tmp_path / "q.npz")
    assert (quotes.ts_ns[2], quotes.block.tolist()) == (3_000_000_000, [0, 0, 1])


GOOD = {"bid_a": np.full(3, 10.0), "ask_a": np.full(3, 11.0), "bid_b": np.full(3, 10.0), "ask_b": np.full(3, 11.0)}


@pytest.mark.parametrize(
    ("changed", "row", "reason"),
    [
        ({"bid_a": np.full(2, 10.0)}, None, "bid_a has 2 rows and ts_ns 3; all columns have the same"),
        ({"bid_a": np.full((3, 1), 10.0)}, None, "bid_a has 2 dimensions"),
        ({"ts_ns": np.int64(5)}, None, "ts_ns has 0 dimensions"),
        ({"bid_a": np.array(["10", "x", "10"])}, 2, "bid_a is 'x', not a number"),
        ({"age_a_ns": np.array([0.0, 0.5, 1e30])}, 2, "age_a_ns is 0.5, not an integer"),
        ({"bid_a": np.full(3, 10 + 1j)}, None, "bid_a holds complex128, not numbers"),
    ],
)
def test_a_bad_npz_is_refused_with_its_column(
    tmp_path: Path, changed: dict[str, np.ndarray], row: int | None, reason: str
) -> None:
    np.savez(tmp_path / "q.npz", **{"ts_ns": np.arange(3), **GOOD, **changed})
    with pytest.raises(DataError, match=reason) as caught:
        read_quotes(tmp_path / "q.npz")
    assert caught.value.row == row


@pytest.mark.parametrize(
    ("name", "value", "ns"),
    [
        ("ts_us", "5", 5_000),
        ("ts_ms", "5", 5_000_000),
        ("ts_s", "5", 5_000_000_000),
        ("ts", "1970-01-01T00:00:05Z", 5_000_000_000),
        ("ts", "1970-01-01 00:00:00.000000005", 5),
    ],
)
def test_times_come_in_several_units(tmp_path: Path, name: str, value: str, ns: int) -> None:
    path = csv(tmp_path / "q.csv", f"note,{name},bid_a,ask_a,bid_b,ask_b\nhello,{value},10,11,10,11\n")
    assert read_quotes(path)[0].ts_ns.tolist() == [ns]


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    for name in ("q.parquet", "q.npz", "q.csv.gz", "q.csv.zst"):
        (tmp_path / name).write_bytes(b"not that at all")
        with pytest.raises(DataError, match="q\\."):
            read_quotes(tmp_path / name)
    with pytest.raises(DataError, match="suffix; known are .csv"):
        read_quotes(tmp_path / "q.xlsx")
    with pytest.raises(DataError, match="no such file"):
        read_quotes(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="does not exist"):
        write_quotes(synth_profile("brl", 1, 5), tmp_path / "nowhere" / "q.csv")


def test_bad_rows_are_dropped_and_counted_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "q.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(HEAD + "1,10,11,10,11\n2,12,11,10,11\n3,10,11,10,11\n")
    quotes, dropped = read_quotes(path, "drop")
    assert (len(quotes), dropped) == (2, 1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "quotes.csv"
    write_quotes(synth_profile("kimchi", 1, 500), path)
    return path


def test_the_cache_holds_the_same_quotes_memory_mapped(source: Path, tmp_path: Path) -> None:
    first, second = load_quotes(source, tmp_path / "cache"), load_quotes(source, tmp_path / "cache")
    assert isinstance(second.bid_a, np.memmap)
    assert same(first, second)
    assert same(first, load_quotes(source, None))


def test_a_changed_file_is_converted_anew(source: Path, tmp_path: Path) -> None:
    load_quotes(source, tmp_path / "cache")
    write_quotes(synth_profile("kimchi", 2, 400), source)
    assert len(load_quotes(source, tmp_path / "cache")) == 400


def test_another_file_than_expected_is_refused(source: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    load_quotes(source, tmp_path / "cache", expected_digest=digest)
    write_quotes(synth_profile("kimchi", 2, 400), source)
    for folder in (tmp_path / "cache", None):
        with pytest.raises(DataError, match="is not the file that the job was accepted with"):
            load_quotes(source, folder, expected_digest=digest)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def _swap(path: Path) -> None:
    path.write_bytes((path.parent / "edge_ab.npy").read_bytes())


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (Path.unlink, "book.npy"),
        (lambda path: path.write_bytes(b"torn"), "book.npy"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "book.npy"),
        (_flip, "book.npy"),
        (_swap, "book.npy"),
        (Path.unlink, cache.MANIFEST),
        (lambda path: path.write_text("{"), cache.MANIFEST),
        (lambda path: path.write_text("[]"), cache.MANIFEST),
        (lambda path: path.write_text('{"rows": 7, "columns": {}}'), cache.MANIFEST),
    ],
)
def test_a_damaged_entry_is_rebuilt(source: Path, tmp_path: Path, damage: Callable[[Path], object], name: str) -> None:
    folder = tmp_path / "cache"
    load_quotes(source, folder)
    entry = next(path for path in folder.iterdir() if path.is_dir())
    damage(entry / name)
    assert same(load_quotes(source, folder), read_quotes(source)[0])


def test_the_cache_keeps_ages_and_leaves_out_what_the_file_does_not_tell(tmp_path: Path) -> None:
    known = synth_profile("kimchi", 1, 50)
    for quotes, held in ((known, 9), (replace(known, age_a_ns=np.arange(50), block=np.arange(50) // 9), 11)):
        write_quotes(quotes, tmp_path / "q.csv")
        assert same(load_quotes(tmp_path / "q.csv", tmp_path / "cache"), quotes)
        entry = max((p for p in (tmp_path / "cache").iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime_ns)
        assert len(list(entry.glob("*.npy"))) == held + 1  # and how many rows were dropped


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((UsageError, OSError), match="file"):
        load_quotes(source, tmp_path / "file" / "cache")
    with pytest.raises(DataError, match="no such file on this host"):
        load_quotes(tmp_path / "absent.csv", tmp_path / "cache")


def _load(source: Path, folder: Path, builds: Path) -> int:
    original = cache.write_market

    def counted(*given: object) -> None:
        with builds.open("a") as file:
            file.write("x")
        original(*given)  # type: ignore[arg-type]

    cache.write_market = counted  # type: ignore[assignment]
    return len(load_quotes(source, folder))


def test_eight_processes_that_ask_at_once_build_once(source: Path, tmp_path: Path) -> None:
    # An executor ends its processes by asking; a pool's terminate can meet them while they write their coverage.
    with ProcessPoolExecutor(8, mp_context=multiprocessing.get_context("spawn")) as pool:
        lengths = list(pool.map(_load, *zip(*[(source, tmp_path / "cache", tmp_path / "builds")] * 8, strict=True)))
    assert lengths == [500] * 8
    assert (tmp_path / "builds").read_text() == "x"


# A builder that stops at the step it is told, says so, and waits to be killed.
STOPPING = """
import sys, time, os, shutil, json
from pathlib import Path
from arbd.paper.market import cache
source, folder, started, step = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
count = 0
def stop(at):
    global count
    if at == step.split(":")[0]:
        count += 1
        if count == int(step.split(":")[1]):
            started.touch()
            time.sleep(120)
def before(owner, name, at):
    original = getattr(owner, name)
    def replaced(*given, **named):
        stop(at)
        return original(*given, **named)
    setattr(owner, name, replaced)
before(cache, "write_market", "read")
before(cache.np, "save", "save")
before(os, "fsync", "fsync")
before(cache.json, "dumps", "manifest")
before(cache.shutil, "rmtree", "remove")
before(cache.Path, "rename", "rename")
cache.load_quotes(source, folder)
"""
STEPS = ("read:1", "save:2", "manifest:1", "remove:1", "rename:1", "fsync:7")


@pytest.mark.parametrize("step", STEPS)
def test_a_builder_that_is_killed_leaves_nothing_in_the_way(source: Path, tmp_path: Path, step: str) -> None:
    folder, started = tmp_path / "cache", tmp_path / "started"
    if step == "remove:1":
        # An entry is removed only where a damaged one is in the way.
        load_quotes(source, folder)
        next(path for path in folder.iterdir() if path.is_dir()).joinpath("book.npy").unlink()
    process = subprocess.Popen([sys.executable, "-c", STOPPING, str(source), str(folder), str(started), step])
    try:
        wait_until(lambda: started.exists() or process.poll() is not None, what=f"reaching {step}")
        assert started.exists(), f"the builder never came to {step}"
    finally:
        process.kill()
        process.wait()
    assert same(load_quotes(source, folder), read_quotes(source)[0])
    assert not [path for path in folder.iterdir() if path.name.endswith(".new")]
