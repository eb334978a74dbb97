"""systemd's journal in its own form: one datagram per event, so that each field can be searched for by itself.

`journalctl SESSION_ID=...`, `WORKER_ID=` and `ITERATION=` find events; what has no name there is ARBD_NAME.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
MAX_FIELD_CHARS = 16_384

# Fields of events whose names in the journal are agreed.
NAMES = {"session": "SESSION_ID", "worker": "WORKER_ID", "iteration": "ITERATION"}
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def reads_standard_error() -> bool:
    """True when the journal is what reads this process's standard error (systemd says which file that is)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino)) and SOCKET.exists()


def priority(level: int) -> int:
    """The priority that syslog has for a logging level."""
    return next((number for at_least, number in _PRIORITIES if level >= at_least), 7)


def encode(fields: Mapping[str, str]) -> bytes:
    """Fields in the journal's form: `NAME=value`, or with a length in front where the value has several lines."""
    parts = []
    for name, value in fields.items():
        data = value[:MAX_FIELD_CHARS].encode(errors="surrogateescape")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class JournalHandler(logging.Handler):
    """Sends events to the journal; to `fallback` what the journal does not take."""

    def __init__(self, fallback: logging.Handler, address: Path = SOCKET) -> None:
        super().__init__()
        self._fallback = fallback
        self._address = str(address)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one event."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendto(encode(self._fields(record)), self._address)
        except OSError:
            self._fallback.handle(record)

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        told = {name: str(value) for name, value in record.__dict__["fields"].items()}
        return {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": "arbd",
            "ARBD_EVENT": record.getMessage(),
            **{NAMES.get(name, f"ARBD_{name.upper()}"): value for name, value in told.items()},
        }
