"""The shipped jobs for recorded quotes find better parameters than the defaults, on the real thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.paper.market.readers import read_quotes
from arbd.paper.objective import PaperObjective
from arbd.paper.params import PARAMETERS
from tests.conftest import REPOSITORY, Arbctl

JOBS = {
    "recorded_brl": "brl_two_venue_book",
    "recorded_spot_perp": "binance_btc_spot_perp_tick",
    "recorded_bybit": "bybit_binance_btc_1m",
}


@pytest.mark.data
@pytest.mark.bed
@pytest.mark.parametrize("job", sorted(JOBS))
def test_tuning_recorded_quotes_beats_the_defaults(recorded: Path, arbctl: Arbctl, job: str) -> None:
    quotes = recorded / f"{JOBS[job]}.parquet"
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(arbctl.spool), "--config", str(arbctl.config), "run"]
    options = ["--session-id", job, "--set", f"data=[{quotes}]", "--set", "tuning.max_iterations=256"]
    found = subprocess.run(
        [*command, str(REPOSITORY / "etc" / "jobs" / f"{job}.yaml"), *options],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    table = load_table(arbctl.spool, job)
    assert table.counts()["completed"] == 256
    best = table.results(table.rank("pnl", 1, ascending=False))[0]
    assert any(best.params[name] != PARAMETERS[name].default for name in best.params)
    defaults, _ = PaperObjective([read_quotes(quotes)[0]], dict(table.spec.fixed)).evaluate({})
    assert best.metrics["pnl"] > defaults["pnl"]
    again, _ = PaperObjective([read_quotes(quotes)[0]], dict(table.spec.fixed)).evaluate(best.params)
    assert {n: v for n, v in again.items() if v == v} == {n: v for n, v in best.metrics.items() if v == v}
