"""What others may leave in a spool, seen through the commands that watch, judge, complete, archive and remove."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import msgpack
import pytest

from arbd.cli.app import complete_sessions
from arbd.cli.doctor.partners import read_board
from arbd.errors import UnsafePathError
from arbd.results.compaction import compact
from arbd.spool.bookmarks import read_state
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Beat, take_liveness_lock, write_beat
from tests.conftest import Arbctl
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


def test_names_and_reasons_cannot_move_the_cursor(arbctl: Arbctl, layout: SpoolLayout) -> None:
    write_rows(make_session(layout, 3, "going"), "a", rows_of(1, 1))
    (layout.sessions / f"{ESCAPE}evil").mkdir()
    lock = take_liveness_lock(layout.files(), layout, "host-a")
    about = {
        "slots": 2, "busy": -(10**17), "rate": float("nan"), "beat_s": float("nan"), "wall_ns": 0, "state": ESCAPE,
        "trouble": f"first\n{ESCAPE}", "blocked": {ESCAPE: f"why\n{ESCAPE}"}, "versions": {"arbd": ESCAPE},
        "sessions": [ESCAPE],
    }  # fmt: skip
    write_beat(layout.files(), layout, Beat("host-a", 1, 1, about))
    for arguments in (
        ("watch", "--once"),
        ("top", "--once"),
        ("doctor",),
        ("doctor", "--json"),
        ("workers",),
        ("list",),
    ):
        code, out, err = arbctl(*arguments)
        assert code in (0, 1), (arguments, err)
        assert "\x1b[2J" not in out + err
        assert "\x07" not in out + err
        assert "Traceback" not in err
    assert lock is not None
    lock.release()


def test_a_worker_that_claims_more_busy_slots_than_memory_holds_is_shown(arbctl: Arbctl, layout: SpoolLayout) -> None:
    lock = take_liveness_lock(layout.files(), layout, "host-a")
    write_beat(layout.files(), layout, Beat("host-a", 1, 1, {"slots": 3, "busy": -(10**17), "done": -5}))
    code, out, _ = arbctl("top", "--once")
    assert (code, "0 of 3 ..." in out) == (0, True)
    write_beat(layout.files(), layout, Beat("host-a", 1, 2, {"slots": -(10**17), "busy": 10**17}))
    assert arbctl("top", "--once")[0] == 0
    assert lock is not None
    lock.release()


def test_a_shell_is_offered_no_name_that_is_none(layout: SpoolLayout) -> None:
    import click

    make_session(layout, 3, "good")
    for name in (ESCAPE, "x\ny", "$(touch owned)", "a b"):
        (layout.sessions / name).mkdir()
    parent = click.Context(click.Command("arbctl"))
    parent.params = {"spool": layout.root, "config": None}
    context = click.Context(click.Command("status"), parent=parent)
    assert complete_sessions(context, click.Argument(["session"]), "") == ["good"]


def test_no_way_out_of_the_spool_for_archive_purge_and_report(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the key")
    paths = make_session(layout, 3)
    write_rows(paths, "a", rows_of(1, 3))
    exhaust(paths, 3)
    compact(layout.files(), paths)
    (paths.segments / "z-0000000000000001-0.1.seg").symlink_to(secret)
    paths.results_csv.unlink()
    paths.results_csv.symlink_to(secret)
    assert arbctl("archive", "s", "--output", tmp_path / "s.tar.gz")[0] == 0
    with tarfile.open(tmp_path / "s.tar.gz") as tar:
        contents = [file.read() for member in tar if (file := tar.extractfile(member)) is not None]
    assert not any(b"the key" in content for content in contents)
    paths.job.unlink()
    paths.job.symlink_to(secret)
    code, _, err = arbctl("report", "s", "--output", tmp_path / "s.html")
    assert (code, "job.yaml" in err) == (4, True)
    assert arbctl("purge", "s", "--segments", "--results", "--yes")[0] == 0
    assert secret.read_text() == "the key"
    folder = layout.sessions / "deep"
    folder.symlink_to(tmp_path)
    assert arbctl("purge", "deep", "--results", "--claims", "--yes")[0] != 0
    assert secret.exists()


def test_folders_that_are_nested_for_ever_are_not_walked(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 3)
    write_rows(paths, "a", rows_of(1, 3))
    exhaust(paths, 3)
    compact(layout.files(), paths)
    deep = paths.folder
    for _ in range(30):
        deep = deep / "d"
        deep.mkdir()
    code, _, err = arbctl("purge", "s", "--results", "--claims")
    assert (code, "nested deeper than anything of arbd's" in err) == (4, True)


def test_a_bookmark_never_stands_in_for_a_ledger_that_is_a_link(layout: SpoolLayout, tmp_path: Path) -> None:
    paths = make_session(layout, 3)
    elsewhere = tmp_path / "ledger"
    elsewhere.write_bytes(paths.ledger.read_bytes() + encode_frame(bytes(msgpack.packb([1]))) * 30_000)
    paths.ledger.unlink()
    paths.ledger.symlink_to(elsewhere)
    with pytest.raises(UnsafePathError, match="ledger"):
        read_state(layout.files(), paths, tmp_path / "marks")
    assert not (tmp_path / "marks").exists()


def test_a_board_of_nonsense_is_torn_and_nothing_worse(layout: SpoolLayout) -> None:
    board = layout.root / "board"
    board.write_text(f"in a {'9' * 5000}\nin b ²\nin c -1\n{ESCAPE}\nin d 7\n")
    assert [entry[0] for entry in read_board(layout.files(), board)] == ["torn", "torn", "torn", "torn", "in"]


def test_json_of_hostile_names_is_json(arbctl: Arbctl, layout: SpoolLayout) -> None:
    (layout.sessions / os.fsdecode(b"\xff\xfe")).mkdir()
    make_session(layout, 3, "good")
    code, out, _ = arbctl("watch", "--once", "--json")
    assert (code, json.loads(out)["sessions"][0]["session_id"]) == (0, "good")
