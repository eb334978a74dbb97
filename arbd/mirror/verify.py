"""Does Redis hold what the files of a session say? Reads both, changes nothing."""

from __future__ import annotations

import time

from arbd.job.stored import read_spec
from arbd.mirror.follow import hashes
from arbd.mirror.state import StateManager
from arbd.results.columns import RowRules
from arbd.results.csv_writer import BUDGET, FEASIBLE, FOLD, PHASE, VIOLATION
from arbd.results.session_rows import read_rows
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths
from arbd.spool.queue import SessionQueue
from arbd.spool.system import SystemClock
from arbd.values import dataclass

STEP_ROWS = 1_000
LOOK_AGAIN_S = 0.5
# Fields that hashes of earlier versions have not.
ADDED = frozenset({BUDGET, FEASIBLE, FOLD, PHASE, VIOLATION})


@dataclass(frozen=True, slots=True)
class Verified:
    """Results in the files, and the keys of hashes that are missing, say something else, or should not be there.

    `on_its_way` are differences of a session that goes on which were gone a moment later: results that came meanwhile.
    """

    results: int
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    extra: tuple[str, ...]
    on_its_way: int = 0

    @property
    def equal(self) -> bool:
        """True when Redis holds the results and nothing else."""
        return not (self.missing or self.wrong or self.extra)


def verify(
    files: Files, paths: SessionPaths, state: StateManager, patience_s: float = 10.0, clock: Waiting | None = None
) -> Verified:
    """Compare all results of a session with its hashes.

    Of one that goes on, what differs is compared again until it does not, for `patience_s` at most: only what differed all
    the time counts.
    """
    queue = SessionQueue(files, paths)
    done = queue.refresh().done
    found = _compare(files, paths, state, done=done)
    if done or found.equal:
        return found
    clock = clock or Waiting()
    first = _differences(found)
    lasting, give_up = set(first), clock.monotonic_s() + patience_s
    while lasting and clock.monotonic_s() < give_up:
        clock.sleep(LOOK_AGAIN_S)
        found = _compare(files, paths, state, done=queue.refresh().done)
        lasting &= _differences(found)
    kept = [tuple(key for key in keys if key in lasting) for keys in (found.missing, found.wrong, found.extra)]
    return Verified(found.results, kept[0], kept[1], kept[2], len(first - lasting))


class Waiting(SystemClock):
    """A clock that can be waited by."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def _differences(found: Verified) -> set[str]:
    return {*found.missing, *found.wrong, *found.extra}


def _compare(files: Files, paths: SessionPaths, state: StateManager, *, done: bool) -> Verified:
    session_id = paths.session_id
    spec = read_spec(files, paths)
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
