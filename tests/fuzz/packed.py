"""Hostile containers: packed otherwise than the name says, packed twice, cut, joined, or far larger than they look."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable

from tests.fuzz.mutations import mutate_bytes

# What a small bomb holds: enough to be noticed where it is held at once, quick to write out.
BOMB_BYTES = 48 << 20


def zipped(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tarred(members: list[tuple[str, bytes]], mode: str = "w:gz") -> bytes:
    """An archive of these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@functools.lru_cache(maxsize=4)
def bomb(kind: str) -> bytes:
    """A few kilobytes that unpack to BOMB_BYTES: a line without an end, or rows without an end."""
    data = bytes(BOMB_BYTES) if kind == "zeros" else b"1,1,1,1,1,1\n" * (BOMB_BYTES // 12)
    return gzip.compress(data, 9)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "two members": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    "with more behind": lambda data: gzip.compress(data) + b"more",
    "with zeros behind": lambda data: gzip.compress(data) + bytes(1000),
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": functools.partial(zipped, "q.csv"),
    "stored": functools.partial(zipped, "q.csv", method=zipfile.ZIP_STORED),
    "bz2 in zip": functools.partial(zipped, "q.csv", method=zipfile.ZIP_BZIP2),
    "xz in zip": functools.partial(zipped, "q.csv", method=zipfile.ZIP_LZMA),
    "zip in zip": lambda data: zipped("q.csv.zip", zipped("q.csv", data)),
    "other name": functools.partial(zipped, "../q.csv"),
    "folder": functools.partial(zipped, "q.csv/"),
    "two files": lambda data: tarred([("a.csv", data), ("b.csv", data)]),
    "tar": lambda data: tarred([("q.csv", data)]),
    "tar alone": lambda data: tarred([("q.csv", data)], "w:"),
    "nothing in it": lambda _: tarred([]),
    "not packed": lambda data: data,
    "nothing": lambda _: b"",
    "lies about its size": lambda data: _lying(zipped("q.csv", data)),
}


def _lying(data: bytes) -> bytes:
    """A zip file whose folder says another size than its member has."""
    at = data.find(b"PK\x01\x02")
    return data[: at + 24] + (1 << 31).to_bytes(4, "little") + data[at + 28 :]


def repacked(rng: random.Random, data: bytes) -> bytes:
    """The same packed somehow, seldom a bomb, and often damaged."""
    if rng.random() < 0.004:
        return bomb(rng.choice(["zeros", "rows"]))
    found = PACKERS[rng.choice(list(PACKERS))](data)
    return mutate_bytes(rng, found) if rng.random() < 0.4 else found
