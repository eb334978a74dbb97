"""What reads files that people bring: quotes, archives, scenarios, tables of results, entries of the cache."""

from __future__ import annotations

import functools
import gzip
import io
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arbd.analysis import TuningAnalyzer, load_results_from_csv
from arbd.analysis.archive import restore_archive, write_archive
from arbd.paper.market.cache import load_market, load_quotes
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.synth import synth_profile
from arbd.paper.scenario import load_scenario
from arbd.results.columns import RowRules
from arbd.results.csv_writer import csv_lines
from arbd.results.store_reader import read_results
from arbd.results.warm_start import past_reader
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.fuzz.mutations import mutate_bytes, mutate_framed_file, mutate_job
from tests.fuzz.packed import BOMB_BYTES, repacked
from tests.fuzz.people import at_home, cleanly, mutated_table, sound
from tests.fuzz.seeds import TYPED, quotes_file, typed_parquet


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


@at_home
def quotes(bench: Any, rng: random.Random, folder: Path) -> str:
    """A file of quotes in every format, through the reader and the cache."""
    number, suffix = rng.randrange(3), rng.choice([".csv", ".csv", ".csv.gz", ".csv.zst", ".parquet", ".npz"])
    path = folder / f"q{suffix}"
    if suffix == ".npz":
        path.write_bytes(_npz(rng, synth_profile("brl", number, 12)))
    elif suffix in (".csv", ".csv.gz"):
        table = mutated_table(rng, quotes_file(".csv", number))
        path.write_bytes(table if suffix == ".csv" else repacked(rng, table))
    elif suffix == ".parquet" and rng.random() < 0.5:
        whole = typed_parquet(rng.randrange(TYPED))
        path.write_bytes(mutate_bytes(rng, whole) if rng.random() < 0.3 else whole)
    else:
        path.write_bytes(mutate_bytes(rng, quotes_file(suffix, number)))

    def step() -> None:
        policy = rng.choice(["refuse", "drop"])
        found = read_quotes(path, policy)[0]
        sound(found)
        prepare(found)
        if rng.random() < 0.2:
            sound(load_quotes(path, folder / "cache", policy))

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
            elif kind == 4:
                member.pax_headers = rng.choice(
                    [{"size": "99999999999"}, {"GNU.sparse.major": "1"}, {"mtime": "nan"}, {"uid": "x"}]
                )
            elif kind == 5 and rng.random() < 0.2:
                body = bytes(BOMB_BYTES)
                member.size = len(body)
            elif kind == 6:
                for number in range(rng.choice([1, 3, 300])):
                    twin = tarfile.TarInfo(rng.choice([member.name, f"done/segments/{number}-1-0.seg"]))
                    after.addfile(twin, io.BytesIO(b""))
            after.addfile(member, io.BytesIO(body))
    return out.getvalue()


@at_home
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
        data = _remade_tar(rng, data) if rng.random() < 0.8 else repacked(rng, gzip.decompress(data))
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


@at_home
def scenario(bench: Any, rng: random.Random, folder: Path) -> str:
    """A scenario file, and its markets prepared."""
    sources = sorted((bench.corpus.folder / "etc" / "scenarios").glob("*.yaml"))
    path = folder / "s.yaml"
    path.write_bytes(mutate_job(rng, rng.choice(sources).read_bytes()))

    def step() -> None:
        for market in load_scenario(path).markets:
            sound(market)
            prepare(market)

    return cleanly(step)


@at_home
def table(bench: Any, rng: random.Random, folder: Path) -> str:
    """A table of results through the analysis, and as what a search starts from."""
    rules = RowRules.of(bench.spec)
    data = b"".join(csv_lines(bench.spec, "done", read_results(bench.files, bench.layout.session("done"), rules=rules)))
    path = folder / "r.csv"
    path.write_bytes(mutated_table(rng, b"".join(data.splitlines(keepends=True)[:9])))

    def step() -> None:
        found = load_results_from_csv(path)
        analyzer = TuningAnalyzer(found)
        analyzer.summarize()
        past_reader(bench.layout)(str(path), [])

    return cleanly(step)


@functools.lru_cache(maxsize=1)
def _kept_entry(path: Path, kept: Path) -> dict[str, Any]:
    """The columns of the file, whose cache is made in `kept`."""
    return {name: column.copy() for name, column in load_market(path, kept)[0].told().items()}


@at_home
def cache_entry(bench: Any, rng: random.Random, folder: Path) -> str:
    """An entry of the cache that something wrote to: what is read is what the file holds, all the same."""
    path, cache, kept = folder / "q.csv", folder / "cache", folder.parent / "kept-entry"
    path.write_bytes(quotes_file(".csv", 1, 40))
    before = _kept_entry(path, kept)
    shutil.copytree(kept, cache)
    there = sorted(found for found in cache.rglob("*") if found.is_file() and found.suffix != ".lock")
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
    "archive": (archive, 0.05),
    "scenario": (scenario, 0.12),
    "table": (table, 0.16),
    "cache entry": (cache_entry, 0.05),
}
