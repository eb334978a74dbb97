"""What is installed: versions and records, also where an application was packaged without the metadata of its distributions.

`importlib.metadata` is asked where the folders of metadata do not tell: importing it, with all of `email`, takes a daemon
longer than all that it asks.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = "unknown"


def version_of(distribution: str, *, may_import: bool = True) -> str:
    """The version of an installed distribution; `UNKNOWN` where nothing tells it.

    Without metadata the module of the same name is asked, which imports it, unless `may_import` is False.
    """
    for line in _lines(distribution, "METADATA"):
        if line.startswith("Version:"):
            return line.partition(":")[2].strip()
        if not line:
            break  # what follows is a text
    from importlib import metadata  # noqa: PLC0415 - see above

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        if not may_import:
            return UNKNOWN
    return str(getattr(importlib.import_module(distribution), "__version__", UNKNOWN))


def recorded_hashes(distribution: str) -> dict[str, str]:
    """SHA-256 of a distribution's files, by their names, in the form of its RECORD; empty where none is installed so."""
    found = {}
    for line in _lines(distribution, "RECORD"):
        name, _, rest = line.rpartition(",")[0].rpartition(",")
        if rest.startswith("sha256="):
            found[name] = rest.removeprefix("sha256=")
    return found


def _lines(distribution: str, file: str) -> Iterator[str]:
    folder = _metadata_folder(distribution)
    if folder is not None:
        try:
            yield from (folder / file).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return


def _metadata_folder(distribution: str) -> Path | None:
    """Where a wheel that is installed says what it is; the first on the path, as for imports."""
    wanted = re.compile(re.sub("[-_.]+", "[-_.]+", distribution) + r"-[^-]+\.dist-info", re.IGNORECASE)
    for place in sys.path:
        try:
            with os.scandir(place or ".") as entries:
                names = [entry.name for entry in entries]
        except OSError:
            continue  # a zip file, or no longer there
        for name in names:
            if wanted.fullmatch(name):
                return Path(place or ".", name)
    return None


@functools.lru_cache(1_000)
def is_library(file: str | None) -> bool:
    """Whether a file or folder is arbd's, the interpreter's or an installed package's; None, of what has no file, is."""
    if file is None or file.startswith("<frozen"):
        return True
    return any(Path(file).is_relative_to(folder) for folder in _library_folders())


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    import sysconfig  # noqa: PLC0415 - who only asks for a version needs none of it

    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return (Path(__file__).parent, *(Path(sysconfig.get_path(name)) for name in names))
