"""The spool as of a moment ago: every session in one row, every worker, and what changed since somebody last asked.

One thread looks, as long as anybody watches; who asks gets what it saw last and never waits for the spool. Sessions that
are over are looked at again in turns, the others at every look. A look that costs more comes less often.
"""

from __future__ import annotations

import itertools
import pwd
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any

from arbd.analysis.overview import blocked_by
from arbd.analysis.pace import bad, eta_s, rate_per_s
from arbd.errors import ArbdError, SpoolError
from arbd.job.stored import read_spec
from arbd.spool.bookmarks import read_state
from arbd.spool.dropped import dropped_jobs
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.liveness import is_held, read_beats, unread_beats
from arbd.spool.peers import silent_s
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import is_being_made
from arbd.values import dataclass

MIN_PAUSE_S = 0.7
# Looking costs at most this part of a core, once everything was seen.
DUTY = 0.02
# Nobody has asked for so long: nobody watches.
IDLE_S = 60.0
HANGS_S = 5.0
# Sessions that are over and looked at again in each look.
TURN = 200
MAX_GONE = 10_000
MAX_WORKER_POINTS = 600
MAX_JOBS = 500
REASON_CHARS = 2_000


@dataclass(slots=True)
class _Session:
    """One session: its row for the page, how the row was read, and in which version it last changed."""

    row: dict[str, Any]
    version: int
    seen: tuple[int, int] | None = None
    queue: SessionQueue | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def spool_trouble(layout: SpoolLayout) -> str:
    """Why nothing can be read of the spool as a whole, and what to do; '' where it is there."""
    try:
        layout.require_readable()
    except SpoolError as error:
        return str(error)
    except OSError as error:
        return f"the spool {layout.root} cannot be reached: {error.strerror or error}"
    return ""


