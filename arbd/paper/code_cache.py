"""Where machine code of the engine is kept.

The folder carries a digest of all of this package's sources: code of another version is never run.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from arbd.private_folder import private_folder, used


class _Place:
    """Below which folder this process keeps machine code: one for all, as what it compiles is the same for all."""

    below: Path | None = None


_PLACE = _Place()


def sources_digest() -> str:
    """Of every source file of the paper engine."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def use_cache(folder: Path) -> None:
    """Keep machine code below `folder`; `$NUMBA_CACHE_DIR`, where set, goes before. Call before anything compiles."""
    _PLACE.below = folder


def trusted_cache() -> Path:
    """The folder of machine code, once it is known to be this user's alone.

    What is found there is run. UsageError when somebody else could have put it there, or the folder cannot be made.
    """
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        return _private(Path(named))
    below = _PLACE.below or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbd"
    return _private(below / f"numba-{sources_once()}")


@functools.cache
def sources_once() -> str:
    """`sources_digest` as this process found it first: it runs the code that it began with."""
    return sources_digest()


@functools.cache
def _private(folder: Path) -> Path:
    found = private_folder(folder)
    used(found)
    return found
