"""Whatever is named as the spool and is none: every command that needs one says what is there instead, in one error."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from arbd.cli.__main__ import cli
from arbd.errors import SpoolError
from arbd.spool import place
from tests.cli.test_wrong_names import BESIDE, SESSION, WORKER, WRONG, _commands
from tests.conftest import Arbctl

JOB = """
session_id: s1
objective: {command: [/bin/true]}
tuning: {method: random, max_iterations: 3, search_space: {a: {type: float, bounds: [0, 1]}}}
"""
# They look at no spool, or do not need it: what this host logged and keeps, market data, a job checked, a spool made.
NEED_NONE = {
    "logs",
    "validate",
    "schema",
    "methods",
    "doctor",
    "completion",
    "run",
    "serve",
    "scenario",
    "mirror remove",
}
NEED_NONE_GROUPS = ("market ", "scenario ", "cache ", "slurm ", "completion ")
# What stands for an argument that is no session's name.
GIVEN = {**{name: right for name, (_, right) in WRONG.items()}, "iteration": "3", "wanted": "on"}


def _plain(place: Path) -> None:
    place.write_text("hello")


def _other(place: Path) -> None:
    (place / "src").mkdir(parents=True)
    (place / "notes.txt").touch()
    (place / ".git").mkdir()


# What is there, and what is said of it.
PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda place: None, "the spool {place} does not exist: mount the shared folder"),
    "file": (_plain, "the spool {place} is no folder, or is below a file"),
    "link to nothing": (lambda place: place.symlink_to("nowhere"), "the spool {place} is a link to nowhere, which does not exist"),
    "link to itself": (lambda place: place.symlink_to(place.name), "the spool {place} cannot be reached: Too many levels"),
    "empty folder": (Path.mkdir, "{place} is not a spool: it has no sessions/ folder; start a daemon on it once"),
    "folder of others": (_other, "{place} is not a spool: it has no sessions/ folder, but "),
}  # fmt: skip


def _commands_with_a_spool() -> list[str]:
    paths = [path for path, _ in _commands(cli, "", click.Context(cli))]
    return [path for path in paths if path not in NEED_NONE and not path.startswith(NEED_NONE_GROUPS)]


def _line(path: str, folder: Path) -> list[str]:
    command = dict(_commands(cli, "", click.Context(cli)))[path]
    (folder / "quiet-job.yaml").write_text(JOB)
    (folder / "quotes-2025.csv").touch()
    line = path.split()
    for param in command.params:
        if isinstance(param, click.Argument) and param.required:
            name = "quotes-2025.csv" if param.name == "file" else GIVEN.get(str(param.name), SESSION)
            line.append(
                str(folder / name) if name.endswith((".csv", ".yaml")) else WORKER if param.name == "worker" else name
            )
    beside = {**BESIDE, "summary": [SESSION], "repair": [SESSION], "replay": []}.get(path, [])
    return [*line, *(part.format(tmp=folder) for part in beside)]


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("path", _commands_with_a_spool())
def test_what_is_no_spool_is_told_as_what_it_is(arbctl: Arbctl, tmp_path: Path, path: str, kind: str) -> None:
    arbctl.spool = tmp_path / "named"
    make, told = PLACES[kind]
    make(arbctl.spool)
    before = sorted(os.walk(arbctl.spool)) if arbctl.spool.is_dir() else []
    if path == "submit" and kind == "empty folder":
        # Whoever submits there makes it one.
        assert arbctl(*_line(path, tmp_path))[0] == 0
        return
    code, out, err = arbctl(*_line(path, tmp_path))
    assert (code, out) == (4, ""), (out, err)
    assert err.startswith(f"arbctl: {told.format(place=arbctl.spool)}"), err
    assert err.count("\n") == 1
    assert (sorted(os.walk(arbctl.spool)) if arbctl.spool.is_dir() else []) == before


def test_run_makes_a_spool_of_any_folder_and_says_what_is_beside_it(arbctl: Arbctl, tmp_path: Path) -> None:
    arbctl.spool = tmp_path / "named"
    _other(arbctl.spool)
    (tmp_path / "job.yaml").write_text(JOB)
    assert "made a spool of" in arbctl("run", tmp_path / "job.yaml", "--workers", "1")[2]
    assert "made a spool of" not in arbctl("run", tmp_path / "job.yaml", "--workers", "1", "--session-id", "s2")[2]


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "$HOME; true", "(a)"])
def test_the_command_that_an_error_suggests_can_be_pasted(arbctl: Arbctl, tmp_path: Path, name: str) -> None:
    arbctl.spool = tmp_path / name / "spool"
    _, _, err = arbctl("list")
    _pasted(err, r"make it \((mkdir -p .*)\), or name another")
    assert arbctl.spool.is_dir()
    (tmp_path / "job.yaml").write_text(JOB)
    assert arbctl("submit", tmp_path / "job.yaml")[0] == 0
    arbctl.spool.chmod(0o777)
    code, _, err = arbctl("list")
    assert code == 4
    _pasted(err, r"is in it: (chmod o-w .*), or chmod \+t")
    assert arbctl("list")[0] == 0


def _pasted(err: str, pattern: str) -> None:
    found = re.search(pattern, err)
    assert found is not None, err
    subprocess.run(["bash", "-c", found[1]], check=True)


def test_an_empty_name_is_no_folder(arbctl: Arbctl) -> None:
    arbctl.spool = Path()
    code, _, err = arbctl("--spool", "", "list")
    assert (code, "'' names no folder" in err) == (2, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_this_user_may_not_read_says_whom_to_ask(arbctl: Arbctl, tmp_path: Path) -> None:
    for spool in (tmp_path / "locked", tmp_path / "locked" / "below"):
        arbctl.spool = spool
        (tmp_path / "locked").mkdir(exist_ok=True)
        (tmp_path / "locked").chmod(0)
        try:
            code, _, err = arbctl("list")
        finally:
            (tmp_path / "locked").chmod(0o700)
        assert (code, f"the spool {spool} cannot be read by user" in err) == (4, True)


@pytest.mark.parametrize("number", sorted(place._AWAY))
def test_a_mount_that_is_away_is_told_as_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    def lost(_path: str) -> os.stat_result:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(place.os, "lstat", lost)
    with pytest.raises(
        SpoolError, match="cannot be reached: .*: its file server is away, or the mount has to be made anew"
    ):
        place.require_folder(tmp_path)
