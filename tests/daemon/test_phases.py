"""Sessions that judge their winner: the same to the bit with one slot, with four, and with two daemons that are killed."""

from __future__ import annotations

import csv
import io
import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from arbd.analysis.table import load_table
from arbd.results.column_bytes import block_numbers
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.daemon.test_sessions_end_to_end import is_done, state_of
from tests.objective.test_windows import quotes, written

pytestmark = pytest.mark.bed

OBJECTIVE = """
import time
import numpy as np
from arbd.tuning import Outcome
def hill(params, trial):
    time.sleep(0.004)
    # Tests are on the later of two windows, where the hill has moved.
    at = 0.3 if trial.window is None or trial.window[0] < 0 else 0.5
    if 0.6 < params["x"] < 0.62: raise ValueError("unlucky")
    # As many blocks as there are days, of which the test has fewer, and some sets count otherwise.
    returns = np.sin(np.arange(40 + params["k"] % 2 - 100 * (at - 0.3)) * (1 + params["x"])) + params["x"]
    metrics = {"value": 1.0 - (params["x"] - at) ** 2 - 0.01 * params["k"], "late": float(at > 0.4)}
    return Outcome(metrics, np.stack([returns, returns**2], axis=1))
"""


@pytest.fixture(autouse=True)
def hill_objective(objectives: Path) -> None:
    (objectives / "hills.py").write_text(OBJECTIVE)


