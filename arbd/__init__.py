"""arbd tunes arbitrage strategies on many machines with nothing but a shared folder between them.

The names of the Python API are imported when they are first used, so that `import arbd` costs nothing.
"""

from __future__ import annotations

# What type checkers take for true. The module that says so otherwise takes longer to import than all of this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from arbd.api.job import Job
    from arbd.api.session import Session
    from arbd.api.study import Study
    from arbd.api.tune import submit, tune
    from arbd.errors import TrialPruned

__version__ = "0.1.0"
__all__ = ["Job", "Session", "Study", "TrialPruned", "__version__", "submit", "tune"]
_HOMES = {
    "Job": "arbd.api.job",
    "Session": "arbd.api.session",
    "Study": "arbd.api.study",
    "TrialPruned": "arbd.errors",
    "submit": "arbd.api.tune",
    "tune": "arbd.api.tune",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        import importlib  # noqa: PLC0415 - not for who only asks for the version

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
