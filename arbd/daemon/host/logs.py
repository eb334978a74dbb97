"""Events with fields: to systemd's journal in its own form where it listens, else a line each to standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from arbd.daemon.host import journal
from arbd.terminal_text import escape_line

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+/:@%")


def key_values(fields: dict[str, object]) -> str:
    """`a=1 b="two words"`; values that hold anything unusual are quoted as JSON strings."""
    return " ".join(f"{key}={_quoted(str(value))}" for key, value in fields.items())


def _quoted(text: str) -> str:
    return text if text and all(c in _SAFE for c in text) else escape_line(json.dumps(text, ensure_ascii=False))


class Log:
    """Writes events with fields that every line of this worker carries. Not for signal handlers."""

    def __init__(self, level: str = "info", style: str = "auto", **always: object) -> None:
        self._always = always
        self.configure(level, style)

    def configure(self, level: str, style: str) -> None:
        """Change the least level that is written, and how."""
        # A new one, because a logger remembers what it was not to write.
        logger = logging.Logger("arbd", level.upper())
        logger.addHandler(_handler(style))
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        """For who looks for a fault."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something happened as it should."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something an administrator may want to know of; arbd goes on."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something an administrator should look at."""
        self._log(logging.ERROR, event, fields)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        self._logger.log(level, "%s", event, extra={"fields": {**self._always, **fields}})


def _handler(style: str) -> logging.Handler:
    """`style`: text, json, journal; auto is journal where that reads standard error anyway, else text."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Formatter(style))
    if style == "journal" or (style == "auto" and journal.reads_standard_error()):
        handler = journal.JournalHandler(lines)
        handler.setFormatter(_Message())
        return handler
    return lines


class _Message(logging.Formatter):
    """As a person reads it in the journal, which knows time, level and worker by itself."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in record.__dict__["fields"].items() if key != "worker"}
        return f"{record.getMessage()} {key_values(fields)}".rstrip()


class _Formatter(logging.Formatter):
    def __init__(self, style: str) -> None:
        super().__init__()
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **record.__dict__["fields"],
        }
        if self._json:
            return escape_line(json.dumps({key: _plain(value) for key, value in fields.items()}, ensure_ascii=False))
        return key_values(fields)


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str | None) else str(value)
