"""Files that users name for output."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from arbd.atomic_file import check_output, whole_file
from arbd.errors import UsageError


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
