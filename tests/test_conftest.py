"""A test that is not marked `slow` has a ceiling of CPU, children included, where that is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

BURN = "import time\nwhile time.process_time() < 0.5: pass\n"
TESTS = f"""
import subprocess, sys, pytest

BURN = {BURN!r}

def burn():
    begun = __import__("time").process_time()
    while __import__("time").process_time() < begun + 0.5: pass

def test_here(): burn()
def test_in_a_child(): subprocess.run([sys.executable, "-c", BURN], check=True)
@pytest.mark.slow
def test_slow(): burn()
def test_quick(): pass
"""


@pytest.mark.parametrize(
    ("options", "failed"), [((), set()), (("--max-cpu-s", "0.4"), {"test_here", "test_in_a_child"})]
)
def test_a_test_above_the_ceiling_fails_unless_it_is_slow(
    tmp_path: Path, options: tuple[str, ...], failed: set[str]
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_addoption, pytest_runtest_call\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n    bed: bed\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", "-p", "no:randomly", *options, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = {line.partition("::")[2].partition(" ")[0] for line in ran.stdout.splitlines() if line.startswith("FAILED")}
    assert (told, "4 passed" in ran.stdout) == (failed, not failed), ran.stdout + ran.stderr


def test_the_tests_that_failed_are_written_down_one_a_line_so_that_they_alone_can_be_run_again(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_addoption, pytest_terminal_summary\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "@pytest.mark.parametrize('word', ['a b', 'c'])\n"
        "def test_word(word): assert word == 'c'\n"
        "def test_error(broken): pass\n"
    )
    failed = tmp_path / "failed"

    def run(*options: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *options],
            check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, cwd=tmp_path,
        ).stdout  # fmt: skip

    assert "1 failed, 1 passed, 1 error" in run(f"--failed-to={failed}", ".")
    assert failed.read_text().splitlines() == ["test_it.py::test_word[a b]", "test_it.py::test_error"]
    assert "1 failed, 1 error" in run(f"@{failed}")
