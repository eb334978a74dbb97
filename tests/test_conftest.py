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
