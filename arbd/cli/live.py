"""What `arbctl watch` and `arbctl top` know of a spool: read incrementally, a little at every look."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from arbd.analysis.pace import bad, eta_s, rate_per_s
from arbd.analysis.standstill import Standstill, standstill_of
from arbd.analysis.waiting import waiting_share
from arbd.cli.app import duration
from arbd.errors import ArbdError, NotFoundError
from arbd.job.stored import read_spec
from arbd.spool.dropped import DroppedJob, queued_jobs
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.liveness import Beat, is_held, read_beats, unread_beats
from arbd.spool.queue import SessionQueue
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import is_being_made
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.results.missing_metrics import MissingMetrics

ENDED = "ended"


class Best(Protocol):
    """The best result of a session so far, by its first metric."""

    n: int
    metric: str
    value: float | None
    iteration: int

    def look(self, state: LedgerState) -> None:
        """Read what is new."""


def shown_best(best: Best) -> str:
    """For people."""
    return "-" if best.value is None else f"{best.metric} {best.value:.6g} (#{best.iteration})"


@dataclass(slots=True)
class Followed:
    """A session that is watched."""

    queue: SessionQueue
    best: Best
    metrics: MissingMetrics

    @property
    def session_id(self) -> str:
        """Its id."""
        return self.queue.paths.session_id

    @property
    def state(self) -> LedgerState:
        """As of the last look."""
        return self.queue.state


@dataclass(slots=True)
class Live:
    """The spool as of the last `look`. `only` restricts it to one session; else sessions that are over are left out."""

    layout: SpoolLayout
    only: str | None
    sessions: list[Followed] = field(default_factory=list)
    beats: list[tuple[Beat, bool]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    jobs: list[DroppedJob] = field(default_factory=list)
    standstill: Standstill = field(default_factory=lambda: Standstill(()))
    _known: dict[str, Followed] = field(default_factory=dict)
    _first: bool = True
    _files: Files = field(init=False)

    def __post_init__(self) -> None:
        self._files = self.layout.files()

    def _not_over(self) -> list[str]:
        names = self._files.names(self.layout.sessions)
        ended = ended_sessions(self._files, self.layout, names)
        return [name for name in names if not name.startswith(".") and name not in ended]

    def look(self) -> None:
        """Read what is new. The first time, an error when the one session asked for is not there or cannot be read."""
        self.errors = []
        names = [self.only] if self.only is not None else self._not_over()
        seen = []
        for name in names:
            try:
                seen.append(self._followed(name))
            except (ArbdError, OSError) as error:
                if self.only is not None and (self._first or isinstance(error, NotFoundError)):
                    raise
                if not is_being_made(self._files, self.layout, name):
                    self.errors.append(str(error))
        self._first = False
        self._known = {followed.session_id: followed for followed in seen}
        self.sessions = [f for f in seen if self.only is not None or not f.state.over]
        self.missing = {}
        for followed in self.sessions:
            try:
                followed.best.look(followed.state)
                if text := followed.metrics.look():
                    self.missing[followed.session_id] = text
            except (ArbdError, OSError) as error:
                self.errors.append(str(error))
            except MemoryError:
                self.errors.append(f"{followed.session_id}: too many iterations to know the best of in this memory")
        beats = (
            (beat, is_held(self._files, self.layout, beat.worker_id)) for beat in read_beats(self._files, self.layout)
        )
        unread = unread_beats(self._files, self.layout)
        self.errors += [str(error) for error in unread.values()]
        self.jobs = list(queued_jobs(self._files, self.layout)) if self.only is None else []
        self.beats = [(beat, alive) for beat, alive in beats if alive or beat.about.get("state") != ENDED]
        self.standstill = standstill_of(
            self.beats, unread=any(is_held(self._files, self.layout, one) for one in unread)
        )

    def waiting(self, session_id: str) -> float | None:
        """The share of the slots' time that goes by waiting for suggestions."""
        return waiting_share((beat for beat, alive in self.beats if alive), session_id)

    def label(self, followed: Followed) -> str:
        """The state of a session, for people."""
        return self.standstill.label(followed.session_id, followed.state)

    def _followed(self, name: str) -> Followed:
        followed = self._known.get(name)
        if followed is not None and followed.queue.refresh().n > followed.best.n:
            # It was extended.
            followed = None
        if followed is None:
            from arbd.analysis.best_so_far import BestSoFar
            from arbd.results.missing_metrics import MissingMetrics

            paths = self.layout.session(name)
            queue = SessionQueue(self._files, paths)
            queue.refresh()
            spec = read_spec(self._files, paths)
            metrics = MissingMetrics(self._files, paths, spec)
            followed = Followed(queue, BestSoFar(self._files, paths, spec), metrics)
        followed.queue.refresh()
        return followed

    def documents(self) -> dict[str, Any]:
        """Stable keys for scripts."""
        return {
            "sessions": [
                {
                    "session_id": f.session_id,
                    "state": self.label(f),
                    "reason": self.standstill.reason(f.session_id, f.state),
                    "done": f.state.counted,
                    "iterations": f.state.n,
                    "bad": bad(f.state),
                    "rate_per_s": rate_per_s(f.state),
                    "eta_s": eta_s(f.state),
                    "metric": f.best.metric,
                    "best": f.best.value,
                    "best_iteration": f.best.iteration or None,
                    "missing_metric": self.missing.get(f.session_id, ""),
                    "slots_waiting": self.waiting(f.session_id),
                }
                for f in self.sessions
            ],
            "workers": [
                {"worker_id": beat.worker_id, "alive": alive, **worker_facts(beat)} for beat, alive in self.beats
            ],
            "jobs": [job.document() for job in self.jobs],
            "errors": self.errors,
        }


def shown_state(state: object, alive: bool, silent_s: float | None = None) -> str:
    """For people: what a worker does, for how long it has been silent, or how it left: `ended` by itself, or `gone`."""
    if alive and silent_s is not None:
        return f"silent {duration(silent_s)}"
    return str(state) if alive or state == ENDED else "gone"


def silence(worker_id: str, silent_s: float) -> str:
    """What to make of a worker that holds its lock and is not heard of."""
    return (
        f"{worker_id} has not been heard of for {duration(silent_s)}: its host hangs, or is cut off from the spool; "
        "others take its work over after lease_s"
    )


def worker_facts(beat: Beat) -> dict[str, Any]:
    """What a worker says of itself, as numbers and texts."""
    about = beat.about
    return {
        "host": about.get("host"),
        "slots": about.get("slots"),
        "busy": about.get("busy"),
        "done": about.get("done"),
        "rate_per_s": about.get("rate"),
        "state": about.get("state"),
        "sessions": about.get("sessions", []),
        "blocked": about.get("blocked", {}),
        "finishing": about.get("finishing", {}),
        "trouble": about.get("trouble", ""),
        "executor": about.get("executor"),
    }
