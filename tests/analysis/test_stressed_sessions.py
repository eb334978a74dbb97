"""Every condition of the default stress gives results with every strategy, and what ran under it is run again alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from arbd.analysis.table import load_table
from arbd.paper.strategies import STRATEGIES
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl

SPACE = {
    "min_spread_pct": {"type": "float", "bounds": [0.02, 0.2]},
    "participation": {"type": "float", "bounds": [0.3, 1.0]},
}


@pytest.mark.parametrize("strategy", STRATEGIES.names())
def test_all_of_a_stressed_session_completes_and_is_replayed_to_the_bit(
    strategy: str, arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    quotes = tmp_path / "quotes.parquet"
    # A span that is no whole number of grid steps, as of real data.
    assert arbctl("market", "synth", "--output", quotes, "--ticks", "3000", "--span-s", "20011", "--seed", "3")[0] == 0
    job = {
        "data": [str(quotes)], "metric": "pnl", "fixed": {"strategy": strategy, "grid_s": 100, "fee_a_bps": 1, "fee_b_bps": 1},
        "tuning": {"method": "sobol", "search_space": SPACE, "max_iterations": 16, "seed": 1},
        "validation": {"stress": "default", "finalists": 2, "neighbours": 2},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    code, _, told = arbctl("run", tmp_path / "job.yaml", "--session-id", "s", "--workers", "1")
    assert code == 0, told
    rows = load_table(layout.root, "s").rows
    assert set(rows.status.tolist()) == {0}, rows.errors
    assert len(rows) > 16 + 2
    for iteration in range(17, len(rows) + 1):
        code, said, told = arbctl("replay", "s", str(iteration))
        assert (code, "equal to the bit" in said) == (0, True), (iteration, said, told)
    verdict = json.loads(arbctl("verdict", "s", "--json")[1])
    assert "integer number of steps" not in json.dumps(verdict)
