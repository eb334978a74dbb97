"""Converted market data, built once per host and shared by all its processes through the page cache.

Entries are named by the digest of the file they came from: its quotes, a column per array, and the market that
the engine walks over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from arbd.atomic_file import replace_file
from arbd.errors import DataError, UsageError
from arbd.paper.market.entries import obtain
from arbd.paper.market.prepared import BOOK_COLUMNS, Market, fill_market, prepare
from arbd.paper.market.quotes import COLUMNS, Quotes, untold
from arbd.paper.market.readers import read_quotes

FORMAT = 5


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_quotes(
    path: Path, cache_dir: Path | None, on_bad_rows: str = "refuse", expected_digest: str | None = None
) -> Quotes:
    """Quotes of a file, memory-mapped from the cache (None: read without one).

    With `expected_digest`, DataError unless the file has that SHA-256. UsageError when the cache cannot be
    written, DataError when the file is bad.
    """
    path = Path(path)
    if cache_dir is None:
        _check(path, file_digest(path) if expected_digest else None, expected_digest)
        return read_quotes(path, on_bad_rows)[0]
    with _cache_errors(path, cache_dir):
        return _quotes(path, _entry(path, cache_dir, on_bad_rows, expected_digest), on_bad_rows)


def load_market(
    path: Path, cache_dir: Path | None, on_bad_rows: str = "refuse", expected_digest: str | None = None
) -> tuple[Quotes, Market]:
    """`load_quotes`, and the same prepared for the engine; both memory-mapped."""
    path = Path(path)
    if cache_dir is None:
        quotes = load_quotes(path, None, on_bad_rows, expected_digest)
        return quotes, prepare(quotes)
    with _cache_errors(path, cache_dir):
        entry = _entry(path, cache_dir, on_bad_rows, expected_digest)
        quotes = _quotes(path, entry, on_bad_rows)
        arrays = obtain(entry.with_name(f"{entry.name}-market"), lambda folder: _save_market(quotes, folder))
    return quotes, Market(
        quotes.ts_ns, arrays["book"], arrays["edge_ab"], arrays["edge_ba"], arrays.get("unusable", np.empty(0, np.uint8)),
        quotes.age_a_ns, quotes.age_b_ns, quotes.block,
    )  # fmt: skip


def _entry(path: Path, cache_dir: Path, on_bad_rows: str, expected_digest: str | None) -> Path:
    cache_dir.mkdir(parents=True, exist_ok=True)
    digest = _remembered_digest(path, cache_dir)
    _check(path, digest, expected_digest)
    return cache_dir / f"{digest[:40]}-{FORMAT}-{on_bad_rows}"


def _quotes(path: Path, entry: Path, on_bad_rows: str) -> Quotes:
    told = obtain(entry, lambda folder: _save_quotes(read_quotes(path, on_bad_rows)[0], folder))
    n = len(told["ts_ns"])
    return Quotes(**{name: told[name] if name in told else untold(name, n) for name in COLUMNS})


def _save_quotes(quotes: Quotes, folder: Path) -> None:
    for name, column in quotes.told().items():
        np.save(folder / f"{name}.npy", column, allow_pickle=False)


def _save_market(quotes: Quotes, folder: Path) -> None:
    """Chunk by chunk into files: a market of any length takes little memory here."""
    n = len(quotes)
    shapes = {"book": (n, len(BOOK_COLUMNS)), "edge_ab": (n,), "edge_ba": (n,), "unusable": (n,)}
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.uint8 if name == "unusable" else np.float64, shape=shape
        )
        for name, shape in shapes.items()
    }
    market = fill_market(quotes, arrays["book"], arrays["edge_ab"], arrays["edge_ba"], arrays["unusable"])
    for array in arrays.values():
        array.flush()
    if not len(market.unusable):
        (folder / "unusable.npy").unlink()


@contextmanager
def _cache_errors(path: Path, cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(path, "no such file on this host") from error
    except PermissionError as error:
        raise UsageError(
            f"the cache {cache_dir} cannot be used ({error.strerror}: {error.filename}): "
            "give this user write permission there, or name another cache_dir in the settings"
        ) from error


def _check(path: Path, digest: str | None, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise DataError(
            path,
            f"is not the file that the job was accepted with (SHA-256 {str(digest)[:12]}, expected {expected[:12]}); "
            "copy the same version to every host",
        )


def _remembered_digest(path: Path, cache_dir: Path) -> str:
    """The file's digest, computed anew only when size, time or inode have changed: slots start by the dozen."""
    found = path.stat()
    identity = [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ino]
    name = hashlib.sha256(identity[0].encode()).hexdigest()[:24]  # type: ignore[attr-defined]
    note = cache_dir / f".{name}.digest"
    try:
        known = json.loads(note.read_text())
        if known["identity"] == identity:
            return str(known["digest"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # never seen, or torn by a crash: computed below
    digest = file_digest(path)
    replace_file(note, json.dumps({"identity": identity, "digest": digest}).encode())
    return digest
