"""What reads files that people bring: quotes, exchanges' tables, archives, scenarios, tables of results, entries of the cache."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis import TuningAnalyzer, load_results_from_csv
from arbd.analysis.archive import restore_archive, write_archive
from arbd.errors import ArbdError
from arbd.paper.market.cache import load_market, load_quotes
from arbd.paper.market.importers import VenueOptions, import_venue, join_venues
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.paper.scenario import load_scenario
from arbd.results.columns import RowRules
from arbd.results.csv_writer import csv_lines
from arbd.results.store_reader import read_results
from arbd.results.warm_start import past_reader
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.fuzz.mutations import TEXTS, mutate_bytes, mutate_framed_file, mutate_job

CELLS = [
    *TEXTS, "", " ", "0", "-0", "1e308", "-1", "nan", "inf", "-inf", "1,5", "1.5", "1_0", "0x10", "1e400", "9" * 25, "-" + "9" * 19,
    "2025-01-01", "2025-01-01T00:00:00+99:99", "2025-01-01T00:00:00.1234567890Z", "0001-01-01", "9999-12-31 23:59:59", "NaT", "now",
    "1735689600", "1735689600000000000", '"', '""', "'", "\t", ";", "|", "\x00", "\ud7ff", "True", "NULL", "None", "ts_ns",
]  # fmt: skip
LEAKS = ("duckdb", "numpy", "numba", "/proc/self/fd", "traceback", "invalid literal", "read_csv", "strict_mode")
KLINES = "".join(
    f"{1735689600000 + 60000 * i},1,1,1,{100 + i % 3},1,{1735689659999 + 60000 * i},1,1,1,1,0\n" for i in range(12)
)
TICKER = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n" + "".join(
    f"{i},100,1,101,1,{1735689600000 + i},{1735689600001 + i}\n" for i in range(12)
)
TARDIS = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n" + "".join(
    f"x,y,{1735689600000000 + i},{1735689600000009 + i},1,101,100,1\n" for i in range(12)
)
UPBIT = "[" + ",".join(
    '{"market": "KRW-BTC", "candle_date_time_utc": "2025-01-01T00:%02d:00", "trade_price": 5.5, "unit": 1}' % i for i in range(12)
) + "]"  # fmt: skip
VENUE = "ts_ms,bid,ask,bid_size\n" + "".join(f"{1735689600000 + 500 * i},100,101,{i}\n" for i in range(12))
EXCHANGES = {
    "binance-klines": (KLINES, ".csv"), "binance-bookticker": (TICKER, ".csv"), "tardis-quotes": (TARDIS, ".csv"),
    "upbit-candles": (UPBIT, ".json"), "quotes": (VENUE, ".csv"),
}  # fmt: skip


def cleanly(step: Callable[[], object]) -> str:
    """What became of a case: an error of this program's own, in its own words, or none."""
    try:
        step()
    except ArbdError as error:
        told = str(error)
        told.encode()
        leaked = [word for word in LEAKS if word in told.lower()]
        assert not leaked, f"{leaked} in {told[:300]}"
        return "refused"
    return "read"


Target = Callable[[Any, random.Random, Path], str]


def _at_home(target: Target) -> Callable[[Any, random.Random], str]:
    """A target with a folder for files of people; copies that readers make go there too."""

    def play(bench: Any, rng: random.Random) -> str:
        folder: Path = bench.corpus.folder / "files"
        folder.mkdir()
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            return target(bench, rng, folder)
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder)

    return play


def _mutated_table(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    text = data.decode(errors="replace")
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.randrange(4)):
        row = rng.choice(rows) if rows and rng.random() < 0.6 else (rows[0] if rows else [])
        kind = rng.randrange(8)
        if not row:
            continue
        at = rng.randrange(len(row))
        if kind <= 2:
            row[at] = rng.choice(CELLS)
        elif kind == 3:
            del row[at]
        elif kind == 4:
            row.insert(at, rng.choice([row[at], rng.choice(CELLS)]))
        elif kind == 5:
            rows.reverse()
        elif kind == 6:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
        else:
            row[at] = "x" * rng.choice([300, 70_000])
    delimiter = rng.choice([*[","] * 15, ";", "\t", "|", " ", ""])
    text = rng.choice([*["\n"] * 9, "\r\n", "\r", "\n\n"]).join(delimiter.join(row) for row in rows)
    text += rng.choice(["", "\n"])
    return text.encode(rng.choice([*["utf-8"] * 12, "utf-8-sig", "utf-16", "latin-1"]), errors="replace")


