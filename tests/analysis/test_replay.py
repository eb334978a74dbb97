"""An iteration run again gives what was recorded, and its fills explain its metrics."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbd.analysis.replay import find_recorded
from arbd.analysis.trades import HEAD
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from tests.conftest import REPOSITORY, Arbctl
from tests.jobs import write_job

SEARCHED: dict[str, Any] = {
    "min_spread_pct": {"type": "float", "bounds": [0.02, 0.2]},
    "exit_spread_pct": {"type": "float", "bounds": [-0.1, 0.1]},
    "max_trades_per_hour": {"type": "int", "bounds": [1, 50]},
    "stop_loss_pct": {"type": "choice", "values": [0, 0.5]},
}


def paper_job(path: Path, data: list[str], **more: Any) -> Path:
    fixed = {"fee_a_bps": 1, "fee_b_bps": 2, "latency_a_ms": 100, "grid_s": 600, **more.pop("fixed", {})}
    tuning = {"method": "random", "max_iterations": 40, "seed": 5, "search_space": SEARCHED, **more.pop("tuning", {})}
    path.write_text(yaml.safe_dump({"data": data, "fixed": fixed, "metric": "pnl", "tuning": tuning, **more}))
    return path


@pytest.fixture
def market(tmp_path: Path) -> Path:
    path = tmp_path / "day<b>&.parquet"
    write_quotes(synth_profile("kimchi", 3, 20_000), path)
    return path


@pytest.fixture
def session(tmp_path: Path, market: Path, arbctl: Arbctl) -> str:
    """A finished paper session over a data file and a scenario, evaluated in batches by two slots."""
    scenario = REPOSITORY / "etc" / "scenarios" / "profitable_spread.yaml"
    job = paper_job(tmp_path / "job.yaml", [str(market)], tuning={"scenarios": [str(scenario)]})
    code, _, err = arbctl("run", job, "--session-id", "day", "--worker-id", "w")
    assert code == 0, err
    return "day"


def fills(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_iteration_of_a_paper_session_is_reproduced_to_the_bit(session: str, arbctl: Arbctl) -> None:
    for iteration in (1, 17, 40):
        code, out, err = arbctl("replay", session, str(iteration), "--json")
        assert (code, err) == (0, "")
        document = json.loads(out)
        assert document["equal"] is True
        assert document["differences"] == []
        assert document["recorded"] == document["replayed"]
        assert document["replayed"]["trades"] > 0
    assert "equal to the bit" in arbctl("replay", session, "3")[1]


def test_the_fills_in_the_table_add_up_to_the_metrics(
    session: str, market: Path, arbctl: Arbctl, tmp_path: Path
) -> None:
    for iteration in (2, 9, 33):
        explained(session, iteration, market, arbctl, tmp_path)


def explained(session: str, iteration: int, market: Path, arbctl: Arbctl, tmp_path: Path) -> None:
    target = tmp_path / "fills.csv"
    code, out, _ = arbctl("replay", session, str(iteration), "--trades", target, "--json")
    assert code == 0
    metrics, rows = json.loads(out)["replayed"], fills(target)
    assert tuple(rows[0]) == HEAD
    assert json.loads(out)["fills"] == len(rows) > 4
    assert {Path(row["data"]).name for row in rows} == {"day<b>&.parquet", "profitable_spread.yaml"}

    def total(value: Any) -> float:
        return math.fsum(value(row) for row in rows)

    assert total(lambda r: float(r["fee"])) == pytest.approx(metrics["total_fees"], rel=1e-12)
    assert total(lambda r: float(r["slippage"])) == pytest.approx(metrics["slippage_cost"], rel=1e-12)
    cash = total(lambda r: (1 if r["side"] == "sell" else -1) * float(r["price"]) * float(r["size"]) - float(r["fee"]))
    assert cash == pytest.approx(metrics["pnl"], rel=1e-6, abs=1e-4)
    for venue in "AB":
        held = math.fsum((1 if r["side"] == "buy" else -1) * float(r["size"]) for r in rows if r["venue"] == venue)
        assert held == pytest.approx(0, abs=1e-9)
    notional = total(lambda r: float(r["price"]) * float(r["size"]))
    assert notional / 1_000_000 == pytest.approx(metrics["turnover"], rel=1e-12)
    quotes, _ = read_quotes(market)
    slippage = 1e-4
    for row in rows:
        if row["data"] != str(market):
            continue
        at = int(row["row"]) - 1
        assert int(row["ts_ns"]) == quotes.ts_ns[at]
        assert row["time"].startswith("2024-01-01T")
        if row["venue"] == "A":
            touch = quotes.ask_a[at] * (1 + slippage) if row["side"] == "buy" else quotes.bid_a[at] * (1 - slippage)
            assert float(row["price"]) == pytest.approx(float(touch), rel=1e-12)


def test_inventory_fills_are_written_too(tmp_path: Path, market: Path, arbctl: Arbctl) -> None:
    job = paper_job(tmp_path / "job.yaml", [str(market)], fixed={"strategy": "inventory", "rebalance": "none"})
    assert arbctl("run", job, "--session-id", "inv", "--worker-id", "w")[0] == 0
    code, out, _ = arbctl("replay", "inv", "4", "--trades", tmp_path / "f.csv", "--json")
    metrics, rows = json.loads(out)["replayed"], fills(tmp_path / "f.csv")
    assert code == 0
    # What was under way at the end is in no row.
    assert 2 * metrics["trades"] <= len(rows) <= metrics["orders"] <= len(rows) + 2
    assert math.fsum(float(r["fee"]) for r in rows) == pytest.approx(metrics["total_fees"], rel=1e-12)


SHARES = """
import numpy as np
def objective(params, trial):
    return {"value": params["x"] + params["k"] * trial.budget + trial.seed % 1000}
