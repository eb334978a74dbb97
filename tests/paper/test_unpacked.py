"""Archives damaged in any place, packed in any way, are refused in arbd's own words wherever they are read."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arbd.errors import DataError
from arbd.paper.market.importers import VenueOptions, import_venue
from arbd.paper.market.readers import read_quotes
from tests.paper.dumps import okx_orderbook, okx_trades

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bz2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
DAMAGES = 60


def quotes(n: int = 400) -> dict[str, np.ndarray]:
    price = 100 + np.arange(n) % 7
    ts_ns = 1_700_000_000_000_000_000 + np.arange(n) * 1_000_000_000
    return {"ts_ns": ts_ns, "bid_a": price, "ask_a": price + 1, "bid_b": price, "ask_b": price + 1}


def zip_of(name: str, content: bytes, method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def table_in_zip(method: int) -> bytes:
    return zip_of("t.csv", okx_trades().encode(), method)


def npz(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, column in quotes().items():
            member = io.BytesIO()
            np.save(member, column.astype(np.float64 if name != "ts_ns" else np.int64))
            archive.writestr(f"{name}.npy", member.getvalue())
    return out.getvalue()


def dump_in_zip(method: int) -> bytes:
    return zip_of("L2.data", okx_orderbook().encode(), method)


def as_quotes(path: Path) -> object:
    return read_quotes(path)


def as_dump(path: Path) -> object:
    return import_venue("okx-orderbook", [path], VenueOptions(levels=2))


def as_trades(path: Path) -> object:
    return import_venue("okx-trades", [path], VenueOptions(half_spread_bps=10))


FILES: dict[str, tuple[str, Callable[[int], bytes], Callable[[Path], object]]] = {
    "a table": ("t.csv.zip", table_in_zip, as_trades),
    "arrays": ("q.npz", npz, as_quotes),
    "a dump": ("L2.data.zip", dump_in_zip, as_dump),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", FILES)
def test_a_zip_file_damaged_anywhere_is_refused_in_words_of_its_own(tmp_path: Path, kind: str, method: str) -> None:
    name, make, read = FILES[kind]
    good = make(METHODS[method])
    path = tmp_path / name
    path.write_bytes(good)
    read(path)
    rng = random.Random(kind + method)
    refused = 0
    for at in range(DAMAGES):
        place = len(good) * at // DAMAGES
        broken = bytearray(good)
        broken[place : place + 4] = rng.randbytes(4)
        for damaged in (bytes(broken), good[:place]):
            path.write_bytes(damaged)
            try:
                read(path)
            except DataError as error:
                told = str(error)
                assert name in told
                assert "TMPDIR" not in told, "it is not for want of room"
                refused += 1
    assert refused >= DAMAGES
