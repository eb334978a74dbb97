"""Fingerprints of the files that a job depends on, and the check that this host has the same ones."""

from __future__ import annotations

from pathlib import Path

from arbd.errors import DataError, ObjectiveError
from arbd.paper.market.cache import file_digest


def check_digest(name: str, path: Path, expected: str | None) -> None:
    """ObjectiveError when this host's file is not the one that the job was accepted with."""
    if expected is None:
        return
    try:
        found = file_digest(path)
    except DataError as error:
        raise ObjectiveError(f"{name}: {path} {error.reason}; put it where the job says") from error
    if found != expected:
        raise not_the_same(name, path, found, expected)


def not_the_same(name: str, path: Path, found: str, expected: str) -> ObjectiveError:
    """The error of a host whose file is another than the one that the job was accepted with."""
    return ObjectiveError(
        f"{name}: {path} on this host is not the file that the job was accepted with "
        f"(SHA-256 {found[:12]}, expected {expected[:12]}); copy the same version to every host"
    )
