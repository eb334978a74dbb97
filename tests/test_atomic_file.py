"""Files that users name for output."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from arbd.atomic_file import check_output, replace_file, whole_file
from arbd.errors import UsageError
from tests.conftest import REPOSITORY


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("old")
    with pytest.raises(ValueError, match="half"), whole_file(output) as path:
        path.write_text("ne")
        raise ValueError("half")
    assert output.read_text() == "old"
    with whole_file(output) as path:
        path.write_text("new")
        assert output.read_text() == "old"
    assert output.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["out.csv"]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("real")
    with whole_file(link) as path:
        path.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole_file(pipe) as path:
        path.write_text("through")
    reader.join(10)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_device_is_told_and_stays_a_device() -> None:
    with (
        pytest.raises(UsageError, match="/dev/full cannot be written: No space left"),
        whole_file(Path("/dev/full")) as path,
    ):
        path.write_text("x" * 100_000)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_where_no_file_can_be_is_said_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder .*nowhere does not exist: make it first"):
        check_output(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(UsageError, match="is a folder: name a file in it"):
        check_output(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", ["nothing", "a file", "a link"])
def test_a_file_of_ones_own_is_replaced_whole_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    path, elsewhere = tmp_path / "note", tmp_path / "elsewhere"
    elsewhere.write_text("of somebody else")
    if before == "a file":
        path.write_text("old")
    elif before == "a link":
        path.symlink_to(elsewhere)
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd)))
    replace_file(path, b"new", 0o600)
    assert (path.read_text(), path.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == ("new", False, 0o600)
    assert elsewhere.read_text() == "of somebody else"
    assert [Path(name).name.startswith(".note.") for name in synced] == [True, False]
    assert synced[1] == str(tmp_path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["elsewhere", "note"]


def test_a_file_of_ones_own_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "note"
    path.write_text("old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("note", "old")]


def test_no_other_module_of_arbd_replaces_files_by_itself() -> None:
    own = {"atomic_file.py", "spool/system.py", "spool/files.py", "spool/confined.py"}
    renames = re.compile(r"\.rename\((?!columns)|os\.replace\(|write_to_textfile")
    found = {
        str(path.relative_to(REPOSITORY / "arbd"))
        for path in (REPOSITORY / "arbd").rglob("*.py")
        for line in path.read_text().splitlines()
        if renames.search(line) and "files.rename(" not in line and "files.system.rename(" not in line
    }
    # Folders: one that is locked, made in the folder of temporary files, and one that is moved aside to be removed.
    assert found - own == {"daemon/startup.py", "paper/market/retention.py"}