def write_job(path: Path, method: str, **more: Any) -> Path:
    job = {
        "objective": {"python": "hills:hill"}, "metric": "value", "execution": {"retries": 0},
        "tuning": {
            "method": method, "max_iterations": 40, "seed": 5, "generation_size": 8,
            "search_space": {"x": {"type": "float", "bounds": [0, 1]}, "k": {"type": "int", "bounds": [1, 9]}},
        },
        "validation": {
            "holdout": {"from": "2024-01-01T00:00Z"}, "finalists": 6, "neighbours": 10,
            "stress": [{"name": "far", "x": "x1.5"}, {"name": "dear", "k": "+2"}],
        },
        **more,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def in_the_spool(layout: SpoolLayout, name: str) -> dict[str, bytes]:
    table = load_table(layout.root, name, blocks=True)
    assert table.state.done
    assert table.rows.iteration.tolist() == list(range(1, table.spec.n + 1))
    rows = table.rows
    found = {**rows.params, **rows.metrics, "status": rows.status, "origin": rows.origins}
    assert rows.blocks is not None
    own = {f"blocks of {at}": rows.blocks[at, :n] for at, n in enumerate(block_numbers(rows.blocks).tolist())}
    return {key: np.asarray(column).tobytes() for key, column in (found | own).items()}


def verdict_of(arbctl: Arbctl, name: str) -> dict[str, Any]:
    found = json.loads(arbctl("verdict", name, "--json")[1])
    assert found.pop("session_id") == name
    return dict(found)


def test_the_same_with_1_slot_4_slots_and_two_daemons_that_are_killed(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "cmaes")
    for name, slots in (("one", 1), ("four", 4)):
        code, _, err = arbctl("run", job, "--session-id", name, "--workers", slots, "--worker-id", f"w{slots}")
        assert code in (0, 1), err
    assert arbctl("submit", job, "--session-id", "killed")[0] == 0
    rng, running = random.Random(1), [daemons.start("a"), daemons.start("b")]
    wait_until(lambda: layout.session("killed").ledger.exists(), 120)
    # In the search, and among what judges its winner.
    for done in (20, 50):
        wait_until(lambda done=done: state_of(layout, "killed").counted >= done, 120)  # type: ignore[misc]
        victim = rng.randrange(2)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = daemons.start("ab"[victim])
    wait_until(is_done(layout, "killed"), 120)
    expected = in_the_spool(layout, "one")
    assert in_the_spool(layout, "four") == expected
    assert in_the_spool(layout, "killed") == expected
    blocks = load_table(layout.root, "one", blocks=True).rows.blocks
    assert blocks is not None
    assert set(block_numbers(blocks).tolist()) == {0, 20, 21, 40, 41}
    verdict = verdict_of(arbctl, "one")
    assert verdict["out_of_sample"]["blocks"] in (20, 21)
    assert verdict["spa"]["p_winner"] is not None
    assert verdict_of(arbctl, "four") == verdict
    assert verdict_of(arbctl, "killed") == verdict


def test_only_the_search_is_ranked_and_every_row_says_what_it_is_for(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "random", results={"csv": True})
    assert arbctl("validate", job)[1].count("28 of the iterations beside the 40 of the search") == 1
    code, _, err = arbctl("run", job, "--session-id", "s", "--workers", 2)
    assert code in (0, 1), err
    table = load_table(layout.root, "s")
    results = table.results(range(len(table)))
    counts = {phase: sum(r.phase == phase for r in results) for phase in ("search", "test", "neighbour", "stress")}
    assert counts == {"search": 40, "test": 6, "neighbour": 10, "stress": 12}
    best = json.loads(arbctl("best", "s", "--format", "json")[1])
    ranked = [r for r in results if r.is_ranked and r.status == "completed"]
    assert max(r.metrics["value"] for r in ranked) == max(
        r.metrics["value"] for r in ranked if dict(r.params) == dict(best.get("params", best))
    )
    # What was tested saw the later window, and what was searched did not.
    assert {r.metrics["late"] for r in results if r.phase == "test" and r.metrics} == {1.0}
    assert {r.metrics["late"] for r in results if r.phase != "test" and r.metrics} == {0.0}
    lines = list(csv.DictReader(io.StringIO((layout.session("s").folder / "results.csv").read_text())))
    assert [(line["phase"], line["fold"]) for line in lines] == [(r.phase, str(r.fold)) for r in results]
    summary = json.loads(arbctl("summary", "s", "--json", "--top-n", "100")[1])
    assert len(summary["ranking"]) == len(ranked)
    verdict = json.loads(arbctl("verdict", "s", "--json")[1])
    assert (verdict["out_of_sample"]["folds"], verdict["trials"]) == (1, 40)
    assert "phases: search 40 of 40, test 6 of 6, neighbour 10 of 10, stress 12 of 12" in arbctl("status", "s")[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "folds"),
    [({"walk_forward": {"train": "8h", "test": "3h"}}, 3), ({"cpcv": {"groups": 4, "test_groups": 2}}, 6)],
    ids=["walk forward", "cpcv"],
)
def test_folds_have_searches_of_their_own_and_their_winners_are_judged_out_of_sample(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, scheme: dict[str, Any], folds: int
) -> None:
    job = {
        "objective": "paper", "data": [str(written(tmp_path, quotes()))],
        "fixed": {"fee_a_bps": 0, "fee_b_bps": 0, "grid_s": 300, "slippage_bps": 0},
        "tuning": {
            "method": "tpe", "max_iterations": 12, "generation_size": 4,
            "search_space": {
                "min_spread_pct": {"type": "float", "bounds": [0.005, 0.1]},
                "max_hold_s": {"type": "int", "bounds": [60, 900]},
            },
        },
        "validation": {**scheme, "finalists": 2},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    code, _, err = arbctl("run", tmp_path / "job.yaml", "--session-id", "s", "--workers", 2)
    assert code == 0, err
    results = load_table(layout.root, "s").results(range(12 * (folds + 1) + 2 * folds))
    assert [r.fold for r in results if r.phase == "search"] == [f for f in range(folds + 1) for _ in range(12)]
    assert [r.fold for r in results if r.phase == "test"] == [f for f in range(1, folds + 1) for _ in range(2)]
    for fold in range(1, folds + 1):
        searched = [r for r in results if (r.phase, r.fold) == ("search", fold)]
        best = max(searched, key=lambda r: r.metrics["pnl"])
        assert next(r for r in results if (r.phase, r.fold) == ("test", fold)).params == best.params
    found = json.loads(arbctl("verdict", "s", "--json")[1])
    test = found["out_of_sample"]
    assert (test["folds"], set(test["drift"])) == (folds, {"min_spread_pct", "max_hold_s"})
    assert found["trials"] == sum(r.phase == "search" and not r.duplicate_of for r in results)


def paper_job(path: Path, method: str) -> Path:
    job = {
        "objective": "paper", "data": [str(written(path.parent, quotes()))],
        "fixed": {"fee_a_bps": 0.01, "fee_b_bps": 0, "grid_s": 300, "slippage_bps": 0},
        "tuning": {
            "method": method, "max_iterations": 64, "generation_size": 16 if method != "sobol" else None,
            "search_space": {
                "min_spread_pct": {"type": "float", "bounds": [0.005, 0.1]},
                "exit_spread_pct": {"type": "float", "bounds": [-0.1, 0.1]},
                "max_hold_s": {"type": "int", "bounds": [60, 900]},
            },
        },
        "validation": {"holdout": "30%", "finalists": 5, "neighbours": 8, "stress": "default", "null_searches": 3},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(job))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sobol", "tpe"])
def test_the_verdict_of_the_engine_is_the_same_for_1_slot_4_slots_and_two_daemons_that_are_killed(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path, method: str
) -> None:
    job = paper_job(tmp_path / "job.yaml", method)
    for name, slots in (("one", 1), ("four", 4)):
        code, _, err = arbctl("run", job, "--session-id", name, "--workers", slots)
        assert code == 0, err
    assert arbctl("submit", job, "--session-id", "killed")[0] == 0
    running, rng = [daemons.start("a", slots=1), daemons.start("b", slots=1)], random.Random(method)
    wait_until(lambda: layout.session("killed").ledger.exists(), 120)
    # As soon as something is recorded, and again among what judges the winner.
    for done in (1, 70):
        wait_until(lambda done=done: state_of(layout, "killed").counted >= done, 120)  # type: ignore[misc]
        victim = rng.randrange(2)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = daemons.start("ab"[victim], slots=1)
    wait_until(is_done(layout, "killed"), 120)
    found = []
    for name in ("one", "four", "killed"):
        verdict = json.loads(arbctl("verdict", name, "--json")[1])
        found.append({key: value for key, value in verdict.items() if key != "session_id"})
    # The same search once more is no new trial.
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert in_the_spool(layout, "killed") == in_the_spool(layout, "one")
    assert found[0]["trials_on_data"] == found[0]["trials"]
    out_of_sample = found[0]["out_of_sample"]
    assert (out_of_sample["scheme"], out_of_sample["folds"], len(out_of_sample["degradation"]["finalists"])) == (
        "holdout",
        1,
        5,
    )
    assert [line["name"] for line in found[0]["stress"]] == ["fees x1.25", "fees x1.5", "fees x2", "slippage +1 bps"]
    assert (found[0]["null_searches"]["k"], found[0]["plateau"]["neighbours"]) == (3, 8)
    assert found[0]["null_searches"]["p"] in (0.25, 0.5, 0.75, 1.0)
    assert found[0]["missing"].keys() <= {"out_of_sample.p"}
