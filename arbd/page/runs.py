"""Iterations of paper sessions run again, so that the page can show what they did over time.

Each runs in a process of its own, one at a time and at low priority: a page is not to cost a host its memory, nor an
iteration that never ends its page. What came of the last few stays in a private folder, mapped from there when a
browser zooms.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from arbd.analysis.run_series import RunSeries
from arbd.errors import ArbdError
from arbd.page.sessions import as_json

TIMEOUT_S = 180.0
MAX_RUNS = 8
STRETCHES = 1_000


class RunError(ArbdError):
    """An iteration could not be run again; the reason."""


class Runs:
    """Runs of iterations, kept by session, iteration and the stamp of the session's results.

    `data_dirs` is as in the settings: what the data files of jobs must be below, or be readable to everybody.
    """

    def __init__(self, spool: Path, cache_dir: Path | None, data_dirs: Sequence[Path]) -> None:
        self._spool, self._cache_dir, self._data_dirs = spool, cache_dir, data_dirs
        self._home = tempfile.TemporaryDirectory(prefix="arbd-page-", ignore_cleanup_errors=True)
        self._one = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Path, dict[str, Any]]] = OrderedDict()
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None

    def body(
        self, session_id: str, iteration: int, stamp: Hashable, window: tuple[int, float | None, float | None]
    ) -> bytes:
        """The markets of a run as JSON; with a market's number above 0, that market alone from one time to another, in ms."""
        folder, about = self._run(session_id, iteration, stamp)
        number, start, end = window
        chosen = range(about["markets"]) if number <= 0 else [number - 1]
        if number > about["markets"]:
            raise RunError(f"iteration {iteration} of session {session_id} has {about['markets']} markets")
        cuts = [RunSeries.load(folder / str(at)).cut(start, end, STRETCHES) for at in chosen]
        return as_json({"equal": about["equal"], "differences": about["differences"], "markets": cuts})

    def close(self) -> None:
        """End what runs, and remove what is kept."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
        self._home.cleanup()

    def _run(self, session_id: str, iteration: int, stamp: Hashable) -> tuple[Path, dict[str, Any]]:
        key = (session_id, iteration, stamp)
        with self._one:
            if key not in self._kept:
                self._count += 1
                folder = Path(self._home.name) / str(self._count)
                folder.mkdir()
                self._kept[key] = (folder, self._evaluate(session_id, iteration, folder))
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_RUNS:
                _, (old, _) = self._kept.popitem(last=False)
                shutil.rmtree(old, ignore_errors=True)
            return self._kept[key]

    def _evaluate(self, session_id: str, iteration: int, folder: Path) -> dict[str, Any]:
        asked = {
            "spool": str(self._spool),
            "session_id": session_id,
            "iteration": iteration,
            "folder": str(folder),
            "cache_dir": None if self._cache_dir is None else str(self._cache_dir),
            "data_dirs": [str(folder) for folder in self._data_dirs],
        }
        # Not from the current folder: what lies there is no part of arbd.
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        with subprocess.Popen(
            [sys.executable, "-m", "arbd.page.one_run"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        ) as process:  # fmt: skip
            self._process = process
            try:
                out, errors = process.communicate(json.dumps(asked).encode(), timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RunError(
                    f"iteration {iteration} of session {session_id} ran longer than {TIMEOUT_S:.0f} s here"
                ) from None
            finally:
                self._process = None
        if process.returncode:
            told = errors.decode(errors="replace").strip().splitlines()
            raise RunError(told[-1] if told else f"the process that ran it ended with status {process.returncode}")
        about: dict[str, Any] = json.loads(out)
        return about
