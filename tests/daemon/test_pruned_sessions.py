"""Pruning with real daemons: who is pruned, and when, is the same on one slot and on many, with stragglers and kills.

ARBD_GUIDED_SEEDS is how many searches of each method are so compared, those after the first with sixteen slots too; else
tpe's alone, once. 20 is the full size.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import arbd.tuning
from arbd.analysis.report.content import report_content
from arbd.analysis.table import load_table
from arbd.api.session import Session
from arbd.results.csv_reader import load_results_from_csv
from arbd.search.plan import PRUNED, RUN
from arbd.spool.layout import SpoolLayout
from tests.conftest import REPOSITORY, Arbctl, Daemons, wait_until
from tests.daemon.test_sessions_end_to_end import is_done, state_of

pytestmark = pytest.mark.bed

N = 40
SPACE: dict[str, Any] = {"x": {"type": "float", "bounds": [-1, 2]}, "k": {"type": "int", "bounds": [1, 6]}}
# Each step takes a time of its own, a few a long one: stragglers.
OBJECTIVE = """
import os, time
def series(params, trial):
    goal = -(params["x"] - 0.7) ** 2 - (params["k"] - 3) ** 2
    for step in range(8):
        time.sleep(0.002 * (10 if os.urandom(1)[0] > 250 else 1))
        trial.report(step, goal - 1 / (1 + step))
    return {"value": goal, "steps": step}
"""
PROGRAM = f"""#!{sys.executable} -S
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    p = q["params"]
    goal = -(p["x"] - 0.7) ** 2 - (p["k"] - 3) ** 2
    for step in range(8):
        print(json.dumps({{"id": q["id"], "step": step, "value": goal - 1 / (1 + step)}}), flush=True)
        if json.loads(sys.stdin.readline())["prune"]:
            print(json.dumps({{"id": q["id"], "pruned": ""}}), flush=True)
            break
    else:
        print(json.dumps({{"id": q["id"], "metrics": {{"value": goal, "steps": step}}}}), flush=True)
"""
MEDIAN = {"rule": "median", "startup_trials": 4}
SEEDS = int(os.environ.get("ARBD_GUIDED_SEEDS", "0"))
SEARCHES = [("tpe", 5)] + [
    (m, s) for m in ("random", "sobol", "tpe", "bayesian", "cmaes", "nsga2") for s in range(6, 5 + SEEDS)
]


@pytest.fixture(autouse=True)
def series_objective(objectives: Path) -> None:
    (objectives / "series.py").write_text(OBJECTIVE)


def write_job(path: Path, method: str, prune: dict[str, Any], seed: int = 5, **more: Any) -> Path:
    tuning = {"method": method, "search_space": SPACE, "max_iterations": N, "seed": seed, "prune": prune}
    if method != "random" or prune["rule"] != "patient":
        tuning |= {"generation_size": 8 if method == "cmaes" else 3, "generation_lag": 3}
    job = {"objective": {"python": "series:series"}, "metric": "value", "tuning": tuning, **more}
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def everything(layout: SpoolLayout, name: str) -> dict[str, Any]:
    """All that a session's rows say, but for who made them, when, and how long it took."""
    table = load_table(layout.root, name)
    assert table.state.done
    rows = table.rows
    columns = {"status": rows.status, "origin": rows.origins, **rows.params, **rows.metrics}
    return {name: column.tobytes() for name, column in columns.items()} | {
        "errors": dict(rows.errors),
        "reports": {iteration: list(steps) for iteration, steps in rows.reports.items()},
    }


