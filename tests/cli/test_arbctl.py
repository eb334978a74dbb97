"""arbctl: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import msgpack
import pytest
import yaml

from arbd.analysis import TuningAnalyzer, TuningResult, format_result_summary, load_results_from_csv, load_session
from arbd.analysis import __all__ as analysis_names
from arbd.cli.__main__ import HOMES
from arbd.errors import DataError, NotFoundError, UsageError
from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.conftest import REPOSITORY, Arbctl
from tests.jobs import write_job
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows


@pytest.fixture
def session(layout: SpoolLayout) -> str:
    """A finished session of 20 iterations by two workers, the last two failed."""
    paths = make_session(layout, 20, "kept")
    write_rows(paths, "a", rows_of(1, 10, blocks=True))
    write_rows(paths, "b", rows_of(11, 8, blocks=True), rows_of(19, 2, status=FAILED))
    exhaust(paths, 20, (18, 2, 0, 0))
    compact(Files(), paths)
    return "kept"


def test_help_names_every_command_and_teaches_with_examples(arbctl: Arbctl) -> None:
    code, out, _ = arbctl("--help")
    assert code == 0
    assert all(name in out for name in HOMES)
    assert "submit etc/jobs/grid.yaml --wait" in out
    for name in HOMES:
        code, out, _ = arbctl(name, "--help")
        assert code == 0
        assert "Usage: arbctl" in out


def test_summary_ranks_and_tells_what_failed(arbctl: Arbctl, session: str) -> None:
    code, out, _ = arbctl("summary", session, "--top-n", "2")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "session kept (done, random, seed 1): 20 of 20 iterations: 18 completed, 2 failed"
    assert lines[1] == "workers: a 10, b 10"
    assert lines[4].split() == ["RANK", "ITERATION", "VALUE", "x", "kind"]
    assert lines[5].split() == ["1", "18", "18", "0.018", "up"]
    assert lines[7] == "2 failed, first iteration 19: broken"
    code, out, _ = arbctl("--json", "summary", session, "--ascending")
    document = json.loads(out)
    assert [r["iteration"] for r in document["ranking"]] == [1, 2, 3, 4, 5]
    assert {
        "total_iterations",
        "total_workers",
        "unique_sessions",
        "metrics_keys",
        "param_keys",
        "workers",
        "sessions",
    } <= set(document)


def test_summary_of_a_csv_is_that_of_its_session(arbctl: Arbctl, session: str, layout: SpoolLayout) -> None:
    path = layout.session(session).results_csv
    code, out, _ = arbctl("summary", "--csv", path, "--json")
    assert code == 0
    _, expected, _ = arbctl("summary", session, "--json")
    found, wanted = json.loads(out), json.loads(expected)
    for key in ("ranking", "failures", "worker_iterations", "metrics_keys", "param_keys", "total_iterations"):
        assert found[key] == wanted[key]
    assert "RANK" in arbctl("summary", "--csv", path)[1]


def test_best_prints_the_winner_for_a_bot(arbctl: Arbctl, session: str) -> None:
    assert yaml.safe_load(arbctl("best", session)[1]) == {"x": 0.018, "kind": "up"}
    assert json.loads(arbctl("best", session, "--format", "json")[1]) == {"x": 0.018, "kind": "up"}
    assert arbctl("best", session, "--format", "env")[1] == "PARAM_X=0.018\nPARAM_KIND=up\n"
    assert yaml.safe_load(arbctl("best", session, "--ascending")[1])["x"] == 0.001


def test_list_status_and_workers_read_what_is_there(arbctl: Arbctl, session: str, layout: SpoolLayout) -> None:
    make_session(layout, 7, "waiting")
    code, out, _ = arbctl("list", "--json")
    documents = {d["session_id"]: d for d in json.loads(out)["sessions"]}
    assert (documents["kept"]["state"], documents["waiting"]["state"]) == ("done", "pending")
    assert documents["kept"]["statuses"] == {"completed": 18, "failed": 2, "timeout": 0, "crashed": 0}
    assert "kept" not in arbctl("status")[1]
    assert "waiting" in arbctl("status")[1]
    assert "18 completed, 2 failed" in arbctl("status", "kept")[1]
    assert arbctl("workers")[1].startswith("no worker has ever sent a heartbeat")
    assert json.loads(arbctl("workers", "--json")[1]) == {"workers": []}


def test_a_damaged_session_does_not_hide_the_others(arbctl: Arbctl, session: str, layout: SpoolLayout) -> None:
    (layout.sessions / "empty").mkdir()
    code, out, err = arbctl("list")
    assert code == 0
    assert "kept" in out
    assert "no session empty" in err


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "msgpack"])
def test_exports_hold_every_parameter_and_metric(arbctl: Arbctl, session: str, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    code, out, _ = arbctl("export", session, "--format", form, "--output", path)
    assert (code, out) == (0, f"20 rows in {path}\n")
    if form == "csv":
        rows = [(r.iteration, dict(r.params), dict(r.metrics)) for r in load_results_from_csv(path)]
    elif form == "parquet":
        found = duckdb.sql(f"SELECT iteration, param_x, param_kind, metric_value FROM '{path}' ORDER BY 1").fetchall()
        rows = [(i, {"x": x, "kind": k}, {} if v is None or math.isnan(v) else {"value": v}) for i, x, k, v in found]
    elif form == "jsonl":
        rows = [(d["iteration"], d["params"], d["metrics"]) for d in map(json.loads, path.read_text().splitlines())]
    else:
        documents = list(msgpack.Unpacker(io.BytesIO(path.read_bytes())))
        rows = [(d["iteration"], d["params"], d["metrics"]) for d in documents]
        assert documents[0]["blocks"] == [[1.0, 1.0], [1.0, 1.0]]
    assert rows == [
        (i, {"x": i / 1000, "kind": ("up", "down")[i % 2]}, {"value": float(i)} if i <= 18 else {})
        for i in range(1, 21)
    ]


def test_exports_go_to_standard_output_but_for_parquet(arbctl: Arbctl, session: str, layout: SpoolLayout) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "arbd.cli", "--spool", str(layout.root), "export", session, "--format", "jsonl", "--output", "-"],
        capture_output=True, check=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert len(found.stdout.splitlines()) == 20
    code, _, err = arbctl("export", session, "--format", "parquet", "--output", "-")
    assert (code, "parquet needs a file" in err) == (2, True)


def test_submit_wait_finishes_with_1_when_iterations_failed_and_0_otherwise(arbctl: Arbctl, tmp_path: Path) -> None:
    environment = {**os.environ, "ARBD_CONFIG": str(arbctl.config), "ARBD_SPOOL": str(arbctl.spool)}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "arbd.daemon", "run", "--worker-id", "w"], env=environment, cwd=REPOSITORY
    )
    try:
        good = write_job(tmp_path / "good.yaml", "samples:quick", 20)
        code, out, err = arbctl("submit", good, "--session-id", "good", "--wait")
        assert (code, out) == (0, "good\n")
        assert "good: 20 of 20 (done)" in err
        job = write_job(tmp_path / "bad.yaml", "samples:quick", 20)
        job.write_text(job.read_text().replace("samples:quick", "samples:moody").replace("k:", "n:"))
        code, _, err = arbctl("submit", job, "--session-id", "bad", "--wait")
        assert (code, "did not complete" in err) == (1, True)
        arbctl.config.write_text(arbctl.config.read_text())
        code, out, _ = arbctl("workers")
        assert "w " in out
        code, out, _ = arbctl("submit", good, "--set", "tuning.seed=5", "--wait", "--json")
        assert (code, json.loads(out)["state"]) == (0, "done")
    finally:
        daemon.terminate()
        daemon.wait(20)


def test_a_job_that_the_daemon_refuses_ends_submit_wait_with_2(arbctl: Arbctl, tmp_path: Path) -> None:
    environment = {**os.environ, "ARBD_SPOOL": str(arbctl.spool)}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "arbd.daemon", "run", "--worker-id", "w"], env=environment, cwd=REPOSITORY
    )
    try:
        code, _, err = arbctl("submit", write_job(tmp_path / "j.yaml", "samples:quick", 20), "--wait")
        assert code == 2
        assert "refused by the daemon" in err
        assert "is not allowed on this host" in err
    finally:
        daemon.terminate()
        daemon.wait(20)


def run_shell(arbctl: Arbctl, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(arbctl.spool), "--config", str(arbctl.config), "run"]
    return subprocess.Popen([*command, *map(str, arguments)], stdout=-1, stderr=-1, text=True, cwd=REPOSITORY)


@pytest.mark.bed
def test_two_shells_with_one_session_share_the_work(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:slow", 300)
    table = tmp_path / "out.csv"
    shells = [
        run_shell(arbctl, job, "--session-id", "both", "--worker-id", w, "--workers", 2, "--output-csv", table)
        for w in "ab"
    ]
    told = []
    for shell in shells:
        out, err = shell.communicate(timeout=60)
        assert (shell.returncode, out) == (0, "both\n"), err
        told.append("joining session both" in err)
    assert sorted(told) == [False, True]
    results = load_results_from_csv(table)
    assert [result.iteration for result in results] == list(range(1, 301))
    summary = json.loads(arbctl("summary", "both", "--json")[1])
    assert summary["workers"] == ["a", "b"]
    assert sum(summary["worker_iterations"].values()) == 300


@pytest.mark.bed
def test_run_needs_no_daemon_and_refuses_another_job_under_the_same_name(arbctl: Arbctl, tmp_path: Path) -> None:
    job = REPOSITORY / "etc/jobs/baseline_tuning.yaml"
    shell = run_shell(arbctl, job, "--iterations", 25, "--session-id", "alone", "--workers", 1)
    out, err = shell.communicate(timeout=240)
    assert (shell.returncode, out) == (0, "alone\n"), err
    code, out, _ = arbctl("summary", "alone")
    assert "25 of 25 iterations: 25 completed" in out
    code, _, err = arbctl("run", job, "--iterations", "26", "--session-id", "alone")
    assert (code, "`arbctl extend alone --iterations 1` adds the rest" in err) == (2, True)
    code, _, err = arbctl("run", job, "--iterations", "25", "--session-id", "alone", "--set", "tuning.seed=7")
    assert (code, "with another job, which differs in tuning.seed: choose another" in err) == (2, True)


@pytest.mark.bed
def test_run_joins_a_session_though_the_one_that_it_started_from_is_gone(arbctl: Arbctl, tmp_path: Path) -> None:
    first = write_job(tmp_path / "first.yaml", "samples:quick", 20)
    job = write_job(tmp_path / "job.yaml", "samples:quick", 12)
    words = (job, "--session-id", "second", "--set", "tuning.method=tpe")
    second = (*words, "--set", "tuning.start_from=first")
    for name, arguments in {"first": (first, "--session-id", "first"), "second": second}.items():
        shell = run_shell(arbctl, *arguments, "--workers", 1)
        out, err = shell.communicate(timeout=240)
        assert (shell.returncode, out) == (0, f"{name}\n"), err
    assert arbctl("purge", "first", "--results", "--claims", "--yes")[0] == 0
    again = run_shell(arbctl, *second, "--workers", 1)
    out, err = again.communicate(timeout=240)
    assert (again.returncode, out) == (0, "second\n"), err
    assert "joining session second" in err
    code, _, err = arbctl("run", *words, "--set", "tuning.start_from=other")
    assert (code, "other" in err) == (2, True), err


def test_run_says_why_it_cannot(arbctl: Arbctl, tmp_path: Path) -> None:
    shell = run_shell(arbctl, write_job(tmp_path / "job.yaml", "nowhere:go", 5), "--workers", 1)
    _, err = shell.communicate(timeout=60)
    assert shell.returncode == 1
    assert "cannot be imported on this host" in err
    assert "could not be evaluated here" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sumary", "x"], 2, "no command 'sumary': did you mean `summary`?"),
        (["summary"], 2, "name either a SESSION or --csv FILE"),
        (["summary", "absent"], 3, "no session absent"),
        (["status", "absent"], 3, "see `arbctl list`"),
        (["best", "absent"], 3, "no session absent"),
        (["status", "../../etc"], 2, "session id '../../etc' is not usable"),
        (["pause", "absent"], 3, "no session absent"),
        (["retry", "absent"], 3, "no session absent"),
        (["summary", "kept", "--metric", "luck"], 2, "session kept has no metric 'luck'; metrics are: value"),
        (["retry", "kept", "--state", "completed"], 2, "expected some of failed, timeout, crashed"),
        (["cancel", "kept"], 2, "session kept is done: it cannot become cancelled"),
        (["validate", "absent.yaml"], 2, "absent.yaml: no such file on this host"),
        (["summary", "--csv", "absent.csv"], 2, "absent.csv: no such file on this host"),
        (["scenario", "absent.yaml"], 2, "no such file"),
        (["market", "describe", "absent.csv"], 2, "no such file"),
        (["market", "synth", "--output", "x.xlsx"], 2, "cannot be told apart by its suffix"),
        (["market", "synth", "--output", "x.csv", "--profile", "moon"], 2, "unknown profile 'moon'"),
        (["scenario", "etc/scenarios/choppy_market.yaml", "--set", "nonsense"], 2, "expected NAME=VALUE"),
        (["submit", "etc/jobs/grid.yaml", "--session-id", "kept"], 2, "session kept exists already"),
        (["submit", "etc/jobs/grid.yaml", "--session-id", "../x"], 2, "is not usable"),
    ],
)
def test_what_goes_wrong_is_one_clear_error(
    arbctl: Arbctl, session: str, arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    found, _, err = arbctl(*arguments)
    assert found == code
    assert message in err
    assert "Traceback" not in err


def test_a_spool_that_is_not_there_is_exit_4(arbctl: Arbctl, tmp_path: Path) -> None:
    arbctl.spool = tmp_path / "nowhere"
    for command in (["list"], ["status"], ["summary", "x"], ["submit", str(REPOSITORY / "etc/jobs/grid.yaml")]):
        code, _, err = arbctl(*command)
        assert code == 4
        assert "does not exist: mount the shared folder" in err


def test_debug_shows_the_traceback(arbctl: Arbctl) -> None:
    with pytest.raises(NotFoundError):
        arbctl("--debug", "status", "absent")


def test_validate_shows_the_resolved_job_and_n(arbctl: Arbctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    code, out, _ = arbctl("validate", "etc/jobs/grid.yaml", "--set", "tuning.grid_points=2")
    assert code == 0
    assert "iterations  8" in out
    assert json.loads(arbctl("validate", "etc/jobs/grid.yaml", "--json")[1])["resolved"]["n"] == 320
    assert json.loads(arbctl("schema")[1])["title"] == "Job"


def test_scenarios_are_judged(arbctl: Arbctl) -> None:
    files = sorted((REPOSITORY / "etc/scenarios").glob("*.yaml"))
    code, out, _ = arbctl("scenario", *files)
    assert (code, out.count("ok ")) == (0, 3)
    code, out, _ = arbctl("scenario", files[1], "--set", "min_spread_pct=90", "--json")
    document = json.loads(out)["scenarios"][0]
    assert (code, document["ok"]) == (1, False)
    assert "DOES NOT HOLD" in arbctl("scenario", files[1], "--set", "min_spread_pct=90")[1]


def test_markets_are_made_described_and_converted(arbctl: Arbctl, tmp_path: Path) -> None:
    assert arbctl("market", "synth", "--output", tmp_path / "q.csv", "--ticks", "300", "--profile", "brl")[0] == 0
    assert (
        arbctl("market", "convert", tmp_path / "q.csv", tmp_path / "q.parquet")[1]
        == f"300 rows in {tmp_path}/q.parquet\n"
    )
    one, other = (json.loads(arbctl("market", "describe", tmp_path / n, "--json")[1]) for n in ("q.csv", "q.parquet"))
    assert one | {"file": ""} == other | {"file": ""}
    assert "edge_ab:" in arbctl("market", "describe", tmp_path / "q.csv")[1]
    lines = (tmp_path / "q.csv").read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join([*lines[:3], lines[3].replace(",", ",-", 1), *lines[4:]]) + "\n")
    code, _, err = arbctl("market", "convert", tmp_path / "bad.csv", tmp_path / "good.csv")
    assert (code, "bad.csv, row 3: bid_a is -" in err) == (2, True)
    code, out, _ = arbctl("market", "convert", tmp_path / "bad.csv", tmp_path / "good.csv", "--on-bad-rows", "drop")
    assert "299 rows in" in out
    assert "1 bad rows dropped" in out


QUICK = ("click", "yaml", "msgpack", "filelock", "arbd")
HEAVY = ("numpy", "numba", "scipy", "duckdb", "pydantic", "rich", "watchdog")


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["list"], ["status", "kept"]])
def test_quick_commands_import_nothing_heavy(session: str, layout: SpoolLayout, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom arbd.cli.__main__ import call\n"
        f"call({['--spool', str(layout.root), *arguments]!r})\n"
        f"print('HEAVY', sorted(set(m.partition('.')[0] for m in sys.modules) & set({HEAVY!r})))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "HEAVY []" in found.stdout


def results() -> list[TuningResult]:
    values = [3.0, float("nan"), 1.0, 2.0]
    found = [
        TuningResult("s", "wv"[i % 2], i + 1, {"x": i}, {"m": v}, "2026-01-01T00:00:00Z") for i, v in enumerate(values)
    ]
    return [*found, TuningResult("t", "w", 9, {"x": 9}, {}, "", status="failed", error="broke")]


def test_the_analyzer_summarises_and_ranks() -> None:
    analyzer = TuningAnalyzer(results())
    summary = analyzer.summarize()
    assert (summary["total_iterations"], summary["total_workers"], summary["unique_sessions"]) == (5, 2, 2)
    assert (summary["metrics_keys"], summary["param_keys"], summary["statuses"]) == (
        ["m"],
        ["x"],
        {"completed": 4, "failed": 1},
    )
    assert [r.iteration for r in analyzer.rank_by_metric("m")] == [1, 4, 3, 2]
    assert [r.iteration for r in analyzer.rank_by_metric("m", 2, ascending=True)] == [3, 4]
    assert analyzer.get_best_params("m") == {"x": 0}
    with pytest.raises(UsageError, match="no completed result has a metric 'q'; metrics are: m"):
        analyzer.rank_by_metric("q")


def test_a_result_is_told_in_words() -> None:
    text = format_result_summary(results()[0])
    assert text == "iteration 1 of s: completed on w at 2026-01-01T00:00:00Z\n  params:  x=0\n  metrics: m=3"
    assert format_result_summary(results()[-1]).endswith("error:   broke")
    assert analysis_names == sorted(analysis_names)


def test_a_session_is_loaded_as_results(session: str, layout: SpoolLayout) -> None:
    loaded = load_session(layout.root, session)
    assert [result.iteration for result in loaded] == list(range(1, 21))
    assert loaded[19].error == "broken"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column session_id"),
        ("session_id,worker_id,iteration,status\ns,w,one,completed\n", "row 1: iteration is 'one', not a number"),
        ("session_id,worker_id,iteration,status\ns,w,1\n", "row 1: has another number of cells"),
        (
            "session_id,worker_id,iteration,status,metric_m\ns,w,1,completed,high\n",
            "row 1: metric_m is 'high', not a number",
        ),
    ],
)
def test_a_table_that_is_none_of_ours_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_results_from_csv(path)
