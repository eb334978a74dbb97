"""What a crash leaves of a file that was not whole yet is removed, wherever in the spool that was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.leftovers import LEFTOVER_S, OTHER_FOLDERS_S, Leftovers
from tests.spool.sessions import make_session
from tests.spool.test_intake import Clock

FOLDERS = (
    "incoming", "incoming/.taken", "sessions", "active", "rejected", "workers", "control", "index", "refusals", "trials",
)  # fmt: skip


class LostPowerError(BaseException):
    """Whoever published is gone."""


def die_publishing(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is left when power goes before the file has its name."""

    def lost(*_: object, **__: object) -> None:
        raise LostPowerError

    before = set(path.parent.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lost)
        with pytest.raises(LostPowerError):
            Files().publish(path, b"content")
    (left,) = set(path.parent.iterdir()) - before
    return left


@pytest.mark.parametrize("name", FOLDERS)
def test_what_a_crash_left_is_removed_after_a_while_and_nothing_else(
    layout: SpoolLayout, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = layout.root / name
    folder.mkdir(parents=True, exist_ok=True)
    make_session(layout, 3, "s")
    others = [folder / other for other in (".own.tmp", "own.tmp", ".own.yaml", "own.0123456789ab.tmp")]
    for other in others:
        other.write_text("somebody's own")
    left = die_publishing(folder / "name", monkeypatch)
    clock = Clock()
    leftovers = Leftovers(layout.files(), layout, clock)
    leftovers.remove()
    assert left.exists(), "it may be about to get its name"
    clock.now_s += LEFTOVER_S if name == "sessions" else OTHER_FOLDERS_S
    leftovers.remove()
    assert not left.exists()
    assert all(other.exists() for other in others)
    assert layout.session("s").ledger.exists()


def test_a_file_that_gets_its_name_late_is_not_disturbed_by_one_that_was_there_before(
    layout: SpoolLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    leftovers = Leftovers(layout.files(), layout, clock)
    old = die_publishing(layout.sessions / "old", monkeypatch)
    leftovers.remove()
    clock.now_s += LEFTOVER_S - 1
    new = die_publishing(layout.sessions / "new", monkeypatch)
    leftovers.remove()
    clock.now_s += 2
    leftovers.remove()
    assert (old.exists(), new.exists()) == (False, True)
