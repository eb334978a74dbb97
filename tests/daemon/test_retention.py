"""Retention by real daemons: two hosts, killed at random, and every session is whole somewhere, once, at the end."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from arbd.spool.control import change_state
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import CANCELLED
from arbd.spool.provenance import Actor
from arbd.spool.retention_log import PURGED, read_deeds
from tests.analysis.test_retention import finished
from tests.conftest import Arbctl, Daemons, wait_until
from tests.spool.sessions import make_session

pytestmark = pytest.mark.bed

SESSIONS = 6
KILLS = int(os.environ.get("ARBD_RETENTION_DAEMON_KILLS", "2"))


def with_rules(daemons: Daemons, tmp_path: Path, rules: str) -> Path:
    archive = tmp_path / "archive"
    archive.mkdir()
    settings = tmp_path / "retaining.yaml"
    settings.write_text(
        daemons.config.read_text() + f"retention: {{archive_dir: {archive}, every_s: 0.3, rules: [{rules}]}}\n"
    )
    daemons.config = settings
    return archive


def test_rounds_that_are_killed_at_any_moment_archive_and_remove_each_session_once(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    names = [f"s{number}" for number in range(SESSIONS)]
    for name in names:
        finished(layout, name)
    archive = with_rules(daemons, tmp_path, "{action: archive_and_purge, older_than: 1h, state: done}")
    rng, running = random.Random(5), [daemons.start("a", slots=1), daemons.start("b", slots=1)]
    for _ in range(KILLS):
        gone = len(list(layout.sessions.glob("s*")))
        if not gone:
            break
        wait_until(
            lambda gone=gone: len(list(layout.sessions.glob("s*"))) < gone or not gone,  # type: ignore[misc]
            120.0,
            what="a session to be removed",
        )
        victim = rng.randrange(2)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = daemons.start("ab"[victim], slots=1)
    wait_until(lambda: not list(layout.sessions.glob("s*")), 120.0, what="the removal of all")
    wait_until(
        lambda: {deed.session_id for deed in read_deeds(Files(), layout).every if deed.what == PURGED} == set(names),
        what="the word of all removals",
    )
    daemons.stop()
    deeds = [deed.session_id for deed in read_deeds(Files(), layout).every if deed.what == PURGED]
    assert sorted(deeds) == sorted(names)
    assert sorted(path.name for path in archive.glob("*.tar.gz")) == sorted(f"{name}.tar.gz" for name in names)
    for name in names:
        code, out, err = arbctl("restore", archive / f"{name}.tar.gz")
        assert (code, out, err) == (0, f"{name}\n", "")
    listed = json.loads(arbctl("list", "--all", "--json")[1])["sessions"]
    assert [(one["session_id"], one["state"], one["done"]) for one in listed] == [
        (name, "done", 6) for name in sorted(names)
    ]


def test_what_is_due_is_shown_before_and_what_was_done_and_could_not_be_afterwards(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    for name in ("old", "spoilt"):
        finished(layout, name)
    make_session(layout, 4, "young")
    change_state(layout, "young", CANCELLED, Actor(user="anna", uid=1, host="desk", wall_ns=10**18))
    # A session of which a part of the results is damaged is kept, and a person is told.
    results = layout.session("spoilt").results
    data = bytearray(results.read_bytes())
    data[len(data) // 2] ^= 255
    results.write_bytes(data)
    for segment in layout.session("spoilt").segments.iterdir():
        segment.unlink()
    with_rules(
        daemons,
        tmp_path,
        "{action: purge, older_than: 5000w}, {action: archive_and_purge, older_than: 1h, state: done}",
    )
    arbctl.config = daemons.config
    daemons.start("a", slots=1)

    def told() -> dict[str, object]:
        found: dict[str, object] = json.loads(arbctl("retention", "--json")[1])
        return found

    wait_until(lambda: not layout.session("old").folder.exists(), what="the removal")
    wait_until(lambda: "spoilt" in str(told()["workers"]), what="the trouble")
    assert layout.session("spoilt").folder.exists()
    text = arbctl("retention")[1]
    assert "rule 2: archive_and_purge; older than" in text
    assert "cannot: spoilt" in text
    history = json.loads(arbctl("history", "old", "--json")[1])["history"]
    assert [deed["what"] for deed in history] == ["archived", "purge begins", "purged"]
    assert history[0]["changes"]["archive"].endswith("/archive/old.tar.gz")
    assert "rule 2" in history[2]["reason"]
    assert "purged" in arbctl("history")[1]
    # While a round is under way there may be nothing to tell of it.
    wait_until(lambda: "retention cannot be carried out: spoilt" in arbctl("doctor")[1], what="the doctor")
    assert "spoilt" in daemons.log()
