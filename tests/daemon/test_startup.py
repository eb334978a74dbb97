"""How a worker begins: what it tells of itself, and that nobody else lives under its name."""

from __future__ import annotations

import fcntl
import threading
from importlib import metadata

import pytest

from arbd import installed
from arbd.daemon import startup
from arbd.daemon.startup import take_life, versions
from arbd.errors import SpoolError
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import lock_path


def test_a_library_without_metadata_has_an_unknown_version_and_does_not_end_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    folder = installed._metadata_folder
    monkeypatch.setattr(installed, "_metadata_folder", lambda name: None if name == "scipy" else folder(name))
    assert (versions()["scipy"], versions()["numpy"]) == ("unknown", real("numpy"))


def test_who_only_looks_is_not_taken_for_a_worker_however_long_it_looks(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "LIFE_LOCK_PATIENCE_S", 0.0)
    files = Files()
    take_life(files, layout, "a").release()
    with lock_path(layout, "a").open("rb") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        timer = threading.Timer(0.5, fcntl.flock, (looker, fcntl.LOCK_UN))
        timer.start()
        life = take_life(files, layout, "a")
        timer.join()
    with pytest.raises(SpoolError, match="a worker named a lives on .* already"):
        take_life(files, layout, "a")
    life.release()
