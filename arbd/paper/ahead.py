"""Compiles the engine before anybody waits for it: at installation, by `arbd compile`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from arbd.paper.code_cache import trusted_cache, use_cache
from arbd.paper.kernel.sweeps import SWEEPS
from arbd.paper.machine_code import Loop
from arbd.paper.market.importers.book import play
from arbd.paper.market.loops import LOOPS


def compile_ahead(cache_dir: Path) -> Path:
    """Have the machine code of every strategy below `cache_dir` (or `$NUMBA_CACHE_DIR`); where it is.

    What is there already is read, not compiled again. UsageError when the folder is no good for it.
    """
    use_cache(cache_dir)
    for loop in all_loops():
        loop.ready()
    return trusted_cache()


def all_loops() -> tuple[Loop, ...]:
    """All that is compiled for jobs, imports and made-up quotes."""
    return (*LOOPS, play, *chain.from_iterable(SWEEPS.values()))