def shared(params, budget):
    return {"value": params["x"] * budget}
"""
SHARES_BATCH = """
import numpy as np
def objective(params, budget):
    return {"value": params["x"] * budget}
def evaluate_batch(columns, budget):
    return {"value": np.asarray(columns["x"]) * budget}
"""


def rows_of(arbctl: Arbctl, session: str) -> list[dict[str, Any]]:
    code, out, err = arbctl("export", session, "--format", "jsonl", "--output", arbctl.spool / "rows.jsonl")
    assert code == 0, err
    return [json.loads(line) for line in (arbctl.spool / "rows.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", ["shares:objective", "shares:shared", "shares_batch:objective"])
def test_what_used_a_part_of_the_data_is_reproduced_with_that_part(
    tmp_path: Path, objectives: Path, arbctl: Arbctl, objective: str
) -> None:
    (objectives / "shares.py").write_text(SHARES)
    (objectives / "shares_batch.py").write_text(SHARES_BATCH)
    job = write_job(tmp_path / "job.yaml", objective, 27, method="successive_halving")
    assert arbctl("run", job, "--session-id", "halving", "--worker-id", "w")[0] == 0
    rows = rows_of(arbctl, "halving")
    assert len({row["data_share"] for row in rows}) > 1
    for row in rows:
        code, out, err = arbctl("replay", "halving", str(row["iteration"]), "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["replayed"] == row["metrics"]


def test_fills_of_what_used_a_part_of_the_quotes_are_of_that_part(tmp_path: Path, market: Path, arbctl: Arbctl) -> None:
    job = paper_job(tmp_path / "job.yaml", [str(market)], tuning={"method": "successive_halving", "max_iterations": 27})
    assert arbctl("run", job, "--session-id", "halving", "--worker-id", "w")[0] == 0
    chosen = {row["data_share"]: row["iteration"] for row in rows_of(arbctl, "halving") if row["metrics"]["trades"]}
    assert len(chosen) > 1
    times = read_quotes(market)[0].ts_ns
    for iteration in chosen.values():
        code, out, err = arbctl("replay", "halving", str(iteration), "--trades", tmp_path / "f.csv", "--json")
        assert (code, err) == (0, "")
        done = fills(tmp_path / "f.csv")
        fees = math.fsum(float(row["fee"]) for row in done)
        assert fees == pytest.approx(json.loads(out)["replayed"]["total_fees"], rel=1e-12)
        # Rows are those of the file, whichever part of it was used.
        assert [int(row["ts_ns"]) for row in done] == [int(times[int(row["row"]) - 1]) for row in done]


def test_a_row_that_shares_a_result_is_reproduced_with_the_seed_that_gave_it(
    tmp_path: Path, objectives: Path, arbctl: Arbctl
) -> None:
    (objectives / "shares.py").write_text(SHARES)
    space = {"x": {"type": "int", "bounds": [1, 2]}, "k": {"type": "int", "bounds": [1, 2]}}
    job = write_job(tmp_path / "job.yaml", "shares:objective", 16, method="tpe", space=space)
    assert arbctl("run", job, "--session-id", "small", "--worker-id", "w")[0] == 0
    repeated = [row for row in rows_of(arbctl, "small") if row["same_as"]]
    assert repeated
    for row in repeated:
        code, out, err = arbctl("replay", "small", str(row["iteration"]), "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["replayed"] == row["metrics"]


def test_changed_missing_or_other_data_is_told(session: str, market: Path, arbctl: Arbctl) -> None:
    good = market.read_bytes()
    write_quotes(synth_profile("kimchi", 4, 20_000), market)
    code, _, err = arbctl("replay", session, "1")
    assert code == 2
    assert "is not the file that the job was accepted with" in err
    market.unlink()
    code, _, err = arbctl("replay", session, "1")
    assert code == 2
    assert f"{market}: no such file on this host" in err
    market.write_bytes(good)
    assert arbctl("replay", session, "1")[0] == 0


def test_what_is_not_there_is_told(session: str, arbctl: Arbctl, tmp_path: Path) -> None:
    for arguments, code, reason in (
        ((session, "41"), 3, "has no iteration 41: they are numbered from 1 to 40"),
        ((session, "0"), 3, "has no iteration 0"),
        (("night", "1"), 3, "night"),
        ((session, "1", "--trades", tmp_path / "none" / "f.csv"), 2, "none does not exist"),
        ((session, "1", "--plot", tmp_path / "none" / "p.html"), 2, "none does not exist"),
    ):
        found, _, err = arbctl("replay", *arguments)
        assert found == code
        assert reason in err


NOISY = """
import itertools, os, pathlib
TALLY = pathlib.Path(__file__).with_name("tally")
def objective(params):
    with TALLY.open("ab") as file: file.write(b".")
    return {"value": TALLY.stat().st_size, "steady": params["x"], "nothing": float("nan")}
