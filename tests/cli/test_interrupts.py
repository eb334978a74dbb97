"""Ctrl-C: every command, interrupted at several moments, ends with one line and 130, or was done already."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.cli.__main__ import HOMES, call
from arbd.spool.layout import SpoolLayout
from tests.conftest import REPOSITORY

SCENARIO = REPOSITORY / "etc" / "scenarios" / "profitable_spread.yaml"
JOB = f"""
session_id: NAME
tuning:
  method: random
  scenarios: [{SCENARIO}]
  search_space:
    min_spread_pct: {{type: float, bounds: [0.1, 1.0]}}
  max_iterations: COUNT
"""
# What each command is given, else it tells its help; those that wait for ever are interrupted for sure.
COMMANDS: dict[str, list[str]] = {
    "submit": ["job.yaml"], "clone": ["s"], "validate": ["job.yaml"], "schema": [], "methods": [], "run": ["long.yaml", "--workers", "2"], "list": [],
    "status": ["s"], "watch": ["s"], "summary": ["s"], "best": ["s", "--anyway"], "promote": ["s", "--to", "bot.yaml"], "verdict": ["s"], "report": ["s"], "serve": ["--listen", "127.0.0.1:0"],
    "compare": ["s", "t"], "export": ["s", "--format", "csv", "--output", "s.csv"], "replay": ["s", "best", "--plot", "s.html"], "pause": ["p"], "resume": ["p"],
    "cancel": ["p"], "set": ["p", "priority=2"], "history": ["s"], "retry": ["s"], "workers": [], "mirror": ["verify", "s"], "top": [], "doctor": [], "logs": [],
    "archive": ["s", "--output", "s.tar.gz"], "restore": ["nowhere.tar.gz"], "repair": ["s", "--check"], "purge": ["s"], "completion": ["bash"],
    "scenario": [str(SCENARIO)], "market": ["synth", "--output", "q.npz", "--ticks", "200000"],
}  # fmt: skip
FOR_EVER = {"serve", "top"}
# Shares of the time that a command takes: while modules load, while it works, as it ends.
ALL_MOMENTS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.95)
# The real entry point, which says when its first handler is there: what comes before is the interpreter's own start, and
# on a busy machine that lasts as long as it likes.
BEGIN = """
import _signal, sys
install = _signal.signal
def first(*handler):
    _signal.signal = install
    before = install(*handler)
    sys.stdout.write("up\\n")
    sys.stdout.flush()
    return before
_signal.signal = first
from arbd.cli.start import main
main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("interrupts")
    layout = SpoolLayout(folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    (folder / "arbd.yaml").write_text(f"cache_dir: {folder / 'cache'}\n")
    for name, count in (("s", 20), ("t", 20), ("p", 20), ("job", 20), ("long", 3_000_000)):
        (folder / f"{name}.yaml").write_text(JOB.replace("NAME", name).replace("COUNT", str(count)))
    options = ["--spool", str(layout.root), "--config", str(folder / "arbd.yaml")]
    for name in ("s", "t", "p"):
        assert call([*options, "run", str(folder / f"{name}.yaml"), "--workers", "1"]) == 0
    yield folder


def run(place: Path, name: str, interrupt_after_s: float | None) -> tuple[int, str, float]:
    """Status, standard error, and seconds from its beginning to its end."""
    command = [
        "--spool",
        str(place / "spool"),
        "--config",
        str(place / "arbd.yaml"),
        name,
        *COMMANDS.get(name, ["--help"]),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    began = time.monotonic()
    try:
        if interrupt_after_s is not None:
            try:
                process.wait(interrupt_after_s)
            except subprocess.TimeoutExpired:
                # As a terminal does: everything that runs in it is told.
                os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, errors, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("name", HOMES)
def test_a_command_that_is_interrupted_says_so_in_one_line(place: Path, name: str) -> None:
    lasts_s = 3.0 if name in {*FOR_EVER, "run"} else run(place, name, None)[2]
    # One moment for each command, all of them over all commands; with ARBD_ALL_MOMENTS, all for each.
    one = ALL_MOMENTS[sorted(HOMES).index(name) % len(ALL_MOMENTS)]
    for share in ALL_MOMENTS if os.environ.get("ARBD_ALL_MOMENTS") else (one,):
        status, errors, _ = run(place, name, share * lasts_s)
        told = f"after {share:.0%} of {lasts_s:.2f} s: status {status}\n{errors}"
        assert "Traceback" not in errors, told
        assert "Exception ignored" not in errors, told
        if status == 130:
            assert errors.count("arbctl: interrupted\n") == 1, told
            assert errors.endswith("arbctl: interrupted\n"), told
        else:
            assert status in (0, 1, 2, 3), told
            assert name not in FOR_EVER, told
    left = [path.name for path in place.iterdir() if path.name.startswith(".") or path.suffix in (".new", ".tmp")]
    assert left == [], f"{name} left {left}"
