"""`arbctl extend` in the hands of a person: run again by the same command, and repaired like any other session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.spool.frames import HEADER, scan_frames
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.daemon.test_sessions_end_to_end import content
from tests.jobs import write_job

pytestmark = pytest.mark.bed


def test_the_command_that_began_a_session_goes_on_with_it_and_each_file_of_it_can_be_repaired(
    arbctl: Arbctl, objectives: Path, layout: SpoolLayout
) -> None:
    job = write_job(objectives / "job.yaml", "samples:quick", 20)
    run = ("run", job, "--session-id", "s", "--workers", "1")
    assert arbctl(*run)[0] == 0
    assert arbctl("extend", "s", "--iterations", "10")[0] == 0
    assert arbctl(*run)[0] == 0
    assert arbctl("run", job, "--session-id", "s", "--set", "tuning.seed=9")[0] == 2
    rows = content(load_table(layout.root, "s"))
    assert len(rows["iteration"]) == 30
    paths = layout.session("s")
    history = arbctl("--json", "history", "s")[1]
    for path in (paths.spec, paths.ledger):
        whole = path.read_bytes()
        for frame in scan_frames(whole).frames:
            # One byte of one record; behind it everything is whole.
            place = frame.offset + HEADER.size + 3
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            code, out, err = arbctl("repair", "s")
            assert code == 0, (path.name, frame.offset, out, err)
            assert content(load_table(layout.root, "s")) == rows
            status = json.loads(arbctl("--json", "status", "s")[1])
            assert (status["state"], status["iterations"], status["done"]) == ("done", 30, 30), (
                path.name,
                frame.offset,
            )
            path.write_bytes(whole)
    assert arbctl("--json", "history", "s")[1] == history
