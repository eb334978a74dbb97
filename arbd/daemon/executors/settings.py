"""The section `executor` of a daemon's settings."""

from __future__ import annotations

from pathlib import Path

from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """Slots of somebody else; an empty `kind` means those of this host alone.

    `slots` is how many chunks are out at once at most. `scheduler` is an address, `secret_file` names what is needed to
    be let in there, `unencrypted` allows one of another host without TLS. `factory` is `module:function`.
    """

    kind: str = ""
    slots: int = 64
    scheduler: str = ""
    secret_file: Path = Path()
    unencrypted: bool = False
    factory: str = ""
