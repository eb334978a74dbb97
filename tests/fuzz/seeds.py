"""Files of quotes as they are before something happens to them; each is written once for a process."""

from __future__ import annotations

import functools
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import duckdb

from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes

# How many files of odd types a process meets: each costs DuckDB's start.
TYPED = 48
_NESTED = ["DOUBLE[]", "STRUCT(a DOUBLE)", "MAP(VARCHAR, DOUBLE)"]
_TYPES = [
    "DECIMAL(18, 3)", "DECIMAL(38, 9)", "VARCHAR", "FLOAT", "DOUBLE", "HUGEINT", "UBIGINT", "TINYINT", "BOOLEAN", "TIMESTAMP",
    "TIMESTAMPTZ", "TIMESTAMP_NS", "TIMESTAMP_S", "DATE", "TIME", "INTERVAL", "BLOB", "UUID", *_NESTED,
]  # fmt: skip
_VALUES = ["NULL", "'nan'::DOUBLE", "'inf'::DOUBLE", "'-inf'::DOUBLE", "1e308", "-1", "0", "9223372036854775807"]
_COLUMNS = ["ts_ns", "bid_a", "ask_a", "bid_b", "ask_b", "fx"]


@functools.lru_cache(maxsize=64)
def quotes_file(suffix: str, number: int, rows: int = 12, day: int = 0) -> bytes:
    """A good file of quotes; `day` moves it by days."""
    quotes = synth_profile("brl", number, rows)
    with tempfile.TemporaryDirectory(prefix="arbd-seed-") as folder:
        path = Path(folder) / f"q{suffix}"
        write_quotes(replace(quotes, ts_ns=quotes.ts_ns + day * 86_400 * 10**9), path)
        return path.read_bytes()


@functools.lru_cache(maxsize=TYPED)
def typed_parquet(number: int) -> bytes:
    """A Parquet file whose columns are of other types than quotes are, or hold what no quote is."""
    rng = random.Random(f"typed {number}")
    odd = rng.sample(_COLUMNS, rng.randint(1, 2))
    chosen = []
    for name in _COLUMNS:
        good = "1735689600000000000 + i * 1000000000" if name == "ts_ns" else "1.0" if name == "fx" else _price(name)
        if name in odd and rng.random() < 0.5:
            kind = rng.choice(_TYPES)
            good = f"NULL::{kind}" if kind in _NESTED else f"TRY_CAST({good} AS {kind})"
        elif name in odd:
            good = f"CASE WHEN i % 5 = {rng.randrange(5)} THEN {rng.choice(_VALUES)} ELSE {good} END"
        called = rng.choice([*[name] * 12, name.upper(), f"{name} ", "x"])
        chosen.append(f'{good} AS "{called}"')
    codec = rng.choice(["zstd", "snappy", "gzip", "uncompressed", "lz4", "brotli"])
    with tempfile.TemporaryDirectory(prefix="arbd-seed-") as folder, duckdb.connect(config={}) as connection:
        path = Path(folder) / "q.parquet"
        query = f"SELECT {', '.join(chosen)} FROM range({rng.choice([0, 1, 7, 3000])}) r(i)"
        try:
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE 2048)")
        except duckdb.Error:
            # That cast does not exist.
            return quotes_file(".parquet", number % 3)
        return path.read_bytes()


def _price(name: str) -> str:
    return f"100.0 + i % 7 {'+ 0.5' if name.startswith('ask') else ''}"