"""


def test_an_objective_that_gives_something_else_is_told_metric_by_metric(
    tmp_path: Path, objectives: Path, arbctl: Arbctl
) -> None:
    (objectives / "noisy.py").write_text(NOISY)
    job = write_job(tmp_path / "job.yaml", "noisy:objective", 5)
    assert arbctl("run", job, "--session-id", "s", "--worker-id", "w")[0] == 0
    code, out, _ = arbctl("replay", "s", "2", "--json")
    assert code == 1
    document = json.loads(out)
    assert document["equal"] is False
    assert document["differences"] == [{"metric": "value", "recorded": document["recorded"]["value"], "replayed": 6.0}]
    code, out, _ = arbctl("replay", "s", "2")
    assert code == 1
    assert "NOT EQUAL" in out
    assert f"value: recorded {document['recorded']['value']!r}, now 7.0" in out


@pytest.mark.parametrize("objective", ["samples:quick", "batched:objective"])
def test_python_objectives_are_reproduced_alone_and_in_batches(
    tmp_path: Path, objectives: Path, arbctl: Arbctl, objective: str
) -> None:
    job = write_job(tmp_path / "job.yaml", objective, 50)
    assert arbctl("run", job, "--session-id", "s", "--worker-id", "w")[0] == 0
    code, out, err = arbctl("replay", "s", "50")
    assert (code, err) == (0, "")
    assert "equal to the bit" in out
    code, _, err = arbctl("replay", "s", "50", "--trades", tmp_path / "f.csv")
    assert code == 2
    assert "only paper sessions have fills" in err


def test_a_batched_result_that_a_single_call_rounds_otherwise_is_still_reproduced(
    tmp_path: Path, objectives: Path, arbctl: Arbctl
) -> None:
    (objectives / "rounding.py").write_text(
        "def objective(params):\n    return {'value': params['x'] + 1e-12}\n"
        "def evaluate_batch(columns):\n    return {'value': columns['x']}\n"
    )
    job = write_job(tmp_path / "job.yaml", "rounding:objective", 5)
    assert arbctl("run", job, "--session-id", "s", "--worker-id", "w")[0] == 0
    assert arbctl("replay", "s", "3")[0] == 0


def test_a_command_is_reproduced(tmp_path: Path, objectives: Path, arbctl: Arbctl) -> None:
    program = tmp_path / "program"
    program.write_text(
        '#!/bin/sh\nread -r line || true\nprintf \'{"value": %s, "length": %s}\\n\' "$ARBD_ITERATION" "${#line}"\n'
    )
    program.chmod(0o755)
    job = tmp_path / "job.yaml"
    space = {"x": {"type": "int", "bounds": [10, 99]}}
    tuning = {"method": "random", "search_space": space, "max_iterations": 3, "seed": 1}
    job.write_text(yaml.safe_dump({"objective": {"command": [str(program)]}, "metric": "value", "tuning": tuning}))
    assert arbctl("run", job, "--session-id", "s", "--worker-id", "w")[0] == 0
    code, out, err = arbctl("replay", "s", "2", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["replayed"]["value"] == 2


def test_what_the_settings_do_not_allow_runs_only_when_trusted(
    tmp_path: Path, objectives: Path, arbctl: Arbctl
) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:quick", 5)
    assert arbctl("run", job, "--session-id", "s", "--worker-id", "w")[0] == 0
    settings = arbctl.config.read_text()
    arbctl.config.write_text(settings.replace("'python:*'", "'python:other:*'").replace(f"[{objectives}]", "[]"))
    code, _, err = arbctl("replay", "s", "1")
    assert code == 1
    assert "the objective python:samples:quick is not allowed on this host" in err
    assert arbctl("replay", "s", "1", "--trust", "--objective-path", objectives)[0] == 0


def test_an_iteration_without_metrics_has_nothing_to_reproduce(tmp_path: Path, arbctl: Arbctl) -> None:
    job = write_job(
        tmp_path / "job.yaml", "samples:moody", 3, method="grid", space={"n": {"type": "int", "bounds": [2, 4]}},
        execution={"retries": 0},
    )  # fmt: skip
    arbctl("run", job, "--session-id", "s", "--worker-id", "w")
    code, _, err = arbctl("replay", "s", "2")
    assert code == 1
    assert (
        "iteration 2 of session s is failed (ValueError: no luck with 3 (samples.py:16)) and has no metrics to reproduce"
        in err
    )
    spec, row = find_recorded(arbctl.spool, "s", 2)
    assert (spec.n, row.status, row.metrics) == (3, "failed", row.metrics)


@pytest.mark.data
def test_recorded_quotes_are_reproduced(recorded: Path, arbctl: Arbctl, tmp_path: Path) -> None:
    quotes = recorded / "brl_two_venue_book.parquet"
    command = (
        "run",
        REPOSITORY / "etc" / "jobs" / "recorded_brl.yaml",
        "--set",
        f"data=[{quotes}]",
        "--iterations",
        "64",
    )
    assert arbctl(*command, "--session-id", "brl", "--worker-id", "w")[0] == 0
    code, out, err = arbctl("replay", "brl", "26", "--trades", tmp_path / "f.csv", "--json")
    assert (code, err) == (0, "")
    metrics, rows = json.loads(out)["replayed"], fills(tmp_path / "f.csv")
    assert len(rows) == 20
    assert math.fsum(float(r["fee"]) for r in rows) == pytest.approx(metrics["total_fees"], rel=1e-12)


def test_best_is_the_iteration_that_best_takes(session: str, arbctl: Arbctl) -> None:
    code, out, _ = arbctl("replay", session, "best", "--json")
    replayed, best = json.loads(out), json.loads(arbctl("best", session, "--format", "json", "--anyway")[1])
    assert code == 0
    assert replayed["params"].items() <= best.items()
    code, _, err = arbctl("replay", session, "bets")
    assert (code, "neither the number of an iteration nor `best`" in err) == (2, True)


def test_a_summary_shows_trades_sharpe_and_drawdown_beside_the_metric(session: str, arbctl: Arbctl) -> None:
    head = next(line for line in arbctl("summary", session)[1].splitlines() if line.startswith("RANK"))
    assert head.split()[:6] == ["RANK", "ITERATION", "PNL", "TRADES", "SHARPE", "MAX_DRAWDOWN"]
    head = next(
        line for line in arbctl("summary", session, "--metric", "trades")[1].splitlines() if line.startswith("RANK")
    )
    assert head.split()[:5] == ["RANK", "ITERATION", "TRADES", "SHARPE", "MAX_DRAWDOWN"]
