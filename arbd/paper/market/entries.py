"""Entries of the cache: folders of arrays that appear whole, built once per host whoever asks, memory-mapped.

An entry has one .npy per array and a manifest of them. It appears by rename, so a crash while building leaves only a
hidden folder that the next builder removes. Who builds holds a lock, so that of many who ask at once one builds.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

from arbd.atomic_file import place_folder
from arbd.errors import UsageError

MANIFEST = "manifest.json"
BUILD_TIMEOUT_S = 600.0

Arrays = dict[str, npt.NDArray[Any]]


def obtain(entry: Path, build: Callable[[Path], None]) -> Arrays:
    """The arrays of an entry, memory-mapped; `build` writes NAME.npy files into a new folder when there is none.

    UsageError when the entry cannot be read although it was just built.
    """
    found = _open(entry)
    if found is None:
        with filelock.FileLock(entry.with_name(f".{entry.name}.lock"), timeout=BUILD_TIMEOUT_S):
            found = _open(entry)
            if found is None:
                _build(entry, build)
                found = _open(entry)
    if found is None:
        raise UsageError(
            f"the cache entry {entry} cannot be read although it was just built: check the disk of {entry.parent}"
        )
    return found


def _open(entry: Path) -> Arrays | None:
    """The arrays, or None when the entry is absent or not as it was built.

    A file that anything has written to since has another size or time. What the disk itself garbles goes unseen.
    """
    arrays: Arrays = {}
    try:
        for name, trace in json.loads((entry / MANIFEST).read_text())["arrays"].items():
            path = entry / f"{name}.npy"
            if trace != _trace(path):
                return None
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return arrays


def read_arrays(folder: Path) -> Arrays:
    """All arrays of a folder, memory-mapped."""
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}


def _trace(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    for leftover in entry.parent.glob(f".{entry.name}.*.new"):
        shutil.rmtree(leftover)
    new = entry.with_name(f".{entry.name}.{secrets.token_hex(4)}.new")
    new.mkdir()
    build(new)
    traces = {path.stem: _trace(path) for path in sorted(new.iterdir())}
    (new / MANIFEST).write_text(json.dumps({"arrays": traces}))
    if entry.exists():
        shutil.rmtree(entry)
    place_folder(new, entry)
