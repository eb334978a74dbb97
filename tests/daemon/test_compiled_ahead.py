"""`arbd compile`: afterwards a job compiles nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.paper.strategies import STRATEGIES
from tests.conftest import Arbctl


def compiled(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of machine code of its own, with what other tests compiled already."""
    folder = tmp_path / "code"
    there = Path(os.environ["NUMBA_CACHE_DIR"])
    if there.exists():
        shutil.copytree(there, folder, ignore=shutil.ignore_patterns("*.done", "*.lock", "tmp*"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    return folder


def test_after_arbd_compile_no_job_compiles_anything(arbctl: Arbctl, code: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "arbd.daemon", "compile"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert str(code) in done.stdout
    before = compiled(code)
    assert before
    write_quotes(synth_profile("kimchi", 3, 500), tmp_path / "q.parquet")
    for strategy in STRATEGIES.built_in():
        job = {
            "objective": "paper", "data": [str(tmp_path / "q.parquet")], "metric": "pnl", "fixed": {"strategy": strategy},
            "tuning": {"method": "sobol", "max_iterations": 8, "seed": 1,
                       "search_space": {"min_spread_pct": {"type": "float", "bounds": [0.1, 1.0]}}},
        }  # fmt: skip
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
        status, _, err = arbctl("run", tmp_path / "job.yaml", "--session-id", f"s-{strategy}", "--workers", "1")
        assert status == 0, err
    assert compiled(code) == before


def test_a_folder_that_others_write_to_is_refused(code: Path) -> None:
    code.chmod(0o777)
    done = subprocess.run([sys.executable, "-m", "arbd.daemon", "compile"], check=False, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert str(code) in done.stderr
