"""Versions stand side by side: what runs goes on with the files of its own version, whatever is installed meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """#!{python}
import sys
sys.path.insert(0, {library!r})
print("up", flush=True)
for _ in sys.stdin:
    import late
    print(late.VERSION, flush=True)
"""


def install(prefix: Path, version: str) -> Path:
    """A version as an installation leaves it: an interpreter, a program, and what the program imports when it is asked."""
    folder = prefix / "versions" / version
    library = folder / "lib"
    library.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(sys.executable)
    (library / "late.py").write_text(f"VERSION = {version!r}\n")
    program = folder / "bin/arbd"
    program.write_text(PROGRAM.format(python=folder / "bin/python", library=str(library)))
    program.chmod(0o755)
    return folder


def switch(prefix: Path, *arguments: str) -> str:
    command = [REPOSITORY / "bin/switch-version", "--prefix", prefix, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def start(prefix: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([prefix / "bin/arbd"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def asked(process: subprocess.Popen[str]) -> str:
    return process.communicate("which\n")[0].strip()


def test_what_runs_imports_from_its_own_version_after_the_link_was_switched(tmp_path: Path) -> None:
    old = install(tmp_path, "1.0-a")
    switch(tmp_path, "1.0-a")
    running = start(tmp_path)
    new = install(tmp_path, "1.0-b")
    switch(tmp_path, "1.0-b")
    begun_later = start(tmp_path)
    assert f"kept: {old}" in switch(tmp_path, "--prune", "1.0-b")
    assert (asked(running), asked(begun_later)) == ("1.0-a", "1.0-b")
    assert switch(tmp_path, "--prune", "1.0-b") == ""
    assert (old.exists(), new.exists()) == (False, True)


def test_an_environment_of_an_earlier_installation_makes_way(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/arbd").write_text("old")
    (tmp_path / "pyvenv.cfg").write_text("old")
    install(tmp_path, "1.0-a")
    switch(tmp_path, "1.0-a")
    assert (tmp_path / "bin").readlink() == Path("current/bin")
    assert (tmp_path / "current").readlink() == Path("versions/1.0-a")
    assert not (tmp_path / "pyvenv.cfg").exists()


def test_a_version_that_is_not_there_is_refused_and_the_link_stays(tmp_path: Path) -> None:
    install(tmp_path, "1.0-a")
    switch(tmp_path, "1.0-a")
    with pytest.raises(subprocess.CalledProcessError):
        switch(tmp_path, "2.0")
    assert (tmp_path / "current").readlink() == Path("versions/1.0-a")
