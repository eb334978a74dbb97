"""What a worker tells of itself."""

from __future__ import annotations

from importlib import metadata

import pytest

from arbd.daemon.startup import versions


def test_a_library_without_metadata_has_an_unknown_version_and_does_not_end_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert (versions()["scipy"], versions()["numpy"]) == ("unknown", real("numpy"))
