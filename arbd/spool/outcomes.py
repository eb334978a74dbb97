"""What becomes of dropped files."""

from __future__ import annotations

from typing import Any, ClassVar

from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job became a session."""

    EVENT: ClassVar[str] = "job accepted"

    name: str
    session_id: str
    n: int

    @property
    def session_ids(self) -> tuple[str, ...]:
        """What it became."""
        return (self.session_id,)

    @property
    def told(self) -> dict[str, Any]:
        """For the log."""
        return {"session": self.session_id, "iterations": self.n}


@dataclass(frozen=True, slots=True)
class AcceptedArray:
    """A job became several sessions, named after `array`."""

    EVENT: ClassVar[str] = "job array accepted"

    name: str
    array: str
    session_ids: tuple[str, ...]

    @property
    def told(self) -> dict[str, Any]:
        """For the log."""
        return {"array": self.array, "sessions": len(self.session_ids)}


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