class SpoolWatch:
    """Follows a spool. `bookmarks` is this user's folder for where readers left off."""

    def __init__(self, layout: SpoolLayout, bookmarks: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout, self._bookmarks, self._clock = layout, bookmarks, clock
        self._files: Files = layout.files()
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._gone: deque[tuple[int, str]] = deque(maxlen=MAX_GONE)
        # Above what a server before this one said, so that its browsers ask for all again.
        self._version = self._first = time.time_ns() // 1_000_000
        self._turn: deque[str] = deque()
        self._jobs: list[dict[str, Any]] = []
        self._workers: list[dict[str, Any]] = []
        self._points: dict[str, deque[tuple[float, float, int]]] = {}
        self._owners: dict[int, str] = {}
        self._blocked: dict[str, str] = {}
        self._trouble = ""
        self._began: float | None = None
        self._ended: float | None = None
        self._complete = False
        self._asked = self._clock()
        self._wake = threading.Event()
        self._stop = threading.Event()

    def start(self) -> None:
        """Look from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, daemon=True, name="arbd-page-watch").start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._wake.set()

    def changes(self, since: int, only: str | None = None) -> dict[str, Any]:
        """Rows that changed after version `since` (0: all), of one session if `only`; workers, jobs, health."""
        self._asked = self._clock()
        self._wake.set()
        with self._lock:
            whole = not self._first <= since <= self._version or (
                len(self._gone) == MAX_GONE and since < self._gone[0][0]
            )
            rows = []
            # The last to change come last.
            for name, found in reversed(self._sessions.items()):
                if not whole and found.version <= since:
                    break
                if only in (None, name):
                    rows.append(found.row)
            gone = []
            for version, name in reversed(self._gone):
                if whole or version <= since:
                    break
                gone += [name] if name not in self._sessions else []
            return {
                "version": self._version,
                "whole": whole,
                "sessions": rows,
                "gone": gone,
                "count": len(self._sessions),
                "jobs": self._jobs,
                "workers": self._workers,
                **self._health(),
            }

    def worker_points(self) -> dict[str, list[tuple[float, float, int]]]:
        """Of each worker: seconds before now, rate, busy slots, since this page runs."""
        now = self._clock()
        with self._lock:
            return {
                name: [(now - at, rate, busy) for at, rate, busy in points] for name, points in self._points.items()
            }

    def _health(self) -> dict[str, Any]:
        now = self._clock()
        hangs = self._began is not None and now - self._began > HANGS_S
        return {
            "complete": self._complete,
            "trouble": self._trouble,
            "hangs_s": round(now - self._began, 1) if hangs and self._began is not None else 0,
            "age_s": None if self._ended is None else round(now - self._ended, 1),
        }

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._clock() - self._asked > IDLE_S:
                self._wake.clear()
                self._wake.wait()
                continue
            cost_s = self.look()
            self._stop.wait(max(MIN_PAUSE_S, cost_s / DUTY))

    def look(self) -> float:
        """Look once; what it cost in seconds of CPU, nothing for the first time."""
        self._began = self._clock()
        begun, first = time.thread_time(), not self._complete
        try:
            blocked = blocked_by(read_beats(self._files, self._layout))
            self._blocked = {
                name: "; ".join(f"{worker}: {why}" for worker, why in reasons.items())[:REASON_CHARS]
                for name, reasons in blocked.items()
            }
            self._look_at_sessions()
            jobs, workers = self._read_jobs(), self._read_workers()
            with self._lock:
                self._jobs, self._workers, self._trouble = jobs, workers, ""
        except (ArbdError, OSError) as error:
            self._trouble = f"{spool_trouble(self._layout) or error}; what is shown is as it was before"
        else:
            self._complete, self._ended = True, self._clock()
        self._began = None
        return 0.0 if first else time.thread_time() - begun

    def _look_at_sessions(self) -> None:
        names = [name for name in self._files.names(self._layout.sessions) if not name.startswith(".")]
        there = set(names)
        with self._lock:
            for name in [name for name in self._sessions if name not in there]:
                del self._sessions[name]
                self._version += 1
                self._gone.append((self._version, name))
        turn = self._next_turn()
        for name in names:
            known = self._sessions.get(name)
            if known is None or known.queue is not None or name in turn or known.seen is None:
                self._look_at(name, known)

    def _next_turn(self) -> set[str]:
        if not self._turn:
            self._turn.extend(name for name, found in self._sessions.items() if found.queue is None)
        return {self._turn.popleft() for _ in range(min(TURN, len(self._turn)))}

    def _look_at(self, name: str, known: _Session | None) -> None:
        found = self._readable(name, known)
        if isinstance(found, Exception) and known is None:
            if is_being_made(self._files, self._layout, name):
                return
            # It may have been made whole since that look.
            found = self._readable(name, None)
        if isinstance(found, Exception):
            found = _Session({"id": name, "state": "unreadable", "reason": str(found)[:REASON_CHARS]}, 0)
        if found is known:
            return
        with self._lock:
            if known is not None and known.row == found.row:
                found.version = known.version
            else:
                self._version += 1
                found.version = self._version
            self._sessions[name] = found
            if found.version == self._version:
                self._sessions.move_to_end(name)

    def _readable(self, name: str, known: _Session | None) -> _Session | ArbdError | OSError:
        try:
            return self._read(name, known)
        except (ArbdError, OSError) as error:
            return error

    def _read(self, name: str, known: _Session | None) -> _Session:
        paths = self._layout.session(name)
        status = self._files.look(paths.ledger)
        seen = None if status is None else (status.size, status.mtime_ns)
        reason = self._blocked.get(name, "")
        if known is not None and seen is not None and seen == known.seen and known.row.get("reason", "") == reason:
            return known
        facts = (known.facts if known is not None else {}) or self._read_facts(name)
        if known is not None and known.queue is not None:
            queue: SessionQueue | None = known.queue
            state = known.queue.refresh()
        else:
            state = read_state(self._files, paths, self._bookmarks)
            queue = None
            if not state.over:
                queue = SessionQueue(self._files, paths)
                state = queue.refresh()
        row = _row(name, state, facts) | ({} if state.over or not reason else {"reason": reason})
        return _Session(row, 0, seen, None if state.over else queue, facts)

    def _read_facts(self, name: str) -> dict[str, Any]:
        """What of the job stands in the list; it never changes."""
        paths = self._layout.session(name)
        spec = read_spec(self._files, paths)
        return {
            "method": spec.method,
            "metric": spec.metrics[0].name,
            "objective": str(spec.objective),
            "owner": self._owner(self._files.system.look(paths.job).uid),
        }

    def _owner(self, uid: int) -> str:
        if uid not in self._owners:
            try:
                self._owners[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._owners[uid] = str(uid)
        return self._owners[uid]

    def _read_jobs(self) -> list[dict[str, Any]]:
        """Job files that wait or were refused, as rows beside those of sessions."""
        jobs = itertools.islice(dropped_jobs(self._files, self._layout), MAX_JOBS)
        return [{"id": job.name, "state": job.state.value, "reason": job.line[:REASON_CHARS]} for job in jobs]

    def _read_workers(self) -> list[dict[str, Any]]:
        now = self._clock()
        found = []
        beats = read_beats(self._files, self._layout)
        silent = silent_s(beats)
        for beat in beats:
            about, alive = beat.about, is_held(self._files, self._layout, beat.worker_id)
            if not alive and about.get("state") == "ended":
                continue
            found.append(
                {
                    "id": beat.worker_id,
                    "alive": alive,
                    "state": ("silent" if beat.worker_id in silent else str(about.get("state"))) if alive else "gone",
                    "silent_s": silent.get(beat.worker_id),
                    **{key: about.get(key) for key in ("host", "pid", "slots", "busy", "done", "rate", "trouble")},
                    "version": (about.get("versions") or {}).get("arbd"),
                    "sessions": about.get("sessions", []),
                    "blocked": about.get("blocked", {}),
                    "executor": _executor(about.get("executor")) if alive else None,
                }
            )
            points = self._points.setdefault(beat.worker_id, deque(maxlen=MAX_WORKER_POINTS))
            points.append(
                (now, float(about.get("rate") or 0.0) if alive else 0.0, int(about.get("busy") or 0) if alive else 0)
            )
        for name, error in unread_beats(self._files, self._layout).items():
            alive = is_held(self._files, self._layout, name)
            found.append(
                {"id": name, "alive": alive, "state": "unread", "trouble": str(error), "sessions": [], "blocked": {}}
            )
        return found


def _executor(told: Any) -> dict[str, Any] | None:
    """The slots that a worker has from somebody else, as its heartbeat tells it: what it has, and what is in their way."""
    if not isinstance(told, dict):
        return None
    refused = told.get("refused")
    notes = [f"waits for {told['waits_for']}"] if told.get("waits_for") else []
    notes += [f"refuses {name}: {why}" for name, why in (refused.items() if isinstance(refused, dict) else ())]
    return {
        **{key: told.get(key) for key in ("kind", "address", "slots", "ready", "busy")},
        "notes": [note[:REASON_CHARS] for note in notes],
    }


def _row(name: str, state: LedgerState, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "state": state.label(),
        "done": state.counted,
        "of": state.n,
        "bad": bad(state),
        "rate": rate_per_s(state),
        "left_s": eta_s(state),
        "started": state.started_ns / 1e6 if state.started_ns else None,
        "workers": len(state.worker_counts),
        **facts,
        # Sessions of earlier versions have no author; their job file has an owner.
        "owner": state.provenance.owner or facts["owner"],
        "labels": [f"{name}={text}" if text else name for name, text in state.provenance.labels.items()],
    }
