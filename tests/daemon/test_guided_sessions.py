"""Sessions that learn, with real daemons: the same results with one slot, with four, and with two daemons that die.

ARBD_GUIDED_SEEDS is how many searches of each method are so compared, those after the first with sixteen slots too; 20 is
the full size.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from arbd.analysis.table import load_table
from arbd.job.stored import read_spec
from arbd.search.generations import default_schedule
from arbd.search.in_process import Search
from arbd.search.samplers import built_in
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until
from tests.daemon.test_sessions_end_to_end import is_done, state_of

ADAPTIVE = built_in(learns=True)
SEEDS = range(5, 5 + int(os.environ.get("ARBD_GUIDED_SEEDS", "1")))
pytestmark = pytest.mark.bed

SPACE: dict[str, Any] = {
    "x": {"type": "float", "bounds": [-1, 2]},
    "k": {"type": "int", "bounds": [1, 60], "log": True},
    "kind": {"type": "choice", "values": ["a", "b", "c"]},
    "near": {"type": "float", "bounds": [0, 1], "when": {"kind": ["b", "c"]}},
}
OBJECTIVE = """
import math, os, time
def value_of(params, budget=1.0):
    depth = {"a": 1.0, "b": 0.0, "c": 2.0}[params["kind"]]
    return -depth - (params["x"] - 0.7) ** 2 - (math.log(params["k"]) - 2.5) ** 2 - 0.1 * (1 - budget) - params.get("near", 0.0)
def bowl(params, trial):
    time.sleep(0.1 if os.urandom(1)[0] > 250 else 0.004)  # a few stragglers, others each time
    if params["k"] == 13: raise ValueError("unlucky")
    return {"value": value_of(params, trial.budget), "size": float(params["k"])}
def tiny(params):
    return {"value": float(params["k"])}
