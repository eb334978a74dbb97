"""`execution.give_up`: limits of the job are the engine's parameters; such runs rank last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl


def job(tmp_path: Path, **more: Any) -> Path:
    data = tmp_path / "quotes.parquet"
    if not data.exists():
        write_quotes(synth_profile("kimchi", 3, 5_000), data)
    space = {"min_spread_pct": {"type": "choice", "values": [0.01, 5.0]}}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"data": [str(data)], "tuning": {"method": "grid", "search_space": space}, **more}))
    return path


def test_a_run_that_is_given_up_says_so_and_ranks_last(tmp_path: Path, arbctl: Arbctl) -> None:
    path = job(tmp_path, execution={"give_up": {"trades_per_day": 2}})
    code, _, err = arbctl("run", path, "--session-id", "hopeless", "--worker-id", "w")
    assert code == 0, err
    code, out, err = arbctl("best", "hopeless", "--format", "json", "--anyway")
    assert code == 0, err
    assert "5.0" in out
    _, out, _ = arbctl("replay", "hopeless", "1", "--json")
    assert json.loads(out)["replayed"]["given_up"] == 1.0


def test_its_limits_are_those_of_the_engine(tmp_path: Path, arbctl: Arbctl) -> None:
    path = job(tmp_path, execution={"give_up": {"trades_per_day": 7, "drawdown_pct": 12.5}})
    code, out, err = arbctl("validate", path, "--json")
    assert code == 0, err
    assert json.loads(out)["resolved"]["fixed"] == {"give_up_trades_per_day": 7, "give_up_drawdown_pct": 12.5}


def test_limits_that_stand_twice_or_have_no_run_are_refused(tmp_path: Path, arbctl: Arbctl) -> None:
    limits = {"give_up": {"trades_per_day": 7}}
    code, _, err = arbctl("validate", job(tmp_path, execution=limits, fixed={"give_up_trades_per_day": 1}))
    assert code == 2
    assert "give_up_trades_per_day is fixed or searched as well: keep one" in err


def test_settings_that_mean_something_else_now_are_named(tmp_path: Path, arbctl: Arbctl) -> None:
    code, out, _ = arbctl("validate", job(tmp_path, fixed={"carry_over_gaps": "no", "min_notional": 5}))
    assert code == 0
    assert "note: carry_over_gaps: is called gap now" in out
    assert "note: min_notional: holds for each leg at its own price" in out
    assert (
        json.loads(arbctl("validate", tmp_path / "job.yaml", "--json")[1])["resolved"]["fixed"]["gap"] == "close_before"
    )
