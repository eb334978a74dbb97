"""The whole way of a job, with real daemons: shared, killed, restarted, paused, cancelled, retried."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis import load_results_from_csv
from arbd.analysis.table import ResultTable, load_table
from arbd.objective.processes import descendants
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from tests.conftest import Arbctl, Daemons, wait_until
from tests.jobs import write_job
from tests.spool.sessions import make_session

pytestmark = pytest.mark.bed


def state_of(layout: SpoolLayout, name: str) -> LedgerState:
    return SessionQueue(Files(), layout.session(name)).refresh()


def is_done(layout: SpoolLayout, name: str) -> Callable[[], bool]:
    return lambda: layout.session(name).ledger.exists() and state_of(layout, name).done


def content(table: ResultTable) -> dict[str, list[Any]]:
    """Parameters and metrics of all rows, for comparison to the bit."""
    rows = table.rows
    columns = {f"p {n}": c for n, c in rows.params.items()} | {f"m {n}": c for n, c in rows.metrics.items()}
    return {"iteration": rows.iteration.tolist()} | {
        n: [np.float64(v).tobytes() for v in c] for n, c in columns.items()
    }


def assert_complete(table: ResultTable, n: int) -> None:
    assert table.rows.iteration.tolist() == list(range(1, n + 1))


@pytest.mark.parametrize("objective", ["samples:quick", "batched:objective"])
def test_the_same_job_gives_the_same_results_with_1_slot_2_slots_and_two_daemons(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path, objective: str
) -> None:
    job = write_job(tmp_path / "job.yaml", objective, 3_000)
    found = []
    for name, workers in (("one", [("a", 1)]), ("two", [("b", 2)]), ("both", [("c", 1), ("d", 2)])):
        assert arbctl("submit", job, "--session-id", name)[0] == 0
        running = [daemons.start(worker, "--burst", slots=slots) for worker, slots in workers]
        assert [process.wait(60) for process in running] == [0] * len(running)
        found.append(content(load_table(layout.root, name)))
    assert found[0] == found[1] == found[2]
    assert found[0]["iteration"] == list(range(1, 3_001))


def test_two_daemons_share_a_session_and_do_every_iteration_once(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 300), "--session-id", "shared")
    running = [daemons.start("a", "--burst"), daemons.start("b", "--burst")]
    assert [process.wait(60) for process in running] == [0, 0]
    table = load_table(layout.root, "shared")
    assert_complete(table, 300)
    counts = table.worker_counts()
    assert set(counts) == {"a", "b"}
    assert min(counts.values()) > 30
    assert table.state.duplicates == 0
    code, out, _ = arbctl("summary", "shared", "--json")
    assert code == 0
    assert json.loads(out)["worker_iterations"] == counts


def test_a_daemon_that_is_killed_carries_on_where_it_stopped(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 400), "--session-id", "killed")
    for done in (40, 150, 260):
        process = daemons.start("a")
        wait_until(
            lambda done=done: layout.session("killed").ledger.exists() and state_of(layout, "killed").counted > done
        )  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert daemons.start("a", "--burst").wait(60) == 0
    assert_complete(load_table(layout.root, "killed"), 400)
    assert "took back the work of a dead worker" in daemons.log()


def test_slots_die_with_a_killed_daemon(arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:very_slow", 50), "--session-id", "orphans")
    process = daemons.start("a")
    wait_until(lambda: layout.session("orphans").ledger.exists() and state_of(layout, "orphans").counted > 0)
    below = descendants(process.pid)
    assert {Path(f"/proc/{pid}/comm").read_text() for pid in below} > {"arbd-slot\n"}
    process.kill()
    process.wait()

    def gone(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(lambda: all(gone(pid) for pid in below), 10, "the end of the slots")


def test_work_of_a_daemon_that_died_is_taken_over_by_another(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    first, _ = daemons.start("a"), daemons.start("b")
    # Both live before there is work: neither can be late for it.
    wait_until(lambda: all((layout.workers / f"{name}.beat").exists() for name in "ab"), what="two daemons")
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:very_slow", 40), "--session-id", "takeover")
    wait_until(lambda: layout.session("takeover").ledger.exists() and state_of(layout, "takeover").counted > 0)
    wait_until(lambda: {"a", "b"} <= state_of(layout, "takeover").worker_counts.keys())
    first.kill()
    first.wait()
    wait_until(lambda: state_of(layout, "takeover").done, what="the end of the session")
    assert_complete(load_table(layout.root, "takeover"), 40)


def test_sigterm_drains_returns_the_rest_at_once_and_exits_0(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 5_000), "--session-id", "drained")
    process = daemons.start("a")
    wait_until(lambda: layout.session("drained").ledger.exists() and state_of(layout, "drained").counted > 20)
    process.terminate()
    assert process.wait(15) == 0
    state = state_of(layout, "drained")
    assert (state.claimed, state.counted + state.unclaimed) == (0, 5_000)
    assert "event=draining" in daemons.log()


def test_a_drain_ends_a_compaction_that_takes_too_long_and_the_next_daemon_does_it(
    daemons: Daemons, layout: SpoolLayout
) -> None:
    settings = daemons.config.read_text()
    daemons.config.write_text(settings.replace("drain_timeout_s: 5", "drain_timeout_s: 0.5"))
    session = make_session(layout, 50)
    with Files().lock(session.csv_lock, 5.0):
        # Waits for the table, which somebody else has, until long after the end of the drain.
        process = daemons.start("a")
        wait_until(session.results.exists)
        process.terminate()
        assert process.wait(30) == 0
        assert not state_of(layout, "s").done
    assert daemons.start("b", "--burst").wait(60) == 0
    assert state_of(layout, "s").done
    assert len(session.results_csv.read_text().splitlines()) == 51


def test_every_way_of_failing_is_recorded_as_what_it_is(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(
        tmp_path / "job.yaml", "samples:moody", 30, method="grid",
        space={"n": {"type": "int", "bounds": [1, 30]}}, execution={"timeout_s": 1.0, "retries": 1},
    )  # fmt: skip
    job.write_text(job.read_text().replace("seed: 3", "seed: 3\n  grid_points: 30"))
    arbctl("submit", job, "--session-id", "moody")
    assert daemons.start("a", "--burst").wait(60) == 0
    table = load_table(layout.root, "moody")
    assert_complete(table, 30)
    by_n = {result.params["n"]: result for result in table.results(range(30))}
    for n in (3, 13, 23):
        assert (by_n[n].status, by_n[n].attempt, by_n[n].error) == (
            "failed",
            2,
            f"ValueError: no luck with {n} (samples.py:16)",
        )
    for n in (4, 14, 24):
        assert (by_n[n].status, by_n[n].attempt) == ("failed", 1)
        assert "returned list" in by_n[n].error
    assert "returned str 'text' as metric 'value'" in by_n[5].error
    assert by_n[6].status == "completed"
    assert np.isnan(by_n[6].metrics["value"])
    assert (by_n[17].status, by_n[17].attempt) == ("crashed", 2)
    assert "killed by SIGKILL" in by_n[17].error
    assert (by_n[27].status, by_n[27].attempt, by_n[27].error) == ("timeout", 2, "timed out after 1 s")
    assert sum(result.status == "completed" for result in by_n.values()) == 19
    code, out, _ = arbctl("summary", "moody", "--metric", "value")
    assert code == 0
    assert "1 timeout, first iteration 27: timed out after 1 s" in out
    assert re.search(r"\n *1 +30 +30 +30\n", out)


def test_retry_runs_the_failed_ones_again_and_replaces_them(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "fixed"
    (objectives / "mended.py").write_text(
        f"import os\ndef go(params):\n    if params['k'] > 5 and not os.path.exists({str(flag)!r}):\n"
        "        raise RuntimeError('not yet')\n    return {'value': params['x']}\n"
    )
    arbctl(
        "submit", write_job(tmp_path / "job.yaml", "mended:go", 200, execution={"retries": 0}), "--session-id", "mended"
    )
    daemons.start("a")
    wait_until(is_done(layout, "mended"))
    failed = state_of(layout, "mended").counts[1]
    assert failed > 50
    flag.touch()
    code, out, _ = arbctl("retry", "mended")
    assert (code, out) == (0, f"mended: {failed} iterations run again\n")
    wait_until(lambda: state_of(layout, "mended").counts == [200, 0, 0, 0] and state_of(layout, "mended").done)
    assert_complete(load_table(layout.root, "mended"), 200)
    assert arbctl("retry", "mended")[1] == "mended: nothing to run again\n"


def test_pause_resume_and_cancel_take_effect(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "samples:slow", 100_000), "--session-id", "long")
    daemons.start("a")
    wait_until(lambda: layout.session("long").ledger.exists() and state_of(layout, "long").counted > 10)
    assert arbctl("pause", "long")[1] == "long: paused\n"
    wait_until(lambda: state_of(layout, "long").claimed == 0, 5, "the pause")
    counted = state_of(layout, "long").counted
    assert arbctl("resume", "long")[0] == 0
    wait_until(lambda: state_of(layout, "long").counted > counted, 10, "going on")
    assert arbctl("cancel", "long")[1] == "long: cancelled\n"
    wait_until(lambda: state_of(layout, "long").claimed == 0, 5, "the end")
    code, _, err = arbctl("resume", "long")
    assert (code, "is cancelled: it cannot become running" in err) == (2, True)
    assert len(load_table(layout.root, "long").rows) >= counted


def test_rows_appear_in_the_csv_while_the_session_runs(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:slow", 600, results={"csv": True})
    arbctl("submit", job, "--session-id", "table")
    daemons.start("a")
    path = layout.session("table").results_csv
    wait_until(lambda: path.exists() and len(path.read_text().splitlines()) > 10, 20)
    assert not state_of(layout, "table").done
    live = list(csv.DictReader(path.read_text().splitlines()))
    assert {"param_x", "param_k", "metric_value"} <= set(live[0])
    wait_until(is_done(layout, "table"))
    results = load_results_from_csv(path)
    assert [result.iteration for result in results] == list(range(1, 601))
    assert [dict(r.params) for r in results] == [
        dict(r.params) for r in load_table(layout.root, "table").results(range(600))
    ]


def test_jobs_are_taken_from_incoming_however_they_arrive(
    daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    daemons.start("a")
    job = write_job(tmp_path / "job.yaml", "samples:quick", 50, session_id="copied")
    (layout.incoming / "copied.yaml").write_bytes(job.read_bytes())
    moved = write_job(layout.incoming / ".moved.tmp", "samples:quick", 50, session_id="moved")
    moved.rename(layout.incoming / "moved.yaml")
    (layout.incoming / "broken.yaml").write_text("tuning: {method: gird}\n")
    wait_until(is_done(layout, "copied"))
    wait_until(is_done(layout, "moved"))
    error = layout.rejected / "broken.yaml.error.txt"
    wait_until(error.exists)
    assert "did you mean 'grid'" in error.read_text()
    assert "search_space: is missing" in error.read_text()


def test_an_objective_that_is_not_allowed_is_rejected_with_the_remedy(
    daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    config = daemons.config
    config.write_text(config.read_text().replace("allow: [paper, 'python:*', 'command:*']", "allow: [paper]"))
    write_job(layout.incoming / "x.submitted.yaml", "samples:quick", 5)
    daemons.start("a")
    error = layout.rejected / "x.submitted.yaml.error.txt"
    wait_until(error.exists)
    assert "an administrator can add 'python:samples:quick' to `allow`" in error.read_text()


def test_a_host_that_cannot_load_the_objective_gives_its_work_back_and_says_why(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "job.yaml", "nowhere:go", 5), "--session-id", "nowhere")
    assert daemons.start("a", "--burst").wait(30) == 1
    assert "cannot be imported on this host" in daemons.log()
    state = state_of(layout, "nowhere")
    assert (state.claimed, state.counted) == (0, 0)


def test_a_module_that_ends_the_process_that_imports_it_costs_no_ledger(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "leaves.py").write_text("import os\nos._exit(0)\ndef objective(params): return 1.0\n")
    # The one slot has another module loaded by then, and begins anew in the middle of the task.
    for name, objective in (("before", "samples:quick"), ("leaves", "leaves:objective")):
        arbctl("submit", write_job(tmp_path / "job.yaml", objective, 5), "--session-id", name)
    assert daemons.start("a", "--burst", slots=1).wait(60) == 1
    assert "(while loading the objective)" in daemons.log()
    assert state_of(layout, "before").done
    state = state_of(layout, "leaves")
    assert (state.claimed, state.counted, state.busy_ns >= 0) == (0, 0, True)


def test_a_second_daemon_under_a_live_name_refuses_to_start(daemons: Daemons, layout: SpoolLayout) -> None:
    daemons.start("same")
    wait_until(lambda: (layout.workers / "same.beat").exists())
    assert daemons.start("same").wait(30) == 4
    assert "a worker named same" in daemons.log()
    assert "give this one another --worker-id" in daemons.log()


def test_a_session_of_higher_priority_goes_first(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    arbctl("submit", write_job(tmp_path / "low.yaml", "samples:slow", 3_000), "--session-id", "low")
    daemons.start("a")
    wait_until(lambda: layout.session("low").ledger.exists() and state_of(layout, "low").counted > 10)
    high = write_job(tmp_path / "high.yaml", "samples:slow", 60, execution={"priority": 5})
    arbctl("submit", high, "--session-id", "high")
    wait_until(is_done(layout, "high"), 30)
    assert not state_of(layout, "low").done


def test_an_urgent_job_does_not_wait_for_the_end_of_long_chunks(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    config = tmp_path / "arbd.yaml"
    # Chunks of ten minutes: without giving way, the urgent job would wait for one.
    config.write_text(config.read_text().replace("chunk_target_s: 0.2", "chunk_target_s: 600"))
    arbctl("submit", write_job(tmp_path / "low.yaml", "samples:slow", 100_000), "--session-id", "low")
    daemons.start("a")

    def has_long_chunks() -> bool:
        there = layout.session("low").ledger.exists()
        return there and any(claim.span.count > 2_000 for claim in state_of(layout, "low").claims.values())

    wait_until(has_long_chunks)
    high = write_job(tmp_path / "high.yaml", "samples:slow", 40, execution={"priority": 5})
    arbctl("submit", high, "--session-id", "high")
    wait_until(is_done(layout, "high"), 30)
    assert not state_of(layout, "low").done


def test_max_slots_bounds_what_runs_at_once(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:slow", 150, execution={"max_slots": 1})
    arbctl("submit", job, "--session-id", "narrow")
    daemons.start("a", slots=3)
    most = 0

    def watch() -> bool:
        nonlocal most
        if layout.session("narrow").ledger.exists():
            most = max(most, len(state_of(layout, "narrow").claims))
        return is_done(layout, "narrow")()

    wait_until(watch)
    assert most == 1


def test_memory_mb_makes_a_greedy_iteration_fail_alone(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "greedy.py").write_text(
        "def go(params):\n    if params['k'] == 9:\n        data = bytearray(3 * 10**9)\n    return {'value': 1.0}\n"
    )
    job = write_job(
        tmp_path / "job.yaml", "greedy:go", 9, method="grid", space={"k": {"type": "int", "bounds": [1, 9]}},
        execution={"memory_mb": 1024, "retries": 0},
    )  # fmt: skip
    job.write_text(job.read_text().replace("seed: 3", "seed: 3\n  grid_points: 9"))
    arbctl("submit", job, "--session-id", "greedy")
    assert daemons.start("a", "--burst").wait(30) == 0
    table = load_table(layout.root, "greedy")
    assert table.counts() == {"completed": 8, "failed": 1, "timeout": 0, "crashed": 0}
    assert "MemoryError" in table.rows.errors[9]


def test_a_batch_that_kills_its_process_is_evaluated_one_by_one(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "fragile.py").write_text(
        "import os, signal, numpy\n"
        "def objective(params):\n    if params['k'] == 7: os.kill(os.getpid(), signal.SIGSEGV)\n    return {'value': params['x']}\n"
        "def evaluate_batch(columns):\n    if (columns['k'] == 7).any(): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if (columns['k'] == 8).any(): raise ValueError('cannot do eights at once')\n"
        "    return {'value': columns['x']}\n"
    )
    arbctl(
        "submit",
        write_job(tmp_path / "job.yaml", "fragile:objective", 40, execution={"retries": 0}),
        "--session-id",
        "fragile",
    )
    assert daemons.start("a", "--burst").wait(60) == 0
    table = load_table(layout.root, "fragile")
    assert_complete(table, 40)
    sevens = table.rows.params["k"] == 7
    assert sevens.any()
    assert (table.rows.status[sevens] == 3).all()
    assert (table.rows.status[~sevens] == 0).all()
    assert "SIGSEGV" in next(iter(table.rows.errors.values()))


def test_sigint_ends_with_130(daemons: Daemons, layout: SpoolLayout) -> None:
    process = daemons.start("a")
    wait_until(lambda: (layout.workers / "a.beat").exists())
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(15) == 130


def process_state(pid: int) -> str:
    """The letter of a process's state; '' when it is gone. A zombie has ended: who reaps it is the system's business."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_command_objective_is_evaluated_and_killed_when_it_hangs(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    program = tmp_path / "program.sh"
    program.write_text(
        "#!/bin/sh\nread line\n[ $ARBD_ITERATION = 3 ] && { echo $$ > %s/pid; sleep 60; }\n"
        "[ $ARBD_ITERATION = 4 ] && { echo went wrong >&2; exit 7; }\n"
        'echo some words\necho "{\\"value\\": $ARBD_ITERATION}"\n' % tmp_path
    )
    program.chmod(0o755)
    job = tmp_path / "job.yaml"
    job.write_text(
        f"objective: {{command: [{program}]}}\nmetric: value\nexecution: {{timeout_s: 1, retries: 0}}\n"
        "tuning: {method: random, max_iterations: 6, search_space: {x: {type: float, bounds: [0, 1]}}}\n"
    )
    arbctl("submit", job, "--session-id", "program")
    assert daemons.start("a", "--burst").wait(30) == 0
    table = load_table(layout.root, "program")
    assert table.rows.status.tolist() == [0, 0, 2, 1, 0, 0]
    assert "exited with status 7; its final output: went wrong" in table.rows.errors[4]
    assert table.rows.metrics["value"][5] == 6
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: process_state(pid) in {"", "Z", "X"}, 10, "the end of the hanging program")
