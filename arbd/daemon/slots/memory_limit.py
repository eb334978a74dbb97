"""A bound for the memory of an objective."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def memory_limit(memory_mb: int | None) -> Iterator[None]:
    """Bound this process's private memory while the objective runs; going over it raises MemoryError there."""
    if memory_mb is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit if before[1] < 0 else min(limit, before[1]), before[1]))
    try:
        yield
    finally:
        # Where the objective lowered the hard limit, it cannot be put back; that is found after the window.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, before)
