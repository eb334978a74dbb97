"""What lists of sessions show: how far each is, whose it is, since when; and which of them somebody asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from arbd.analysis.pace import eta_s, rate_per_s
from arbd.analysis.standstill import BLOCKED, Standstill, read_standstill
from arbd.errors import ArbdError, UnopenedError, UsageError, VersionError
from arbd.registry import hint
from arbd.spool.bookmarks import read_state
from arbd.spool.dropped import DroppedJob
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import CANCELLED, PAUSED, RUNNING, STATUS_NAMES, LedgerState
from arbd.spool.liveness import Beat
from arbd.spool.owners import is_one_of
from arbd.spool.periods import period_ns
from arbd.spool.provenance import UNKNOWN, Submission
from arbd.spool.readable import require_readable_job
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import is_being_made
from arbd.values import dataclass

STATES = ("pending", RUNNING, PAUSED, "finishing", "done", CANCELLED, "blocked", "queued", "rejected")


def iso_time(wall_ns: int) -> str | None:
    """ISO 8601 UTC to the second; None for 0, which stands for a time that nobody told."""
    if not wall_ns:
        return None
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall_ns // 10**9)).isoformat(timespec="seconds")
    except OverflowError:
        return None


def ended_ns(state: LedgerState) -> int:
    """When the last of a session that is over was recorded, or it was cancelled; 0 while it goes on."""
    if not state.over:
        return 0
    return state.provenance.cancelled_ns or (state.recent[-1][0] if state.recent else state.started_ns)


@dataclass(frozen=True, slots=True)
class Overview:
    """A session as its ledger tells it; `state` is None where another version wrote that.

    `reason` is why it does not go on, here or elsewhere; `blocked` that nobody who lives can go on with it.
    """

    session_id: str
    state: LedgerState | None
    reason: str = ""
    blocked: bool = False

    @property
    def is_over(self) -> bool:
        """True when it is known that nobody will evaluate anything any more."""
        return self.state is not None and self.state.over

    @property
    def label(self) -> str:
        """Its state in one word."""
        return BLOCKED if self.state is None or self.blocked else self.state.label()

    def standing(self, standstill: Standstill) -> Overview:
        """With what workers say of it."""
        if self.state is None or self.is_over or self.reason:
            return self
        name, state = self.session_id, self.state
        return replace(self, reason=standstill.reason(name, state), blocked=standstill.label(name, state) == BLOCKED)

    @property
    def submitter(self) -> str:
        """Whose it is; '' where an earlier version took it up."""
        return self.state.provenance.owner if self.state is not None else ""

    @property
    def submission(self) -> Submission:
        """Who submitted it, as far as is known."""
        return self.state.provenance.submission if self.state is not None else UNKNOWN

    @property
    def labels(self) -> Mapping[str, str]:
        """As they are now."""
        return self.state.provenance.labels if self.state is not None else {}

    @property
    def priority(self) -> int:
        """As it is now."""
        if self.state is None:
            return 0
        changed = self.state.provenance.changes.priority
        return changed if isinstance(changed, int) else self.state.provenance.submission.priority

    @property
    def newest_ns(self) -> int:
        """When something of it happened last: its end, else its beginning or submission."""
        if self.state is None:
            return 0
        return ended_ns(self.state) or self.state.started_ns or self.state.provenance.submission.wall_ns

    def document(self) -> dict[str, Any]:
        """Stable keys for scripts."""
        state = self.state
        if state is None:
            unknown = ("iterations", "done", "claimed", "pending", "rate_per_s", "eta_s", "duplicates")
            return {
                "session_id": self.session_id,
                "state": self.label,
                "reason": self.reason,
                **dict.fromkeys(unknown),
                **{name: {} for name in ("statuses", "states", "workers")},
                **_provenance(LedgerState()),
            }
        return {
            "session_id": self.session_id,
            "state": self.label,
            "reason": self.reason,
            "iterations": state.n,
            "done": state.counted,
            "claimed": state.claimed,
            "pending": state.unclaimed,
            "statuses": dict(zip(STATUS_NAMES, state.counts, strict=True)),
            "states": state.states(),
            "rate_per_s": rate_per_s(state),
            "eta_s": eta_s(state),
            "duplicates": state.duplicates,
            "workers": {
                name: {"done": sum(counts), **dict(zip(STATUS_NAMES, counts, strict=True))}
                for name, counts in sorted(state.worker_counts.items())
            },
            **_provenance(state),
            "priority": self.priority,
        }


def _provenance(state: LedgerState) -> dict[str, Any]:
    provenance = state.provenance
    said = provenance.submission
    last = next((action for action in reversed(provenance.actions) if action.actor is not None), None)
    return {
        "submitter": said.user or None,
        "host": said.host or None,
        "submitted": iso_time(said.wall_ns),
        "started": iso_time(state.started_ns),
        "ended": iso_time(ended_ns(state)),
        "method": said.method or None,
        "priority": said.priority,
        "labels": provenance.labels,
        "last_action": None
        if last is None or last.actor is None
        else {
            "what": last.what,
            "user": last.actor.user,
            "host": last.actor.host,
            "when": iso_time(last.actor.wall_ns),
            "reason": last.actor.reason,
        },
    }


def read_overview(layout: SpoolLayout, session_id: str, bookmarks: Path) -> Overview:
    """Read one session's ledger; NotFoundError when there is none, UnopenedError when it does not begin."""
    files, paths = layout.files(), layout.session(session_id)
    try:
        state = read_state(files, paths, bookmarks)
        if not state.n:
            raise UnopenedError(paths.ledger, session_id)
    except VersionError as error:
        return Overview(session_id, None, str(error))
    if state.over:
        return Overview(session_id, state)
    try:
        require_readable_job(files, paths)
    except VersionError as error:
        return Overview(session_id, state, str(error))
    return Overview(session_id, state)