def _sound(quotes: Quotes) -> None:
    """What `build_quotes` keeps."""
    columns = quotes.columns()
    assert len({len(column) for column in columns.values()}) == 1
    assert (np.diff(quotes.ts_ns) >= 0).all()
    assert (
        (quotes.bid_a > 0) & (quotes.bid_a <= quotes.ask_a) & (quotes.bid_b <= quotes.ask_b) & (quotes.fx > 0)
    ).all()


def _npz(rng: random.Random, quotes: Quotes) -> bytes:
    columns: dict[str, Any] = {name: column.copy() for name, column in quotes.told().items()}
    for name in rng.sample(list(columns), rng.randint(0, 3)):
        kinds = ["<f4", ">f8", "<i2", "<u8", "<c16", "S3", "U2", "?", "M8[ns]", "m8[s]", "V4"]
        column = columns[name]
        columns[name] = rng.choice([
            column[:-1], column[None], column[0], np.zeros(0), np.zeros((3, 4)), np.zeros(len(column), dtype=rng.choice(kinds)),
        ])  # fmt: skip
    packed = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(packed, **columns)
    data = packed.getvalue()
    if rng.random() < 0.5:
        return mutate_bytes(rng, data) if rng.random() < 0.7 else data
    remade = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(remade, "w", zipfile.ZIP_DEFLATED) as after:
        for info in before.infolist():
            member = before.read(info)
            if rng.random() < 0.4:
                header = rng.choice([
                    b"(1000000000000,)", b"(-1,)", b"(4611686018427387904,)", b"()", b"(" * 300, b"(2**9,)", b"(1.5,)", b"None",
                ])  # fmt: skip
                member = (
                    member.replace(b"(%d,)" % len(quotes), header) if rng.random() < 0.6 else mutate_bytes(rng, member)
                )
            with_twins = rng.random() < 0.05
            after.writestr(info.filename, member)
            if with_twins:
                after.writestr(info.filename.removesuffix(".npy"), member)
    return remade.getvalue()


@_at_home
def quotes(bench: Any, rng: random.Random, folder: Path) -> str:
    """A file of quotes in every format, through the reader and the cache."""
    whole = synth_profile("brl", rng.randrange(3), 12)
    suffix = rng.choice([".csv", ".csv", ".csv.gz", ".csv.zst", ".parquet", ".npz"])
    path = folder / f"q{suffix}"
    if suffix == ".npz":
        path.write_bytes(_npz(rng, whole))
    elif suffix in (".csv", ".csv.gz"):
        write_quotes(whole, folder / "plain.csv")
        table = _mutated_table(rng, (folder / "plain.csv").read_bytes())
        packed = mutate_bytes(rng, gzip.compress(table)) if rng.random() < 0.3 else gzip.compress(table)
        path.write_bytes(table if suffix == ".csv" else packed)
    else:
        write_quotes(whole, path)
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))

    def step() -> None:
        policy = rng.choice(["refuse", "drop"])
        found = read_quotes(path, policy)[0]
        _sound(found)
        prepare(found)
        if rng.random() < 0.2:
            _sound(load_quotes(path, folder / "cache", policy))

    return cleanly(step)


@_at_home
def importer(bench: Any, rng: random.Random, folder: Path) -> str:
    """A file of an exchange through its importer, and joined with itself."""
    name = rng.choice(list(EXCHANGES))
    text, suffix = EXCHANGES[name]
    data = mutate_bytes(rng, text.encode()) if suffix == ".json" else _mutated_table(rng, text.encode())
    if suffix == ".csv" and rng.random() < 0.2:
        suffix, packed = ".zip", io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", data)
        data = mutate_bytes(rng, packed.getvalue()) if rng.random() < 0.5 else packed.getvalue()
    path = folder / f"v{suffix}"
    path.write_bytes(data)

    def step() -> None:
        options = VenueOptions(
            rng.choice(["refuse", "drop"]), half_spread_bps=1.0 if name.endswith(("klines", "candles")) else None
        )
        venue = import_venue(name, [path], options).quotes
        _sound(join_venues(venue, venue, 1.0, "both", rng.choice([None, 10**9])).quotes)

    return cleanly(step)


