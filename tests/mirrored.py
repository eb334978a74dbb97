"""Which tests stand beside a file: tests mirror the package, and this is the one place that knows how.

    python -m tests.mirrored FILE ...     prints them, one to a line

`arbd/a/b.py` is tested by `tests/a/test_b.py`, or `tests/a/test_b_*.py`; where there is neither, by all of `tests/a`, and
so on upwards. What has its tests elsewhere too is in `ELSEWHERE`, with nothing that the rule finds by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files and folders of the package, and the tests that hold them to their word besides (or instead of) the mirrored ones.
ELSEWHERE: Mapping[str, Sequence[str]] = {
    "arbd/spool/ledger.py": ("tests/spool/test_ledger.py", "tests/spool/test_queue.py"),
    "arbd/spool/queue.py": ("tests/spool/test_queue.py", "tests/spool/test_ledger.py"),
    "arbd/results/merge.py": ("tests/results/test_merge.py", "tests/results/test_external_merge.py"),
    "arbd/search/generations.py": ("tests/search/test_guided.py", "tests/search/test_seen.py"),
    "arbd/daemon/core/coordinator.py": ("tests/daemon/core", "tests/simulation"),
    "arbd/daemon/core": ("tests/daemon/core",),
    "arbd/daemon/service.py": ("tests/daemon/test_service_manager.py",),
    "arbd/paper/kernel": (
        "tests/paper/test_search.py",
        "tests/paper/test_engine_by_hand.py",
        "tests/paper/test_engine_equality.py",
    ),
    "arbd/paper/reference": ("tests/paper/test_engine_by_hand.py", "tests/paper/test_engine_identities.py"),
    "arbd/paper/metrics.py": ("tests/paper/test_engine_by_hand.py",),
    "arbd/paper/market/importers": ("tests/paper/test_importers.py", "tests/paper/test_join.py"),
    "arbd/paper/market": (
        "tests/paper/test_market_files.py",
        "tests/paper/test_quotes.py",
        "tests/paper/test_prepared.py",
    ),
    "arbd/search/samplers": ("tests/search/test_samplers.py", "tests/search/test_guided.py"),
    "arbd/search/models": ("tests/search/test_gaussian_process.py", "tests/search/test_acquisition.py"),
    "arbd/mirror": ("tests/mirror",),
}


def beside(path: Path) -> list[Path]:
    """The test files and folders beside `path` (absolute, or from the top of the checkout); [] where there are none."""
    relative = path.resolve().relative_to(ROOT) if path.is_absolute() else path
    if relative.parts[:1] == ("tests",):
        return [relative] if relative.name.startswith("test_") else []
    if relative.parts[:1] != ("arbd",) or relative.suffix != ".py":
        return []
    found = dict.fromkeys(_mirrored(relative))
    for place in (relative, *relative.parents):
        if str(place) in ELSEWHERE:
            found.update(dict.fromkeys(Path(name) for name in ELSEWHERE[str(place)] if (ROOT / name).exists()))
            break
    return list(found) or _whole_folder(relative)


def _mirrored(relative: Path) -> list[Path]:
    inside = Path("tests", *relative.parts[1:-1])
    stem = relative.stem if relative.stem != "__init__" else relative.parent.name
    exact = inside / f"test_{stem}.py"
    if (ROOT / exact).exists():
        return [exact]
    return sorted(path.relative_to(ROOT) for path in (ROOT / inside).glob(f"test_{stem}_*.py"))


def _whole_folder(relative: Path) -> list[Path]:
    inside = Path("tests", *relative.parts[1:-1])
    while inside != Path("tests"):
        if (ROOT / inside).is_dir() and any((ROOT / inside).glob("test_*.py")):
            return [inside]
        inside = inside.parent
    return []


def every_one_beside(paths: Iterable[Path]) -> list[str]:
    """The tests beside several files, each once, as arguments for pytest."""
    return list(dict.fromkeys(str(test) for path in paths for test in beside(path)))


if __name__ == "__main__":
    sys.stdout.write("".join(f"{test}\n" for test in every_one_beside(Path(name) for name in sys.argv[1:])))