"""


@pytest.fixture(autouse=True)
def bowl_objective(objectives: Path) -> None:
    (objectives / "bowls.py").write_text(OBJECTIVE)


def write_job(path: Path, method: str, n: int, objective: str = "bowls:bowl", **more: Any) -> Path:
    tuning = {"method": method, "search_space": SPACE, "max_iterations": n, "seed": 5} | more.pop("tuning", {})
    job = {"objective": {"python": objective}, "metric": "value", "tuning": tuning, "execution": {"retries": 0}, **more}
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def value_of(params: Mapping[str, Any], budget: float) -> dict[str, float] | None:
    found: dict[str, Any] = {}
    exec(OBJECTIVE, found)
    if params["k"] == 13:
        return None
    return {"value": found["value_of"](params, budget), "size": float(params["k"])}


def alone(layout: SpoolLayout, name: str) -> dict[str, bytes]:
    """What the session comes to when this process does it alone, in order."""
    spec = read_spec(Files(), layout.session(name))
    search = Search(spec)
    columns: dict[str, list[Any]] = {n: [] for n in (*spec.space.names, "value")}
    for iteration in range(1, spec.n + 1):
        row = search.row(iteration)
        if row is None:
            break
        params = spec.space.rows(row.columns)[0]
        budget = 1.0 if row.budget is None else float(row.budget[0])
        found = value_of(params, budget)
        search.tell(iteration, found)
        for n in spec.space.names:
            columns[n].append(row.columns[n][0])
        columns["value"].append(math.nan if found is None else found["value"])
    return {n: np.array(column).tobytes() for n, column in columns.items()}


def in_the_spool(layout: SpoolLayout, name: str) -> dict[str, bytes]:
    table = load_table(layout.root, name)
    assert table.state.done
    assert table.rows.iteration.tolist() == list(range(1, table.state.n + 1))
    value = np.where(table.rows.status == 0, table.rows.metrics["value"], np.nan)
    return {n: c.tobytes() for n, c in table.rows.params.items()} | {"value": value.tobytes()}


# Small and large generations, from one at a time to many.
SCHEDULES: Mapping[str, tuple[int, int]] = {
    "tpe": (3, 5), "bayesian": (2, 6), "cmaes": (8, 2), "nsga2": (12, 1), "successive_halving": (8, 2)
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ADAPTIVE)
def test_every_method_gives_the_same_with_1_slot_4_slots_and_two_daemons_that_are_killed(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path, method: str, seed: int
) -> None:
    size, lag = SCHEDULES.get(method, (8, 2))
    tuning = {"generation_size": size, "generation_lag": lag, "seed": seed}
    job = write_job(tmp_path / "job.yaml", method, 72, tuning=tuning)
    alike = {"one": 1, "four": 4} | ({"sixteen": 16} if seed != SEEDS[0] else {})
    for name, slots in alike.items():
        code, _, err = arbctl("run", job, "--session-id", name, "--workers", slots, "--worker-id", f"w{slots}")
        assert code == 0, err
    assert arbctl("submit", job, "--session-id", "killed")[0] == 0
    # Whoever is killed, the work of both goes on from what is recorded.
    rng, running = random.Random(f"{method} {seed}"), [daemons.start("a"), daemons.start("b")]
    wait_until(lambda: layout.session("killed").ledger.exists(), 120)
    for done in (12, 30, 50):
        wait_until(lambda done=done: state_of(layout, "killed").counted >= done, 120)  # type: ignore[misc]
        victim = rng.randrange(2)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = daemons.start("ab"[victim])
    wait_until(is_done(layout, "killed"), 120)
    expected = alone(layout, "one")
    for name in (*alike, "killed"):
        assert in_the_spool(layout, name) == expected, name


def test_generations_follow_the_slots_and_whoever_joins_follows_the_session(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "bayesian", 16)
    for name, workers in (("one", 1), ("eight", 8), ("one", 3)):
        assert arbctl("run", job, "--session-id", name, "--workers", workers, "--worker-id", f"w{workers}")[0] == 0
    daemons.start("a", "--slots", "3")
    assert arbctl("submit", job, "--session-id", "farm", "--wait")[0] in (0, 1)
    for name, slots in (("one", 1), ("eight", 8), ("farm", 3)):
        spec, found = read_spec(Files(), layout.session(name)), default_schedule("bayesian", 16, slots)
        assert (spec.generation_size, spec.generation_lag) == (found.size, found.lag)
        assert in_the_spool(layout, name) == alone(layout, name)


def test_a_search_whose_job_is_lost_goes_on_by_the_schedule_of_its_generations(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "tpe", 24)
    assert arbctl("run", job, "--session-id", "s", "--workers", 7)[0] == 0
    paths = layout.session("s")
    spec = read_spec(Files(), paths)
    data = bytearray(paths.spec.read_bytes())
    data[40] ^= 0xFF
    paths.spec.write_bytes(bytes(data))
    code, out, err = arbctl("repair", "s")
    assert code == 0, out + err
    again = read_spec(Files(), paths)
    assert (again.generation_size, again.generation_lag) == (spec.generation_size, spec.generation_lag)
    assert (spec.generation_size, spec.generation_lag) != (default_schedule("tpe", 24, 4).size, 2)


def test_slots_that_wait_for_suggestions_are_told_before_and_after(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "tpe", 40, tuning={"generation_size": 1, "generation_lag": 1})
    code, _, err = arbctl("run", job, "--session-id", "s", "--workers", 4)
    assert code == 0, err
    _, out, _ = arbctl("summary", "s")
    assert "of 4 slots will wait for suggestions: 1 iterations a generation, 1 generations at a time" in out
    assert "slots were busy" in out
    _, out, _ = arbctl("validate", job)
    assert "1 a generation, 1 at a time" in out


def test_a_session_ends_where_its_rule_says_and_tells_why(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "tpe", 4_000, tuning={"generation_size": 4, "stop": {"target": -0.3}})
    assert arbctl("run", job, "--session-id", "target", "--workers", 2)[0] == 0
    table = load_table(layout.root, "target")
    assert len(table.rows) == table.state.n < 4_000
    assert in_the_spool(layout, "target") == alone(layout, "target")
    _, out, _ = arbctl("summary", "target")
    assert "stopped early: target value -0.3 reached by iteration" in out
    job = write_job(tmp_path / "time.yaml", "random", 10**6, tuning={"stop": {"max_time_s": 1}})
    assert arbctl("run", job, "--session-id", "time", "--workers", 2)[0] == 0
    _, out, _ = arbctl("summary", "time", "--json")
    found = json.loads(out)
    assert found["stopped"] == "max_time_s 1 was over"
    assert 50 < found["total_iterations"] < 10**5


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_repeats_are_copied_infeasible_points_are_not_run_and_both_are_said(
    arbctl: Arbctl, objectives: Path, layout: SpoolLayout, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = tmp_path / "tally"
    monkeypatch.setenv("ARBD_TEST_TALLY", str(tally))
    (objectives / "tallied.py").write_text(
        "import os\n"
        "def tiny(params):\n"
        "    with open(os.environ['ARBD_TEST_TALLY'], 'ab', buffering=0) as tally: tally.write(b'.')\n"
        "    return {'value': float(params['k'])}\n"
    )
    space = {"k": {"type": "int", "bounds": [1, 8]}, "flag": {"type": "bool"}}
    tuning = {"search_space": space, "constraints": ["k != 3 or flag == True", "value <= 6"]}
    job = write_job(tmp_path / "job.yaml", method, 60, "tallied:tiny", tuning=tuning, results={"csv": True})
    assert arbctl("run", job, "--session-id", "s", "--workers", 2)[0] == 0
    _, out, _ = arbctl("summary", "s", "--json")
    found = json.loads(out)
    # 16 points less the one that may not be run.
    assert len(tally.read_bytes()) == len({(r["k"], r["flag"]) for r in _rows(layout) if r["origin"] == 0}) <= 15
    assert found["repeated"] == sum(r["origin"] > 0 for r in _rows(layout)) > 30
    assert found["breaking_constraints"] == sum(r["k"] > 6 for r in _rows(layout))
    assert found["ranking"][0]["metrics"]["value"] == 6.0
    assert found["statuses"].get("infeasible", 0) == sum(r["origin"] < 0 for r in _rows(layout))
    assert all(r["value"] == r["k"] for r in _rows(layout) if r["origin"] >= 0)
    _, out, _ = arbctl("summary", "s")
    assert "are duplicates: their parameters stood before, they have those results and were not run" in out
    assert "break a constraint and rank last" in out
    _, out, _ = arbctl("export", "s", "--format", "jsonl", "--output", "-")
    assert {line["status"] for line in map(json.loads, out.splitlines())} <= {"completed", "infeasible"}


def _rows(layout: SpoolLayout) -> list[dict[str, Any]]:
    table = load_table(layout.root, "s")
    rows = table.spec.space.rows(dict(table.rows.params))
    value = table.rows.metrics["value"].tolist()
    return [
        {**row, "origin": origin, "value": v}
        for row, origin, v in zip(rows, table.rows.origins.tolist(), value, strict=True)
    ]


def test_a_search_starts_from_another_session_and_from_its_table(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    first = write_job(tmp_path / "first.yaml", "sobol", 64)
    assert arbctl("run", first, "--session-id", "first", "--workers", 2)[0] == 0
    assert arbctl("export", "first", "--format", "csv", "--output", tmp_path / "first.csv")[0] == 0
    means = {}
    for name, more in (("fresh", {}), ("session", {"start_from": "first"}), ("table", {"start_from": "first.csv"})):
        job = write_job(tmp_path / f"{name}.yaml", "tpe", 8, tuning={"generation_size": 4, **more})
        assert arbctl("run", job, "--session-id", name, "--workers", 2)[0] == 0
        means[name] = float(np.nanmean(load_table(layout.root, name).rows.metrics["value"]))
    assert in_the_spool(layout, "session") == in_the_spool(layout, "table")
    assert means["session"] > means["fresh"]
    _, out, _ = arbctl("summary", "session")
    assert "note: starts from 64 results of first" in out
    job = write_job(tmp_path / "none.yaml", "tpe", 8, tuning={"start_from": "nothing"})
    code, _, err = arbctl("validate", job)
    assert (code, "no session nothing" in err) == (2, True)


def test_a_front_is_shown_chosen_from_and_exported(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "nsga2", 60, metric=["value", "size"], direction=["maximize", "minimize"])
    assert arbctl("run", job, "--session-id", "front", "--workers", 2)[0] == 0
    _, out, _ = arbctl("summary", "front", "--json")
    front = json.loads(out)["pareto_front"]
    points = [(r["metrics"]["value"], r["metrics"]["size"]) for r in front["results"]]
    assert points == sorted(points, reverse=True)
    assert len(points) == front["size"] > 1
    assert front["hypervolume"] > 0
    _, out, _ = arbctl("summary", "front")
    assert "Pareto front of value (maximize), size (minimize)" in out
    _, out, _ = arbctl("best", "front")
    assert [p["metrics"]["size"] for p in yaml.safe_load(out)["pareto_front"]] == [size for _, size in points]
    code, _, err = arbctl("best", "front", "--format", "env")
    assert (code, "--metric" in err) == (2, True)
    _, out, _ = arbctl("best", "front", "--metric", "size")
    assert yaml.safe_load(out)["k"] == min(size for _, size in points)
    assert arbctl("export", "front", "--format", "csv", "--output", tmp_path / "f.csv")[0] == 0
    lines = [line.split(",") for line in (tmp_path / "f.csv").read_text().splitlines()]
    assert lines[0][-1] == "pareto_front"
    assert sum(line[-1] == "True" for line in lines[1:]) == len(points)
