"""What is told of a session that ended: which happenings there are of it, and the document that goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from arbd.analysis.overview import iso_time
from arbd.daemon.notices.settings import Happening, Target
from arbd.spool.ledger import CANCELLED, STATUS_NAMES
from arbd.spool.owners import is_one_of
from arbd.spool.session_index import Ended
from arbd.values import dataclass

MAX_REASONS = 10


@dataclass(frozen=True, slots=True)
class Notice:
    """One happening of one end of one session, for one target. `key` names it for good, on all hosts and attempts."""

    ended: Ended
    happening: Happening

    @property
    def key(self) -> str:
        """The same for each attempt: who gets it twice can tell by it."""
        return f"{self.ended.end_key}-{self.happening.value}"


@dataclass(frozen=True, slots=True)
class Message:
    """A notice as it goes out at one attempt, from 1."""

    key: str
    attempt: int
    document: dict[str, Any]

    @property
    def may_repeat(self) -> bool:
        """True when it was sent before: nobody knows for certain that it was not taken then."""
        return self.attempt > 1

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"key": self.key, "attempt": self.attempt, "may_be_repeated": self.may_repeat, **self.document}

    def subject(self) -> str:
        """One line for people."""
        told = self.document
        what = f"verdict: {told['verdict']['verdict']}" if told.get("verdict") else told["state"]
        return f"arbd: {told['session_id']} {what}"

    def text(self) -> str:
        """A few lines for people."""
        told = self.document
        counts = ", ".join(f"{count:,} {name}" for name, count in told["statuses"].items() if count)
        lines = [
            f"session     {told['session_id']}, {told['state']}",
            f"submitted   by {told['user'] or '-'}",
            f"iterations  {told['iterations']:,}: {counts or 'none recorded'}",
            f"ended       {told['ended'] or '-'}" + (f", {told['stopped']}" if told["stopped"] else ""),
        ]
        if found := told.get("verdict"):
            lines += [
                f"verdict     {found['verdict']}: {found['rule']}",
                *(f"            {why}" for why in found["reasons"]),
            ]
        if self.may_repeat:
            lines += ["", "It was sent before, and what came of that is not known: you may have it already."]
        return "\n".join([*lines, "", f"key {self.key}, attempt {self.attempt}", ""])


def notices_of(target: Target, ended: Ended) -> Iterator[Notice]:
    """What a target is told of the end of a session."""
    if target.user and not is_one_of(ended.submission, target.user):
        return
    for label in target.label:
        name, equals, value = label.partition("=")
        if name not in ended.labels or (equals and ended.labels[name] != value):
            return
    bad = sum(ended.counts[1:])
    if Happening.END in target.events:
        yield Notice(ended, Happening.END)
    if Happening.FAILURE in target.events and bad and 100.0 * bad >= target.failed_pct * sum(ended.counts):
        yield Notice(ended, Happening.FAILURE)
    if Happening.VERDICT in target.events and not ended.cancelled:
        yield Notice(ended, Happening.VERDICT)


Judge = Callable[[str], dict[str, Any] | None]


def document_of(notice: Notice, host: str, judge: Judge) -> dict[str, Any] | None:
    """What goes out; None when there is nothing to tell after all, as of a session without returns to judge.

    NotFoundError when the session that should be judged is gone.
    """
    ended, verdict = notice.ended, None
    if notice.happening is Happening.VERDICT:
        verdict = judge(ended.session_id)
        if verdict is None:
            return None
    return {
        "event": notice.happening.value,
        "session_id": ended.session_id,
        "state": CANCELLED if ended.cancelled else "done",
        "user": ended.submission.user or None,
        "labels": dict(ended.labels),
        "method": ended.submission.method or None,
        "iterations": ended.n,
        "statuses": dict(zip(STATUS_NAMES, ended.counts, strict=True)),
        "stopped": ended.stopped,
        "started": iso_time(ended.started_ns),
        "ended": iso_time(ended.ended_ns),
        "told_by": host,
        "verdict": verdict,
    }


def judge_session(spool: Path, session_id: str) -> dict[str, Any] | None:
    """The verdict on the winner of a session; None where there are no returns to judge."""
    from arbd.analysis.verdict import session_verdict  # noqa: PLC0415 - NumPy, for this happening alone

    judged = session_verdict(spool, session_id)
    if judged.says_nothing:
        return None
    found = judged.document()
    names = ("verdict", "rule", "metric", "best", "best_iteration")
    return {**{name: found[name] for name in names}, "reasons": list(found["reasons"])[:MAX_REASONS]}
