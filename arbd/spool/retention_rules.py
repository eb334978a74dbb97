"""`retention:` in the settings: what becomes of sessions that are over, by age, state, user and label; and what is due.

Decides by names, ages and the log alone; whoever carries it out looks at the sessions themselves. Ages are by this host's
calendar and that of the host that ended the session: a policy of days, on which nothing that must be exact depends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from arbd.errors import UsageError
from arbd.registry import hint
from arbd.spool.layout import SpoolLayout
from arbd.spool.owners import is_said_to_be_one_of
from arbd.spool.periods import period_ns
from arbd.spool.retention_log import ARCHIVED, SEGMENTS, Deeds
from arbd.spool.session_index import Ended
from arbd.values import dataclass

DONE, CANCELLED = "done", "cancelled"
# A session with this label, whatever its value, is left alone.
KEEP_LABEL = "keep"


class Keeping(Enum):
    """What a rule does with a session; the value is its name in the settings."""

    SEGMENTS = "segments"
    ARCHIVE = "archive"
    ARCHIVE_AND_PURGE = "archive_and_purge"
    PURGE = "purge"

    @property
    def needs_archive(self) -> bool:
        """True when it writes an archive."""
        return self in (Keeping.ARCHIVE, Keeping.ARCHIVE_AND_PURGE)

    @property
    def ends_it(self) -> bool:
        """True when the session is gone afterwards."""
        return self in (Keeping.ARCHIVE_AND_PURGE, Keeping.PURGE)


_ORDER = (Keeping.ARCHIVE_AND_PURGE, Keeping.PURGE, Keeping.ARCHIVE, Keeping.SEGMENTS)
_MARKS = {Keeping.SEGMENTS: SEGMENTS, Keeping.ARCHIVE: ARCHIVED}


def _age(ns: int) -> str:
    """In the largest unit that says it whole."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60))
    unit, seconds = next(((unit, s) for unit, s in units if ns % (s * 10**9) == 0), ("s", 1))
    return f"{ns / (seconds * 1e9):g} {unit}"


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """One rule: sessions of these users, states and labels (none named: any) that are older than `older_than_ns`.

    The `keep` newest of those that it is about are left alone, however old.
    """

    action: Keeping
    older_than_ns: int = 0
    keep: int = 0
    state: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    label: tuple[str, ...] = ()

    def is_about(self, ended: Ended) -> bool:
        """True when the rule speaks of a session, of whatever age."""
        state = CANCELLED if ended.cancelled else DONE
        if self.state and state not in self.state:
            return False
        # What is purged does not come back: which host looks must not matter.
        if self.user and not is_said_to_be_one_of(ended.submission, self.user):
            return False
        for label in self.label:
            name, equals, value = label.partition("=")
            if name not in ended.labels or (equals and ended.labels[name] != value):
                return False
        return True

    def text(self) -> str:
        """For people, as it stands in the settings."""
        parts = [self.action.value]
        parts += [f"older than {_age(self.older_than_ns)}"] if self.older_than_ns else []
        parts += [f"all but the newest {self.keep}"] if self.keep else []
        for name, values in (("state", self.state), ("user", self.user), ("label", self.label)):
            parts += [f"{name} {', '.join(values)}"] if values else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """`archive_dir` is an absolute folder, '' for none; a round is made every `every_s` seconds, by one host."""

    archive_dir: str = ""
    every_s: float = 3600.0
    rules: tuple[RetentionRule, ...] = ()

    def check(self, source: str, spool: Path) -> None:
        """UsageError when the rules cannot be meant."""
        if self.every_s <= 0:
            raise UsageError(f"{source}: retention.every_s is {self.every_s!r}; it must be more than 0")
        if self.archive_dir and not self.archive_dir.startswith("/"):
            raise UsageError(f"{source}: retention.archive_dir is {self.archive_dir!r}; it must be an absolute path")
        if self.archive_dir and any(Path(self.archive_dir).is_relative_to(own) for own in SpoolLayout(spool).folders()):
            raise UsageError(
                f"{source}: retention.archive_dir is {self.archive_dir!r}, a folder of the spool's own: name another"
            )
        needy = next((rule for rule in self.rules if rule.action.needs_archive), None)
        if needy is not None and not self.archive_dir:
            raise UsageError(f"{source}: retention.rules: {needy.action.value} needs retention.archive_dir, a folder")


@dataclass(frozen=True, slots=True)
class Due:
    """A session and what becomes of it, by which rule (counted from 1), and from when on (0: at once)."""

    ended: Ended
    action: Keeping
    rule: int
    at_ns: int

    @property
    def session_id(self) -> str:
        """Its id."""
        return self.ended.session_id


