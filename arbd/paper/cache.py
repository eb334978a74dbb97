"""Converted market data, built once per host and shared by all its processes through the page cache.

An entry is a folder named by the digest of the file it came from, with one .npy per column that the file tells
and a manifest of them. It appears by rename, whole, so a crash while building leaves only a hidden folder that the
next builder removes. Who builds holds a lock, so that of many who ask at once one builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

import filelock
import numpy as np

from arbd.errors import DataError, UsageError
from arbd.paper.quotes import COLUMNS, Quotes, untold
from arbd.paper.readers import read_quotes

FORMAT = 3
MANIFEST = "manifest.json"
BUILD_TIMEOUT_S = 600.0


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
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        digest = _remembered_digest(path, cache_dir)
        _check(path, digest, expected_digest)
        entry = cache_dir / f"{digest[:40]}-{FORMAT}-{on_bad_rows}"
        quotes = _open(entry)
        if quotes is None:
            with filelock.FileLock(cache_dir / f".{entry.name}.lock", timeout=BUILD_TIMEOUT_S):
                quotes = _open(entry)
                if quotes is None:
                    _build(path, entry, on_bad_rows)
                    quotes = _open(entry)
    except FileNotFoundError as error:
        raise DataError(path, "no such file on this host") from error
    except PermissionError as error:
        raise UsageError(
            f"the cache {cache_dir} cannot be used ({error.strerror}: {error.filename}): "
            "give this user write permission there, or name another cache_dir in the settings"
        ) from error
    if quotes is None:
        raise UsageError(
            f"the cache entry {entry} cannot be read although it was just built: check the disk of {cache_dir}"
        )
    return quotes


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
    temporary = cache_dir / f".{name}.{secrets.token_hex(4)}.tmp"
    temporary.write_text(json.dumps({"identity": identity, "digest": digest}))
    temporary.rename(note)
    return digest


def _open(entry: Path) -> Quotes | None:
    """The entry memory-mapped, or None when it is absent or not as it was built.

    A file that anything has written to since has another size or time. What the disk itself garbles goes unseen.
    """
    try:
        manifest = json.loads((entry / MANIFEST).read_text())
        n, columns = manifest["rows"], {}
        for name in COLUMNS:
            if name not in manifest["columns"]:
                columns[name] = untold(name, n)
                continue
            path = entry / f"{name}.npy"
            if manifest["columns"][name] != _trace(path):
                return None
            columns[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    return Quotes(**columns) if all(len(column) == n for column in columns.values()) else None


def _trace(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _build(path: Path, entry: Path, on_bad_rows: str) -> None:
    for leftover in entry.parent.glob(f".{entry.name}.*.new"):
        shutil.rmtree(leftover)
    quotes, _ = read_quotes(path, on_bad_rows)
    new = entry.parent / f".{entry.name}.{secrets.token_hex(4)}.new"
    new.mkdir()
    for name, column in quotes.told().items():
        with (new / f"{name}.npy").open("wb") as file:
            np.save(file, column, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    traces = {name: _trace(new / f"{name}.npy") for name in quotes.told()}
    with (new / MANIFEST).open("w") as text:
        json.dump({"rows": len(quotes), "columns": traces}, text)
        text.flush()
        os.fsync(text.fileno())
    _sync_folder(new)
    if entry.exists():
        shutil.rmtree(entry)
    new.rename(entry)
    _sync_folder(entry.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
