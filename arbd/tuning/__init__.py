"""The search: what varies, how it is chosen, what is evaluated.

The names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbd.tuning.harness import TuningConfig, TuningHarness, load_tuning_config
    from arbd.tuning.keys import build_tuning_key
    from arbd.tuning.objective import Outcome, Trial
    from arbd.tuning.result import TuningResult

_HOMES = {
    "Outcome": "arbd.tuning.objective",
    "Trial": "arbd.tuning.objective",
    "TuningConfig": "arbd.tuning.harness",
    "TuningHarness": "arbd.tuning.harness",
    "TuningResult": "arbd.tuning.result",
    "build_tuning_key": "arbd.tuning.keys",
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
