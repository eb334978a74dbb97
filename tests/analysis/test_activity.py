"""A search in which nothing was traded says so wherever one looks, and its parameters are not handed to a bot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl

NOTHING = "nothing was traded in any of 4 iterations"


def ran(tmp_path: Path, arbctl: Arbctl, low: float, high: float, metric: object = "pnl", **fixed: object) -> None:
    write_quotes(synth_profile("kimchi", 3, 1_500), tmp_path / "q.npz")
    job = {
        "session_id": "s", "data": [str(tmp_path / "q.npz")], "metric": metric, "fixed": fixed,
        "tuning": {
            "method": "grid", "grid_points": 4,
            "search_space": {"min_spread_pct": {"type": "float", "bounds": [low, high]}},
        },
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    code, _, err = arbctl("run", tmp_path / "job.yaml", "--workers", 1)
    assert code == 0, err


@pytest.mark.parametrize("metric", ["pnl", ["pnl", "max_drawdown"]])
def test_a_search_without_a_trade_says_so_and_hands_nothing_out(tmp_path: Path, arbctl: Arbctl, metric: object) -> None:
    ran(tmp_path, arbctl, 40.0, 50.0, metric)
    assert f"note: {NOTHING}" in arbctl("summary", "s")[1]
    assert any(NOTHING in notice for notice in json.loads(arbctl("summary", "s", "--json")[1])["notices"])
    assert arbctl("report", "s", "--output", tmp_path / "r.html")[0] == 0
    assert NOTHING in (tmp_path / "r.html").read_text()
    for form in ("yaml", "json"):
        code, out, err = arbctl("best", "s", "--format", form)
        assert (code, out) == (1, "")
        assert f"session s: {NOTHING}" in err and "--anyway prints the parameters all the same" in err
        code, out, _ = arbctl("best", "s", "--format", form, "--anyway")
        assert code == 0 and "min_spread_pct" in out


def test_a_winner_that_did_not_trade_is_not_handed_out_either(tmp_path: Path, arbctl: Arbctl) -> None:
    ran(tmp_path, arbctl, 0.05, 50.0, fee_a_bps=500, fee_b_bps=500)
    assert NOTHING not in arbctl("summary", "s")[1]
    code, out, err = arbctl("best", "s")
    assert (code, out) == (1, "")
    assert "the best, made no trade: those that traded were worse" in err
    assert arbctl("best", "s", "--metric", "trades")[0] == 0


def test_a_search_that_trades_is_as_before(tmp_path: Path, arbctl: Arbctl) -> None:
    ran(tmp_path, arbctl, 0.02, 0.08, fee_a_bps=0, fee_b_bps=0)
    assert "nothing was traded" not in arbctl("summary", "s")[1]
    assert arbctl("best", "s")[0] == 0
