"""A spool of several users of one group: what one makes, whatever its umask, the others can go on with."""

from __future__ import annotations

import os
import stat
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.cli.__main__ import call
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
    assert (code, err.startswith("arbctl: no worker runs")) == (0, True)
    assert {folder: folder.stat().st_mtime_ns for folder in before} == before
    (job,) = layout.incoming.glob("*.yaml")
    assert stat.S_IMODE(job.stat().st_mode) == 0o644
    assert os.umask(0o077) == 0o077


NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of this machine can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="arbd-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_stranger_can_submit_to_a_spool_and_cannot_look_into_it(open_folder: Path) -> None:
    layout = SpoolLayout(open_folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    create_session(layout.files(), layout, "secret", b"tuning: {}\n", spec_of(3))
    layout.root.chmod(0o771)
    layout.incoming.chmod(0o1777)
    for folder in (layout.sessions, layout.rejected, layout.workers):
        folder.chmod(0o770)
    (open_folder / "m.py").write_text("def quick(params):\n    return {'value': params['x']}\n")
    (open_folder / "arbd.yaml").write_text(f"objective_paths: [{open_folder}]\nallow: ['python:*']\n")
    job = write_job(open_folder / "job.yaml", "m:quick", 3)

    def arbctl(*words: str | Path) -> int:
        return call(["--spool", str(layout.root), "--config", str(open_folder / "arbd.yaml"), *map(str, words)])

    def as_nobody(*words: str | Path) -> int:
        """What arbctl ends with when that user calls it."""
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                os._exit(arbctl(*words))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(99)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    # Modules are imported before: they may be out of that user's reach.
    looking = [("list",), ("status",), ("workers",), ("summary", "secret"), ("best", "secret")]
    assert [arbctl(*words) for words in looking] == [0, 0, 0, 0, 3]
    assert arbctl("submit", job, "--session-id", "ours") == 0
    (layout.incoming / "ours.submitted.yaml").unlink()
    assert as_nobody("submit", job, "--session-id", "s") == 0
    (dropped,) = layout.incoming.glob("*.yaml")
    assert dropped.stat().st_uid == NOBODY
    assert [as_nobody(*words) for words in looking] == [4] * len(looking)
    # It is the daemon that says no where the stranger could not know.
    assert as_nobody("submit", job, "--session-id", "secret") == 0
