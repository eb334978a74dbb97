"""`notify:` in the settings: targets that are told of sessions. Imports nothing heavy: every command reads the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from arbd.errors import UsageError
from arbd.registry import hint
from arbd.values import dataclass

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
ADDRESS = re.compile(r"[^\s@<>,;\"]{1,64}@[A-Za-z0-9.-]{1,255}")
MOST_TARGETS = 20
SECURITY = ("none", "starttls", "tls")


class Happening(Enum):
    """What a target can be told of; the value is its name in the settings."""

    END = "end"
    """A session is done or cancelled."""
    FAILURE = "failure"
    """It ended, and at least `failed_pct` of its iterations failed, timed out or crashed."""
    VERDICT = "verdict"
    """It is done, and its winner is skill or luck."""


@dataclass(frozen=True, slots=True)
class MailSettings:
    """The mail server. `security`: none, starttls or tls; the password is in a file that only arbd can read."""

    host: str = ""
    port: int = 25
    security: str = "none"
    sender: str = ""
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One of whom to tell: by exactly one of `webhook`, `exec` and `mail`. Nobody named in `user`, `label`: any session."""

    name: str
    # Not in what is printed: many services take the URL itself for a password.
    webhook: str = field(default="", repr=False)
    token_file: str = ""
    exec: tuple[str, ...] = ()
    mail: tuple[str, ...] = ()
    events: tuple[Happening, ...] = (Happening.END,)
    user: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    failed_pct: float = 50.0
    timeout_s: float = 10.0
    attempts: int = 10

    @property
    def shown(self) -> str:
        """How it is told, without secrets, for people."""
        if self.webhook:
            return "webhook " + re.sub(
                r"^(https?://)(?:[^/?#]*@)?([^/?#]*).*$", r"\1\2/...", self.webhook, flags=re.DOTALL
            )
        return f"exec {self.exec[0]}" if self.exec else f"mail to {', '.join(self.mail)}"


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """All targets, and the mail server for those that get mail."""

    targets: tuple[Target, ...] = ()
    smtp: MailSettings = field(default_factory=MailSettings)

    def check(self, source: str) -> None:
        """UsageError when mail is asked for and cannot be sent."""
        smtp, place = self.smtp, f"{source}: notify.smtp"
        if smtp.security not in SECURITY:
            raise UsageError(f"{place}.security is {smtp.security!r}; it can be {', '.join(SECURITY)}")
        if not 0 < smtp.port < 65_536:
            raise UsageError(f"{place}.port is {smtp.port}; it can be 1 to 65535")
        if smtp.sender and not ADDRESS.fullmatch(smtp.sender):
            raise UsageError(f"{place}.sender is {smtp.sender!r}; expected an address, as in arbd@example.org")
        if smtp.user and not smtp.password_file:
            raise UsageError(f"{place}.user needs a password_file")
        if smtp.user and smtp.security == "none":
            raise UsageError(
                f"{place}.security is none: a password would go over the network as it is; starttls or tls"
            )
        if any(target.mail for target in self.targets) and not (smtp.host and smtp.sender):
            raise UsageError(f"{place}: targets with `mail` need host and sender")


_KNOWN = ("webhook", "token_file", "exec", "mail", "events", "user", "label", "failed_pct", "timeout_s", "attempts")
_RANGES: Mapping[str, tuple[float, float]] = {
    "failed_pct": (0, 100),
    "timeout_s": (0.1, 600),
    "attempts": (1, 100),
}


def parse_targets(value: object, place: str) -> tuple[Target, ...]:
    """From settings, a map of targets by name; UsageError names what is wrong, and no secret."""
    if not isinstance(value, dict) or len(value) > MOST_TARGETS:
        raise UsageError(f"{place}: expected at most {MOST_TARGETS} targets, each with its settings below its name")
    return tuple(_target(name, settings, f"{place}.{name}") for name, settings in value.items())


def _target(name: object, value: Any, place: str) -> Target:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(f"{place}: a target's name has 1 to 32 of a-z, 0-9, - and _")
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected settings as `name: value` lines below it")
    for setting in value:
        if setting not in _KNOWN:
            near = hint(str(setting), _KNOWN)
            raise UsageError(f"{place}: unknown setting {setting!r}: {near}known are {', '.join(_KNOWN)}")
    ways = [way for way in ("webhook", "exec", "mail") if way in value]
    if len(ways) != 1:
        raise UsageError(f"{place}: expected one way to tell it: webhook, exec or mail")
    given = {setting: _GETTERS.get(setting, _words)(found, f"{place}.{setting}") for setting, found in value.items()}
    if given.get("token_file") and not given.get("webhook"):
        raise UsageError(f"{place}.token_file is for a webhook")
    return Target(name, **given)


def _words(value: object, place: str) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise UsageError(f"{place}: expected a list of words")
    return tuple(words)


def _program(value: object, place: str) -> tuple[str, ...]:
    words = _words(value, place)
    if not words[0].startswith("/"):
        raise UsageError(f"{place}: expected an absolute path and arguments, got {words[0]!r}")
    return words


def _addresses(value: object, place: str) -> tuple[str, ...]:
    words = _words(value, place)
    for word in words:
        if not ADDRESS.fullmatch(word):
            raise UsageError(f"{place}: {word!r} is no mail address")
    return words


def _url(value: object, place: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - few have one

    wrong = UsageError(f"{place}: expected a URL that begins with http:// or https://; it is not shown here")
    if not isinstance(value, str) or not re.fullmatch(r"https?://[!-~]{1,4000}", value):
        raise wrong
    try:
        parts = urlsplit(value)
        known = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise wrong
    return value


def _path(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise UsageError(f"{place}: expected an absolute path")
    return value


def _events(value: object, place: str) -> tuple[Happening, ...]:
    known = [happening.value for happening in Happening]
    words = _words(value, place)
    for word in words:
        if word not in known:
            raise UsageError(f"{place}: {word!r}: {hint(word, known)}expected some of {', '.join(known)}")
    return tuple(happening for happening in Happening if happening.value in words)


def _number(value: object, place: str) -> float:
    low, high = _RANGES[place.rpartition(".")[2]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{place} is {value!r}; it can be {low:g} to {high:g}")
    return value


def _count(value: object, place: str) -> int:
    if type(value) is not int:
        raise UsageError(f"{place} is {value!r}; expected an integer")
    _number(value, place)
    return value


_GETTERS: Mapping[str, Any] = {
    "webhook": _url, "token_file": _path, "exec": _program, "mail": _addresses, "events": _events,
    "failed_pct": _number, "timeout_s": _number, "attempts": _count,
}  # fmt: skip
