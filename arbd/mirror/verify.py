"""Does Redis hold what the files of a session say? Reads both, changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from arbd.job.stored import read_spec
from arbd.mirror.follow import hashes
from arbd.mirror.state import StateManager
from arbd.results.columns import RowRules
from arbd.results.csv_writer import BUDGET, FEASIBLE, FOLD, PHASE, VIOLATION
from arbd.results.session_rows import read_rows
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.queue import SessionQueue

STEP_ROWS = 1_000
# Fields that hashes of earlier versions have not.
ADDED = frozenset({BUDGET, FEASIBLE, FOLD, PHASE, VIOLATION})


@dataclass(frozen=True, slots=True)
class Verified:
    """Results in the files, and the keys of hashes that are missing, say something else, or should not be there."""

    results: int
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """True when Redis holds the results and nothing else."""
        return not (self.missing or self.wrong or self.extra)


def verify(files: Files, paths: SessionPaths, state: StateManager) -> Verified:
    """Compare all results of a session with its hashes."""
    session_id = paths.session_id
    spec = read_spec(files, paths)
    done = SessionQueue(files, paths).refresh().done
    missing: list[str] = []
    wrong: list[str] = []
    expected: set[str] = set()
    for group in read_rows(files, paths, done=done, rules=RowRules.of(spec)):
        rows = list(hashes(state, spec, session_id, group))
        for start in range(0, len(rows), STEP_ROWS):
            step = rows[start : start + STEP_ROWS]
            expected.update(key for key, _ in step)
            for (key, fields), found in zip(step, state.results([key for key, _ in step]), strict=True):
                if found != {name: cell for name, cell in fields.items() if name in found or name not in ADDED}:
                    (wrong if found else missing).append(key)
    extra = sorted(set(state.keys(session_id)) - expected)
    return Verified(len(expected), tuple(missing), tuple(wrong), tuple(extra))
