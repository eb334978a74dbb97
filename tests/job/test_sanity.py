"""Jobs that are allowed and cannot be meant are noted at validate and submit; ordinary ones are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbd.paper.market.synth import PROFILES, synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl


@pytest.fixture(scope="module")
def quotes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sanity") / "kimchi.parquet"
    write_quotes(synth_profile("kimchi", 3, 2_000), path)
    return path


def job(tmp_path: Path, quotes: Path, fixed: dict[str, Any], space: dict[str, Any]) -> Path:
    searched = {name: {"type": "float", "bounds": list(bounds)} for name, bounds in space.items()}
    tuning = {"method": "random", "max_iterations": 5, "search_space": searched}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"data": [str(quotes)], "fixed": fixed, "tuning": tuning}))
    return path


ODD = [
    ({}, {"min_spread_pct": (20, 30)}, "min_spread_pct is 20 to 30, and no edge is larger than"),
    ({}, {"min_spread_pct": (20, 30)}, "in bps? 1 % is 100 bps"),
    ({}, {"min_spread_pct": (-50, -40)}, "99 % of the time the better edge is more than"),
    ({}, {"min_spread_pct": (0.0005, 0.002)}, "it is in percent, 20 bps are 0.2"),
    ({"fee_a_bps": 0.1}, {"min_spread_pct": (0.01, 0.1)}, "fee_a_bps is 0.1, less than is usual (0.2): fees are in bps"),
    ({"fee_b_bps": 500}, {"min_spread_pct": (0.01, 0.1)}, "fee_b_bps is 500, more than is usual (100)"),
    ({"latency_a_ms": 0.02}, {"min_spread_pct": (0.01, 0.1)}, "latency_a_ms is 0.02, less than is usual (0.05): 1 s is"),
    ({"latency_b_ms": 60_000}, {"min_spread_pct": (0.01, 0.1)}, "latency_b_ms is 60000, more than is usual"),
    ({"slippage_bps": 300}, {"min_spread_pct": (0.01, 0.1)}, "slippage_bps is 300, more than is usual"),
    ({}, {"min_spread_pct": (0.01, 0.1), "stop_loss_pct": (0, 1)}, "stop_loss_pct is 0 to 1, and a round trip through both"),
    ({"fee_a_bps": 60, "fee_b_bps": 60}, {"min_spread_pct": (0.01, 0.1)}, "no trade in and out can gain"),
    ({"max_quote_age_s": 0.5}, {"min_spread_pct": (0.01, 0.1)}, "nearly all of the time is a gap"),
    ({"max_hold_s": 1e8}, {"min_spread_pct": (0.01, 0.1)}, "it never ends a trade"),
]  # fmt: skip


@pytest.mark.parametrize(("fixed", "space", "note"), ODD)
def test_what_cannot_be_meant_is_noted_and_runs_all_the_same(
    tmp_path: Path, arbctl: Arbctl, quotes: Path, fixed: dict[str, Any], space: dict[str, Any], note: str
) -> None:
    path = job(tmp_path, quotes, fixed, space)
    code, out, err = arbctl("validate", path)
    assert (code, err) == (0, "")
    assert note in out
    code, _, err = arbctl("submit", path, "--session-id", "odd")
    assert code == 0
    assert note in err


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_job_that_a_market_suggests_is_not_noted(tmp_path: Path, arbctl: Arbctl, profile: str) -> None:
    write_quotes(synth_profile(profile, 3, 3_000), tmp_path / "q.parquet")
    assert arbctl("market", "describe", tmp_path / "q.parquet", "--job", tmp_path / "job.yaml")[0] == 0
    # Whether fees leave a gain is for the market to say; the rest is meant.
    text = (
        (tmp_path / "job.yaml")
        .read_text()
        .replace("fee_a_bps: 10.0", "fee_a_bps: 0")
        .replace("fee_b_bps: 10.0", "fee_b_bps: 0")
    )
    (tmp_path / "job.yaml").write_text(text)
    code, out, _ = arbctl("validate", tmp_path / "job.yaml")
    assert code == 0
    assert "note:" not in out, out


def test_sets_that_trade_all_the_time_are_told_from_a_sample(tmp_path: Path, arbctl: Arbctl) -> None:
    write_quotes(synth_profile("kimchi", 3, 30_000), tmp_path / "q.npz")
    free = {"fee_a_bps": 0, "fee_b_bps": 0, "max_position": 1e6, "initial_capital": 1e8}
    space = {"min_spread_pct": (0.0, 0.4), "exit_spread_pct": (-0.3, 0.3), "stop_loss_pct": (0.001, 3.0)}
    path = job(tmp_path, tmp_path / "q.npz", free, space)
    cost = json.loads(arbctl("validate", path, "--json")[1])["cost"]
    assert (cost["sets"], cost["rows"]) == (64, 30_000)
    assert 0 < cost["dense"] < 16
    assert 0 < cost["share"] < 1


def test_a_small_market_and_another_objective_are_not_sampled(tmp_path: Path, arbctl: Arbctl, quotes: Path) -> None:
    path = job(tmp_path, quotes, {}, {"min_spread_pct": (0.01, 0.1)})
    assert "cost" not in json.loads(arbctl("validate", path, "--json")[1])