def _remade_tar(rng: random.Random, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as before, tarfile.open(fileobj=out, mode="w:gz") as after:
        for member in before:
            content = before.extractfile(member)
            body = content.read() if content else b""
            if rng.random() < 0.1:
                body = mutate_framed_file(rng, body)
            member.size = len(body)
            kind = rng.randrange(40)
            if kind == 0:
                member.pax_headers = {
                    "path": rng.choice(
                        ["done/segments/a\0b", "../x", "/etc/x", "done/segments/" + "a" * 300, "x/ledger"]
                    )
                }
            elif kind == 1:
                member.type = rng.choice(
                    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
                )
                member.linkname, body, member.size = "../../outside/planted", b"", 0
            elif kind == 2:
                member.name = rng.choice(
                    ["done/.hidden", "done/segments/..", "other/ledger", "done/x", member.name + "\n"]
                )
            elif kind == 3:
                continue
            after.addfile(member, io.BytesIO(body))
    return out.getvalue()


@_at_home
def archive(bench: Any, rng: random.Random, folder: Path) -> str:
    """An archived session, restored into a spool of its own."""
    whole = folder.parent / "whole.tar.gz"
    if not whole.exists():
        paths = bench.layout.session("done")
        write_archive(bench.files, paths, SessionQueue(bench.files, paths).refresh(), whole)
    data = whole.read_bytes()
    kind = rng.randrange(3)
    if kind == 0:
        data = mutate_bytes(rng, data)
    elif kind == 1:
        data = gzip.compress(mutate_bytes(rng, gzip.decompress(data)), 1)
    else:
        data = _remade_tar(rng, data)
    path, layout = folder / "a.tar.gz", SpoolLayout(folder / "spool")
    path.write_bytes(data)
    layout.root.mkdir()
    layout.prepare()

    def step() -> None:
        restored = restore_archive(layout.files(), layout, path)
        assert restored == "done"

    outcome = cleanly(step)
    assert [found.name for found in layout.sessions.iterdir()] in ([], ["done"])
    return outcome


@_at_home
def scenario(bench: Any, rng: random.Random, folder: Path) -> str:
    """A scenario file, and its markets prepared."""
    sources = sorted((bench.corpus.folder / "etc" / "scenarios").glob("*.yaml"))
    path = folder / "s.yaml"
    path.write_bytes(mutate_job(rng, rng.choice(sources).read_bytes()))

    def step() -> None:
        for market in load_scenario(path).markets:
            _sound(market)
            prepare(market)

    return cleanly(step)


@_at_home
def table(bench: Any, rng: random.Random, folder: Path) -> str:
    """A table of results through the analysis, and as what a search starts from."""
    rules = RowRules.of(bench.spec)
    data = b"".join(csv_lines(bench.spec, "done", read_results(bench.files, bench.layout.session("done"), rules=rules)))
    path = folder / "r.csv"
    path.write_bytes(_mutated_table(rng, b"".join(data.splitlines(keepends=True)[:9])))

    def step() -> None:
        found = load_results_from_csv(path)
        analyzer = TuningAnalyzer(found)
        analyzer.summarize()
        past_reader(bench.layout)(str(path), [])

    return cleanly(step)


@_at_home
def cache_entry(bench: Any, rng: random.Random, folder: Path) -> str:
    """An entry of the cache that something wrote to: what is read is what the file holds, all the same."""
    path, cache = folder / "q.csv", folder / "cache"
    write_quotes(synth_profile("brl", 1, 40), path)
    before = {name: column.copy() for name, column in load_market(path, cache)[0].told().items()}
    there = sorted(found for found in cache.rglob("*") if found.is_file())
    for victim in rng.sample(there, rng.randint(1, 3)):
        if rng.random() < 0.2:
            victim.unlink()
        else:
            victim.write_bytes(mutate_bytes(rng, victim.read_bytes()) + rng.choice([b"", b"x"]))

    def step() -> None:
        found, market = load_market(path, cache)
        assert found.told().keys() == before.keys()
        assert all(np.array_equal(column, before[name]) for name, column in found.told().items())
        expected = prepare(build_quotes(before, "before")[0])
        assert np.array_equal(market.book, expected.book)

    return cleanly(step)


FILE_TARGETS: dict[str, tuple[Callable[[Any, random.Random], str], float]] = {
    "quotes": (quotes, 0.2),
    "importer": (importer, 0.15),
    "archive": (archive, 0.05),
    "scenario": (scenario, 0.12),
    "table": (table, 0.16),
    "cache entry": (cache_entry, 0.05),
}
