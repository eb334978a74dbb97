"""What a host is told whose file is another than the one that a job was accepted with."""

from __future__ import annotations

from pathlib import Path

from arbd.errors import ObjectiveError


def not_the_same(name: str, path: Path, found: str, expected: str) -> ObjectiveError:
    """The error of a host whose file is another than the one that the job was accepted with."""
    return ObjectiveError(
        f"{name}: {path} on this host is not the file that the job was accepted with "
        f"(SHA-256 {found[:12]}, expected {expected[:12]}); copy the same version to every host"
    )