def parse_rules(value: object, place: str) -> tuple[RetentionRule, ...]:
    """From settings, a list of maps; UsageError names what is wrong."""
    if not isinstance(value, list):
        raise UsageError(f"{place}: expected a list of rules, each `{{action: ..., older_than: 30d}}`")
    return tuple(_rule(rule, f"{place}[{number}]") for number, rule in enumerate(value, 1))


_KNOWN = ("action", "older_than", "keep", "state", "user", "label")


def _rule(value: Any, place: str) -> RetentionRule:
    actions = [action.value for action in Keeping]
    if not isinstance(value, dict) or "action" not in value:
        raise UsageError(f"{place}: expected a rule with an `action`, one of {', '.join(actions)}")
    for name in value:
        if name not in _KNOWN:
            raise UsageError(
                f"{place}: unknown setting {name!r}: {hint(str(name), _KNOWN)}known are {', '.join(_KNOWN)}"
            )
    action = value["action"]
    if action not in actions:
        raise UsageError(
            f"{place}.action is {action!r}: {hint(str(action), actions)}expected one of {', '.join(actions)}"
        )
    keep = value.get("keep", 0)
    if type(keep) is not int or not 0 <= keep <= 10**9:
        raise UsageError(f"{place}.keep is {keep!r}; expected a number of sessions")
    older_ns = _older_ns(value["older_than"], f"{place}.older_than") if "older_than" in value else 0
    if not older_ns and not keep:
        raise UsageError(f"{place}: say which: older_than (as in 30d), keep (the newest so many), or both")
    states = _words(value.get("state", ()), f"{place}.state")
    for state in states:
        if state not in (DONE, CANCELLED):
            raise UsageError(f"{place}.state: {state!r}: only what is over is kept or not: {DONE}, {CANCELLED}")
    user, label = (_words(value.get(name, ()), f"{place}.{name}") for name in ("user", "label"))
    return RetentionRule(Keeping(action), older_ns, keep, states, user, label)


def _older_ns(value: object, place: str) -> int:
    found = period_ns(str(value), place)
    if not found:
        raise UsageError(f"{place} is {value!r}; the minimum is 1s")
    return found


def _words(value: object, place: str) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word for word in words):
        raise UsageError(f"{place}: expected a list of words")
    return tuple(words)


@dataclass(slots=True)
class Plan:
    """What is due now, in the order in which it is done, and what will be, the next first."""

    now: list[Due] = field(default_factory=list)
    later: list[Due] = field(default_factory=list)


def plan(rules: Sequence[RetentionRule], ended: Mapping[str, Ended], deeds: Deeds, now_ns: int) -> Plan:
    """What the rules come to for sessions that are there and over.

    Of several rules that are due for a session one that ends it goes before the others, and one that archives it first
    before one that does not: what a rule wants archived, and is not yet, no other removes without that.
    """
    found = Plan()
    chosen: dict[str, list[Due]] = {}
    for number, rule in enumerate(rules, 1):
        about = [entry for entry in ended.values() if KEEP_LABEL not in entry.labels and rule.is_about(entry)]
        about.sort(key=lambda entry: (_from_ns(entry, deeds), entry.session_id), reverse=True)
        for entry in about[rule.keep :]:
            if _MARKS.get(rule.action) in deeds.done.get((entry.session_id, entry.ended_ns), ()):
                continue
            # When it ended is not known of what an early version did: it has no age.
            if entry.ended_ns or not rule.older_than_ns:
                at_ns = _from_ns(entry, deeds) + rule.older_than_ns if rule.older_than_ns else 0
                chosen.setdefault(entry.session_id, []).append(Due(entry, rule.action, number, at_ns))
    for options in chosen.values():
        now = _effective(option for option in options if option.at_ns <= now_ns)
        found.now += now
        if not any(due.action.ends_it for due in now):
            found.later += [option for option in options if option.at_ns > now_ns]
    found.now.sort(key=lambda due: (due.ended.ended_ns, due.session_id, _ORDER.index(due.action)))
    found.later.sort(key=lambda due: (due.at_ns, due.session_id))
    return found


def _effective(options: Iterable[Due]) -> list[Due]:
    by_action: dict[Keeping, Due] = {}
    for option in options:
        by_action.setdefault(option.action, option)
    first = next((by_action[action] for action in _ORDER if action in by_action), None)
    if first is not None and first.action is Keeping.PURGE and Keeping.ARCHIVE in by_action:
        return [replace(first, action=Keeping.ARCHIVE_AND_PURGE)]
    if first is None or first.action.ends_it:
        return [] if first is None else [first]
    return [by_action[action] for action in _ORDER if action in by_action]


def _from_ns(ended: Ended, deeds: Deeds) -> int:
    return max(ended.ended_ns, deeds.since_ns.get(ended.session_id, 0))
