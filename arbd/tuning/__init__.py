"""The search: what varies, how it is chosen, what is evaluated.

The names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbd.objective.protocol import Outcome, Trial
    from arbd.results.keys import build_tuning_key
    from arbd.results.result import TuningResult
    from arbd.tuning.harness import TuningConfig, TuningHarness, load_tuning_config

_HOMES = {
    "Outcome": "arbd.objective.protocol",
    "Trial": "arbd.objective.protocol",
    "TuningConfig": "arbd.tuning.harness",
    "TuningHarness": "arbd.tuning.harness",
    "TuningResult": "arbd.results.result",
    "build_tuning_key": "arbd.results.keys",
    "load_tuning_config": "arbd.tuning.harness",
}

__all__ = [
    "Outcome",
    "Trial",
    "TuningConfig",
    "TuningHarness",
    "TuningResult",
    "build_tuning_key",
    "load_tuning_config",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
