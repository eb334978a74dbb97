"""What becomes of dropped files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job became a session."""

    name: str
    session_id: str
    n: int


@dataclass(frozen=True, slots=True)
class AcceptedArray:
    """A job became several sessions, named after `array`."""

    name: str
    array: str
    session_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A job was refused; the file and the reason are in `rejected/`."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stands:
    """A job with a schedule became a standing job."""

    name: str
    standing: str
    schedule: str


Outcome = Accepted | AcceptedArray | Rejected | Stands
