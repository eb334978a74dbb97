"""What came of a session: load its results, rank them, write them out.

The names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbd.analysis.analyzer import TuningAnalyzer
    from arbd.analysis.loading import load_results_from_csv, load_session
    from arbd.analysis.text import format_result_summary
    from arbd.results.result import TuningResult

_HOMES = {
    "TuningAnalyzer": "arbd.analysis.analyzer",
    "TuningResult": "arbd.results.result",
    "format_result_summary": "arbd.analysis.text",
    "load_results_from_csv": "arbd.analysis.loading",
    "load_session": "arbd.analysis.loading",
}

__all__ = [
    "TuningAnalyzer",
    "TuningResult",
    "format_result_summary",
    "load_results_from_csv",
    "load_session",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