@dataclass(frozen=True, slots=True)
class Overviews:
    """Sessions by id; `more` are over and were left out, `errors` say what cannot be read."""

    views: list[Overview]
    errors: list[str]
    more: int


def read_overviews(layout: SpoolLayout, bookmarks: Path, most_over: int | None = None) -> Overviews:
    """The sessions of a spool; of those that are over, the `most_over` that ended last (None: all).

    What is over is told by the index, so that it costs next to nothing.
    """
    files = layout.files()
    names = files.names(layout.sessions)
    ended = ended_sessions(files, layout, names)
    views: list[Overview] = []
    over: list[tuple[int, str, Overview | None]] = [(entry.ended_ns, name, None) for name, entry in ended.items()]
    errors: list[str] = []
    standstill = read_standstill(files, layout)
    for name in names:
        if name in ended or name.startswith("."):
            continue
        try:
            view = read_overview(layout, name, bookmarks)
        except (ArbdError, OSError) as error:
            if not is_being_made(files, layout, name):
                errors.append(str(error))
            continue
        if view.is_over:
            over.append((view.newest_ns, name, view))
            continue
        views.append(view.standing(standstill))
    over.sort(key=lambda one: one[:2], reverse=True)
    kept = over if most_over is None else over[:most_over]
    views += [view if view is not None else Overview(name, ended[name].state()) for _, name, view in kept]
    return Overviews(sorted(views, key=lambda view: view.session_id), errors, len(over) - len(kept))


def blocked_by(beats: Iterable[Beat]) -> dict[str, dict[str, str]]:
    """What workers say of why they cannot evaluate sessions, by session and worker."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for beat in beats:
        for session_id, reason in beat.about.get("blocked", {}).items():
            if reason:
                found[session_id][beat.worker_id] = str(reason)
    return found


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions somebody asks for: all that every one of these fits. Times are by the hosts' calendars."""

    users: Sequence[str] = ()
    states: Sequence[str] = ()
    labels: Sequence[tuple[str, str | None]] = field(default=())
    since_ns: int | None = None
    before_ns: int | None = None

    @classmethod
    def of(
        cls,
        now_ns: int,
        users: Sequence[str] = (),
        states: Sequence[str] = (),
        labels: Sequence[str] = (),
        since: str | None = None,
        older_than: str | None = None,
    ) -> Selection:
        """From what a command line says; UsageError for what cannot be meant."""
        named = [part.strip() for given in states for part in given.split(",")]
        for state in named:
            if state not in STATES:
                raise UsageError(f"--state {state!r}: {hint(state, STATES)}expected some of {', '.join(STATES)}")
        pairs: list[tuple[str, str | None]] = []
        for label in labels:
            name, equals, value = label.partition("=")
            pairs.append((name, value if equals else None))
        before_ns = None if older_than is None else now_ns - period_ns(older_than, "--older-than")
        return cls(
            tuple(users), tuple(named), tuple(pairs), None if since is None else _moment_ns(since, now_ns), before_ns
        )

    @property
    def is_all(self) -> bool:
        """True when nothing is asked for in particular."""
        return self == Selection()

    def fits_job(self, job: DroppedJob) -> bool:
        """True when a job that is no session is one of them: it has a state, and nothing else that is asked for."""
        return self.is_all or (job.state.value in self.states and replace(self, states=()).is_all)

    def fits(self, view: Overview) -> bool:
        """True when it is one of them."""
        if self.users and not is_one_of(view.submission, self.users):
            return False
        if self.states and view.label not in self.states:
            return False
        for name, value in self.labels:
            if name not in view.labels or value not in (None, view.labels[name]):
                return False
        if self.since_ns is not None and view.newest_ns < self.since_ns:
            return False
        return self.before_ns is None or 0 < view.newest_ns < self.before_ns


def _moment_ns(given: str, now_ns: int) -> int:
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        return now_ns - period_ns(given, "--since")
    # A time without a zone is meant where the person is.
    return int(moment.astimezone().timestamp()) * 10**9
