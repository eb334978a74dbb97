"""`arbd compile`: afterwards a job compiles nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest
import yaml

from arbd.paper.machine_code import made_for
from arbd.paper.market.loops import extremes
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.paper.strategies import STRATEGIES
from arbd.spool.layout import SpoolLayout
from tests.conftest import REPOSITORY, Arbctl, wait_until
from tests.paper.markets import LIVELY, NOT_GIVEN, random_quotes, with_levels


def compiled(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.code")}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of machine code of its own, with what other tests compiled already."""
    folder = tmp_path / "code"
    there = Path(os.environ["NUMBA_CACHE_DIR"])
    if there.exists():
        shutil.copytree(there, folder, ignore=shutil.ignore_patterns("*.lock", "tmp*"))
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
    markets = {"plain": synth_profile("kimchi", 3, 500)}
    for seed in range(2):
        quotes = random_quotes(seed, 300)
        paid = np.where(np.arange(300) % 50 == 0, 1e-4, np.nan)
        ages, blocks = np.arange(300) % 3 * 10**9, np.arange(300) // 100
        quotes = replace(quotes, funding_a=paid, age_a_ns=ages, age_b_ns=ages, block=blocks)
        markets[f"wild-{seed}"] = with_levels(quotes, seed)
    for name, quotes in markets.items():
        write_quotes(quotes, tmp_path / f"{name}.parquet")
    every = {
        name: {"type": "choice", "values": sorted({v for v in values if v is not NOT_GIVEN}, key=str)}
        for name, values in LIVELY.items()
    }
    spaces = {"plain": {"min_spread_pct": {"type": "float", "bounds": [0.1, 1.0]}}}
    for strategy in STRATEGIES.built_in():
        for name in markets:
            job = {
                "objective": "paper", "data": [str(tmp_path / f"{name}.parquet")], "metric": "pnl",
                "fixed": {"strategy": strategy},
                "tuning": {"method": "random", "max_iterations": 64, "seed": 1, "search_space": spaces.get(name, every)},
            }  # fmt: skip
            (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
            session = f"{name}-{strategy}"
            status, _, err = arbctl("run", tmp_path / "job.yaml", "--session-id", session, "--workers", "1")
            assert status == 0, err
            assert "compiling" not in err
            assert compiled(code) == before


def test_a_session_for_which_the_engine_is_compiled_says_so(layout: SpoolLayout, code: Path, tmp_path: Path) -> None:
    write_quotes(synth_profile("kimchi", 3, 500), tmp_path / "q.parquet")
    job = {
        "objective": "paper", "data": [str(tmp_path / "q.parquet")], "metric": "pnl",
        "tuning": {"method": "random", "max_iterations": 1, "search_space": {"max_hold_s": {"type": "int", "bounds": [1, 9]}}},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    log = tmp_path / "log"
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(layout.root), "run", str(tmp_path / "job.yaml")]
    extremes.ready()
    (kept,) = {*Path(os.environ["NUMBA_CACHE_DIR"]).glob(f"extremes-{made_for()}.code")}
    kept.unlink()
    # As long as somebody else compiles, the session waits for that.
    with filelock.FileLock(kept.with_suffix(".lock")) as other, log.open("wb") as output:
        running = subprocess.Popen([*command, "--workers", "1"], stdout=output, stderr=output)
        try:
            wait_until(lambda: "compiling the engine" in log.read_text() or running.poll() is not None, 300)
            assert running.poll() is None
            other.release()
            assert running.wait() == 0
        finally:
            running.kill()
            running.wait()
    assert log.read_text().count("compiling the engine") == 1


def test_what_is_compiled_in_one_place_is_read_in_another_that_has_the_same_sources(code: Path, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "arbd", tmp_path / "moved" / "arbd", ignore=shutil.ignore_patterns("__pycache__"))
    for kept in code.glob("decaying_sum-*.code"):
        kept.unlink()
    script = (
        "import numpy as np; from arbd.paper.market.loops import decaying_sum; "
        "decaying_sum.ready(lambda: print('compiling')); out = np.empty(2); "
        "decaying_sum(np.array([0.5, 0.5]), np.array([1.0, 2.0]), out); print(out.tolist())"
    )

    def said(place: Path) -> str:
        return subprocess.run(
            [sys.executable, "-c", script], cwd=place, env={**os.environ, "PYTHONPATH": str(place)},
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    assert [said(REPOSITORY), said(REPOSITORY), said(tmp_path / "moved"), said(tmp_path / "moved")] == [
        "compiling\n[1.0, 2.5]\n", *3 * ["[1.0, 2.5]\n"],
    ]  # fmt: skip


def test_a_folder_that_others_write_to_is_refused(code: Path) -> None:
    code.chmod(0o777)
    done = subprocess.run([sys.executable, "-m", "arbd.daemon", "compile"], check=False, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert str(code) in done.stderr
