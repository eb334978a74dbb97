"""Compiles the engine before anybody waits for it: at installation, by `arbd compile`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from arbd.paper.compiled import compile_once, trusted_cache, use_cache
from arbd.paper.market.synth import synth_profile
from arbd.paper.objective import PaperObjective
from arbd.paper.strategies import STRATEGIES

TICKS = 64


def compile_ahead(cache_dir: Path) -> Path:
    """Have the machine code of every strategy below `cache_dir` (or `$NUMBA_CACHE_DIR`); where it is.

    What is there already is read, not compiled again. UsageError when the folder is no good for it.
    """
    use_cache(cache_dir)
    market = synth_profile("brl", 1, TICKS)

    def load(strategy: str) -> None:
        objective = PaperObjective([market], {"strategy": strategy})
        objective.compile(strategy)
        objective.evaluate({})
        PaperObjective([market], {"strategy": strategy, "center": "ewma"}).evaluate({})

    for strategy in STRATEGIES.built_in():
        compile_once(partial(load, strategy), strategy)
    return trusted_cache()