@pytest.mark.parametrize(("method", "seed"), SEARCHES)
def test_it_is_the_same_with_1_slot_4_slots_two_daemons_that_are_killed_and_extended(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path, method: str, seed: int
) -> None:
    prune = {"rule": "percentile", "percentile": 20, "startup_trials": 4}
    job = write_job(tmp_path / "job.yaml", method, prune, seed)
    arbctl("submit", job, "--session-id", "killed")
    rng, running = random.Random(seed), [daemons.start("a"), daemons.start("b")]
    for done in (8, 20):
        wait_until(lambda: layout.session("killed").ledger.exists(), 120)
        wait_until(lambda done=done: state_of(layout, "killed").counted >= done, 120)  # type: ignore[misc]
        victim = rng.randrange(2)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = daemons.start("ab"[victim])
    wait_until(is_done(layout, "killed"), 120)
    for daemon in running:
        daemon.kill()
        daemon.wait()
    expected = everything(layout, "killed")
    origin = np.frombuffer(expected["origin"], "<i8")
    assert (origin == PRUNED).sum() >= 4
    assert (origin == RUN).sum() >= 8
    alike = [("one", 1, N), ("four", 4, N // 2 + 1)] + ([("sixteen", 16, N)] if seed != SEARCHES[0][1] else [])
    for name, slots, n in alike:
        code, _, err = arbctl(
            "run", job, "--session-id", name, "--workers", slots, "--worker-id", f"w{slots}", "--iterations", n
        )
        assert code == 0, err
        if n < N:
            assert arbctl("extend", name, "--iterations", N - n)[0] == 0
            assert arbctl("run", job, "--session-id", name, "--workers", slots, "--worker-id", "more")[0] == 0
        assert everything(layout, name) == expected


def test_a_function_a_program_and_an_interpreter_are_pruned_alike_and_so_is_the_harness(
    arbctl: Arbctl, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    program = tmp_path / "series"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    ways: dict[str, dict[str, Any]] = {
        "function": {},
        "program": {"objective": {"command": [str(program)], "protocol": "lines"}},
        "interpreter": {"objective": {"python": "series:series", "interpreter": sys.executable}},
    }
    found = {}
    for name, more in ways.items():
        job = write_job(tmp_path / f"{name}.yaml", "random", MEDIAN, **more)
        code, _, err = arbctl("run", job, "--session-id", name, "--workers", 2)
        assert code == 0, err
        found[name] = everything(layout, name)
    assert found["program"] == found["function"]
    assert found["interpreter"] == found["function"]

    config = arbd.tuning.load_tuning_config(tmp_path / "function.yaml")
    harness, own = arbd.tuning.TuningHarness(config), {}
    exec(OBJECTIVE, own)
    results = [harness.run_iteration(number, own["series"]) for number in range(1, N + 1)]
    table = load_table(layout.root, "function")
    for ours, theirs in zip(results, table.results(range(N)), strict=True):
        assert (ours.status, ours.params, ours.metrics, list(ours.reports)) == (
            theirs.status,
            theirs.params,
            theirs.metrics,
            list(theirs.reports),
        )


def test_every_output_says_who_was_pruned_and_none_ranks_him(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "random", MEDIAN, results={"csv": True})
    assert arbctl("run", job, "--session-id", "s", "--workers", 2)[0] == 0
    table = load_table(layout.root, "s")
    pruned = [r.iteration for r in table.results(range(N)) if r.status == "pruned"]
    assert len(pruned) >= 8
    assert table.counts() == {
        "completed": N - len(pruned),
        "failed": 0,
        "timeout": 0,
        "crashed": 0,
        "pruned": len(pruned),
    }
    assert not set(pruned) & {table.rows.iteration[at] for at in table.rank("value")}
    for result in table.results(range(N)):
        if result.status == "pruned":
            assert (result.metrics, result.feasible, len(result.reports) > 0) == ({}, False, True)
            assert result.error.startswith(f"pruned at step {result.reports[-1][0]}: ")
        else:
            assert (result.error, [step for step, _ in result.reports]) == ("", list(range(8)))

    code, out, _ = arbctl("summary", "s")
    assert code == 0
    assert f"{len(pruned)} pruned" in out
    document = json.loads(arbctl("--json", "summary", "s")[1])
    assert (document["statuses"]["pruned"], document["failures"]) == (len(pruned), [])
    assert f"{len(pruned)} pruned" in arbctl("summary", "--csv", layout.session("s").results_csv)[1]
    live = load_results_from_csv(layout.session("s").results_csv)
    assert [r.iteration for r in live if r.status == "pruned"] == pruned
    assert all(not r.metrics and r.error.startswith("pruned at step") for r in live if r.status == "pruned")
    for form in ("csv", "jsonl", "msgpack", "parquet", "optuna"):
        assert arbctl("export", "s", "--format", form, "--output", tmp_path / f"s.{form}")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if line["status"] == "pruned"] == pruned
    assert all(len(line["reports"]) for line in lines)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s.optuna")))
    for trial, result in zip(
        optuna.load_study(study_name="s", storage=storage).trials, table.results(range(N)), strict=True
    ):
        assert (trial.state.name == "PRUNED") == (result.status == "pruned")
        assert list(trial.intermediate_values.items()) == list(result.reports)
    code, _, err = arbctl("replay", "s", pruned[0])
    assert (code, f"iteration {pruned[0]} of session s is pruned (pruned at step" in err) == (1, True)
    results = Session(layout.root, "s").results
    assert [row["iteration"] for row in results if row["status"] == "pruned"] == pruned
    assert report_content(table, "value", False, "")["statuses"]["pruned"] == len(pruned)
    assert arbctl("report", "s", "--output", tmp_path / "s.html")[0] == 0


def test_patience_alone_prunes_what_falls_and_needs_nobody_to_compare_with(
    arbctl: Arbctl, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "series.py").write_text(
        OBJECTIVE.replace("goal - 1 / (1 + step)", "goal + (step if params['k'] > 3 else -step)")
    )
    job = write_job(tmp_path / "job.yaml", "random", {"rule": "patient", "patience": 2})
    assert arbctl("run", job, "--session-id", "s", "--workers", 2)[0] == 0
    assert not layout.session("s").generations.exists() or not list(layout.session("s").generations.iterdir())
    for result in load_table(layout.root, "s").results(range(N)):
        assert result.status == ("completed" if result.params["k"] > 3 else "pruned")
        if result.status == "pruned":
            assert result.error == "pruned at step 3: no improvement in 2 steps"


def test_what_repeats_a_pruned_set_is_pruned_too(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "random", MEDIAN | {"startup_trials": 1})
    space = {"x": {"type": "choice", "values": [0.7, 1.5, 1.7, 2.0]}, "k": {"type": "int", "bounds": [1, 6]}}
    document = yaml.safe_load(job.read_text())
    document["tuning"] |= {"search_space": space, "max_iterations": 90}
    job.write_text(yaml.safe_dump(document))
    assert arbctl("run", job, "--session-id", "s", "--workers", 2)[0] == 0
    by_set: dict[tuple[Any, ...], set[str]] = {}
    results = load_table(layout.root, "s").results(range(90))
    for result in results:
        by_set.setdefault(tuple(result.params.values()), set()).add(result.status)
    assert {len(statuses) for statuses in by_set.values()} == {1}
    assert sum(r.status == "pruned" for r in results) > len([s for s in by_set.values() if "pruned" in s]) > 0


def test_the_example_runs_and_the_best_that_it_finds_was_not_pruned(
    arbctl: Arbctl, layout: SpoolLayout, objectives: Path
) -> None:
    shutil.copy(REPOSITORY / "etc" / "objectives" / "day_by_day.py", objectives)
    job = REPOSITORY / "etc" / "jobs" / "pruned_objective.yaml"
    assert arbctl("run", job, "--session-id", "s", "--workers", 2, "--iterations", 80)[0] == 0
    table = load_table(layout.root, "s")
    assert table.counts()["pruned"] >= 8
    (best,) = table.results(table.rank("pnl_bps", 1))
    assert (best.status, len(best.reports), best.metrics["pnl_bps"]) == ("completed", 30, best.reports[-1][1])
    assert "those that were pruned are among the completed here" in arbctl("status", "s")[1]
