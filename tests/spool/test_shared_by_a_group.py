"""A spool of several users of one group: what one makes, whatever its umask, the others can go on with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import create_session
from tests.conftest import Arbctl
from tests.jobs import write_job
from tests.spool.sessions import spec_of


@pytest.fixture
def private() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def group_may(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) >> 3 & 7


@pytest.mark.usefixtures("private")
def test_what_is_made_in_a_folder_of_the_group_is_the_groups(tmp_path: Path) -> None:
    layout = SpoolLayout(tmp_path / "spool")
    layout.root.mkdir()
    layout.root.chmod(0o2770)
    layout.prepare()
    assert {group_may(folder) for folder in layout.folders()} == {7}
    files: Files = layout.files()
    paths = create_session(layout.files(), layout, "s", b"tuning: {}\n", spec_of(3))
    with files.lock(paths.compaction_lock, 1.0):
        found = list(paths.folder.rglob("*"))
    assert {group_may(path) for path in found if path.is_dir()} <= {7}
    assert {group_may(path) for path in found if path.is_file()} == {6}


@pytest.mark.usefixtures("private")
def test_a_spool_of_one_user_stays_its_own(tmp_path: Path) -> None:
    layout = SpoolLayout(tmp_path / "spool")
    layout.root.mkdir(mode=0o755)
    layout.prepare()
    paths = create_session(layout.files(), layout, "s", b"tuning: {}\n", spec_of(3))
    assert {group_may(path) for path in paths.folder.rglob("*")} == {0}


@pytest.mark.usefixtures("private")
def test_submitting_needs_no_more_than_incoming_and_makes_a_job_that_the_daemon_can_read(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    before = {folder: folder.stat().st_mtime_ns for folder in (layout.root, layout.sessions, layout.workers)}
    code, _, err = arbctl("submit", write_job(tmp_path / "job.yaml", "samples:quick", 3), "--session-id", "s")
    assert (code, err.startswith("arbctl: no worker lives")) == (0, True)
    assert {folder: folder.stat().st_mtime_ns for folder in before} == before
    (job,) = layout.incoming.glob("*.yaml")
    assert stat.S_IMODE(job.stat().st_mode) == 0o644
    assert os.umask(0o077) == 0o077
