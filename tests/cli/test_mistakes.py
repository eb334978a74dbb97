"""What users do by mistake, and what machines do to them: told clearly, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbd.cli.doctor.hosts import waiting
from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from arbd.spool.liveness import Beat, write_beat
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids
from tests.conftest import REPOSITORY, Arbctl, Daemons
from tests.jobs import write_job
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows


@pytest.fixture
def session(layout: SpoolLayout) -> str:
    paths = make_session(layout, 20, "kept")
    write_rows(paths, "a", rows_of(1, 20, blocks=True))
    exhaust(paths, 20, (20, 0, 0, 0))
    compact(Files(), paths)
    return "kept"


@pytest.mark.parametrize("form", ["csv", "jsonl", "msgpack", "parquet", "optuna"])
def test_an_export_to_nowhere_names_the_folder_and_leaves_nothing(
    arbctl: Arbctl, session: str, tmp_path: Path, form: str
) -> None:
    before = sorted(found.name for found in tmp_path.iterdir())
    for output, why in ((tmp_path / "nowhere" / "x", "does not exist: make it first"), (tmp_path, "is a folder")):
        code, out, err = arbctl("export", session, "--format", form, "--output", output)
        assert (code, out) == (2, "")
        assert err.startswith(f"arbctl: {output} ")
        assert why in err
    assert sorted(found.name for found in tmp_path.iterdir()) == before


def test_reports_archives_plots_and_markets_name_the_folder_too(arbctl: Arbctl, session: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    for command in (
        ["report", session, "--output", missing / "x.html"],
        ["archive", session, "--output", missing / "x.tar.gz"],
        ["replay", session, "1", "--plot", missing / "x.html"],
        ["market", "synth", "--ticks", "10", "--output", missing / "x.csv"],
        ["run", REPOSITORY / "etc/jobs/baseline_tuning.yaml", "--output-csv", missing / "x.csv"],
    ):
        code, _, err = arbctl(*command)
        assert (code, "nowhere does not exist: make it first" in err) == (2, True), err
    assert json.loads(arbctl("list", "--json")[1])["sessions"][0]["session_id"] == session
    assert arbctl("restore", missing)[0] == 3


def test_a_second_submit_of_the_same_name_does_not_replace_the_first(arbctl: Arbctl, tmp_path: Path) -> None:
    first = write_job(tmp_path / "first.yaml", "samples:quick", 10)
    second = write_job(tmp_path / "second.yaml", "samples:slow", 10)
    assert arbctl("submit", first, "--session-id", "q")[0] == 0
    code, _, err = arbctl("submit", second, "--session-id", "q")
    assert (code, "a job for session q waits in" in err) == (2, True)
    assert b"samples:quick" in (arbctl.spool / "incoming" / "q.submitted.yaml").read_bytes()


def test_submit_wait_does_not_take_an_old_refusal_for_its_own(
    arbctl: Arbctl, layout: SpoolLayout, daemons: Daemons, tmp_path: Path
) -> None:
    (layout.rejected / "again.submitted.yaml.error.txt").write_text("an old story\n")
    job = write_job(tmp_path / "job.yaml", "samples:quick", 10)
    daemons.start("a")
    code, out, err = arbctl("submit", job, "--session-id", "again", "--wait")
    assert (code, out) == (0, "again\n"), err


def test_looking_at_workers_needs_no_right_to_write_and_makes_no_file(arbctl: Arbctl, layout: SpoolLayout) -> None:
    write_beat(Files(), layout, Beat("dead", 1, 1, {"slots": 2, "state": "running"}))
    for command in (["workers"], ["watch", "--once"], ["top", "--once"]):
        code, out, _ = arbctl(*command)
        assert (code, "gone" in out) == (0, True)
    assert sorted(found.name for found in layout.workers.iterdir()) == ["dead.beat"]


def test_a_worker_that_ended_by_itself_is_not_called_gone(arbctl: Arbctl, daemons: Daemons) -> None:
    assert daemons.start("brief", "--burst").wait(30) == 0
    code, out, _ = arbctl("workers")
    assert (code, "1 exited cleanly: --all shows them" in out) == (0, True)
    assert "ended" in arbctl("workers", "--all")[1].splitlines()[1].split()
    assert "brief" not in arbctl("top", "--once")[1]


def test_run_with_bad_arguments_leaves_no_session(arbctl: Arbctl, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:quick", 10)
    for options in (["--worker-id", "a/b"], ["--workers", "100000"]):
        code, _, err = arbctl("run", job, "--session-id", "w", *options)
        assert code == 2, err
    assert json.loads(arbctl("list", "--json")[1])["sessions"] == []


def test_run_says_how_many_iterations_failed(arbctl: Arbctl, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", "samples:moody", 5)
    code, out, err = arbctl("run", job, "--session-id", "bad", "--workers", "1")
    assert (code, out) == (0, "bad\n")
    assert "5 of 5 iterations did not complete: see `arbctl summary bad`" in err


def test_best_gives_no_parameters_where_nothing_is_a_number(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 5, "nan")
    write_rows(paths, "a", rows_of(1, 5, value=float("nan")))
    exhaust(paths, 5, (5, 0, 0, 0))
    code, out, err = arbctl("best", "nan")
    assert (code, out) == (3, "")
    assert "no result has a number for value: see `arbctl summary nan`" in err
    assert arbctl("report", "nan", "--output", layout.root.parent / "nan.html")[0] == 0


def test_an_empty_ledger_is_told_as_damage_and_not_written_to(
    arbctl: Arbctl, layout: SpoolLayout, session: str
) -> None:
    paths = make_session(layout, 5, "hollow")
    paths.ledger.write_bytes(b"")
    for command in ("status", "pause", "cancel", "summary", "best", "archive"):
        code, _, err = arbctl(command, "hollow")
        assert (code, "the record that opens a session is missing" in err) == (4, True)
    assert paths.ledger.read_bytes() == b""
    code, out, err = arbctl("list")
    assert (code, session in out, "hollow/ledger" in err) == (0, True, True)
    (told,) = (finding for finding in waiting(Files(), layout, []) if finding.check == "sessions")
    assert "hollow/ledger" in told.found
    remedy = told.remedy.partition("`arbctl ")[2].partition("`")[0].split()
    assert arbctl(*remedy)[0] == 0
    assert paths.ledger.read_bytes() == b""
    assert arbctl("repair", "hollow")[0] == 0
    assert SessionQueue(Files(), paths).refresh().n == 5
    assert session_ids(Files(), layout) == sorted(["hollow", session])


def test_results_that_are_gone_are_said_everywhere_and_never_archived(
    arbctl: Arbctl, layout: SpoolLayout, session: str, tmp_path: Path
) -> None:
    assert arbctl("purge", session, "--results", "--yes")[0] == 0
    told = "the results of 20 of 20 recorded iterations are not there"
    assert told in arbctl("summary", session)[1]
    code, _, err = arbctl("best", session)
    assert (code, told in err) == (3, True)
    code, _, err = arbctl("archive", session, "--output", tmp_path / "a.tar.gz")
    assert (code, "its segments hold 0 of 20 recorded iterations" in err) == (2, True)
    assert not (tmp_path / "a.tar.gz").exists()
    for form in ("csv", "jsonl", "parquet"):
        code, _, err = arbctl("export", session, "--format", form, "--output", tmp_path / form)
        assert (code, f"0 rows are in {tmp_path / form}, but {told}" in err) == (3, True)
    assert arbctl("report", session, "--output", tmp_path / "page.html")[0] == 0
    assert told in (tmp_path / "page.html").read_text()
    job = write_job(tmp_path / "next.yaml", "samples:quick", 50, method="tpe")
    code, _, err = arbctl("validate", job, "--set", f"tuning.start_from={session}")
    assert (code, f"{session}: its 20 results are not there: they were purged or lost" in err) == (2, True)
    assert any("20 iterations were recorded, but no results" in f.found for f in waiting(Files(), layout, []))


def test_damaged_results_are_archived_from_whole_segments(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    paths = make_session(layout, 20, "torn")
    write_rows(paths, "a", rows_of(1, 20, blocks=True))
    exhaust(paths, 20, (20, 0, 0, 0))
    compact(Files(), paths)
    paths.results.write_bytes(paths.results.read_bytes()[:-20])
    code, out, _ = arbctl("archive", "torn", "--output", tmp_path / "a.tar.gz", "--json")
    names = json.loads(out)["files"]
    assert (code, "results.msgpack" in names, any(name.startswith("segments/") for name in names)) == (0, False, True)


def test_a_session_that_may_not_be_read_does_not_hide_the_others(
    arbctl: Arbctl, layout: SpoolLayout, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_session(layout, 5, "secret")
    real = Files.read

    def read(self: Files, path: Path, *arguments: int, **named: int) -> bytes:
        if "secret" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, path, *arguments, **named)

    monkeypatch.setattr(Files, "read", read)
    code, out, err = arbctl("list")
    assert (code, session in out, "secret/ledger" in err) == (0, True, True)
    code, _, err = arbctl("status", "secret")
    assert (code, "run arbctl as a user of the group that owns the spool" in err) == (4, True)


def test_shares_of_workers_are_of_all_that_they_recorded(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 12, "bad")
    write_rows(paths, "a", rows_of(1, 12, status=FAILED))
    exhaust(paths, 12, (0, 12, 0, 0))
    compact(Files(), paths)
    assert arbctl("retry", "bad")[0] == 0
    out = arbctl("status", "bad")[1]
    assert "(100 %)" in out


def test_nothing_going_on_points_to_the_list(arbctl: Arbctl, session: str) -> None:
    assert arbctl("status")[1] == "no session is going on; `arbctl list` shows all\n"


def test_variables_that_would_be_the_same_are_refused(arbctl: Arbctl, layout: SpoolLayout) -> None:
    paths = make_session(layout, 5, "twins", fixed={"a.b": 1.0, "a-b": 2.0})
    write_rows(paths, "a", rows_of(1, 5))
    exhaust(paths, 5, (5, 0, 0, 0))
    code, out, err = arbctl("best", "twins", "--format", "env")
    assert (code, out) == (2, "")
    assert "would be the variable PARAM_A_B: use --format json or yaml" in err


def test_usage_errors_are_one_line_with_the_way_to_help(arbctl: Arbctl) -> None:
    for arguments, command in (
        (["list", "--nope"], "arbctl list"),
        (["export", "x"], "arbctl export"),
        (["--nope"], "arbctl"),
    ):
        code, _, err = arbctl(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith("arbctl: ")
        assert err.endswith(f"see `{command} --help`\n")


def test_a_reader_that_has_seen_enough_is_no_failure(arbctl: Arbctl, session: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(arbctl.spool), "export", session, "--format", "csv"]
    for arguments in ([*command, "--output", "-"], [*command[:5], "list"]):
        done = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, check=False, cwd=REPOSITORY)
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(write)


def test_a_log_line_nested_without_end_is_shown_and_not_read(arbctl: Arbctl, tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"a":' + "[" * 200_000 + "\nevent=start session=s\n")
    code, out, _ = arbctl("logs", "s", "--file", tmp_path / "log")
    assert (code, out) == (0, "event=start session=s\n")


def test_a_table_in_which_everything_failed_is_summarised(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path) -> None:
    paths = make_session(layout, 4, "lost")
    write_rows(paths, "a", rows_of(1, 4, status=FAILED))
    exhaust(paths, 4, (0, 4, 0, 0))
    assert arbctl("export", "lost", "--format", "csv", "--output", tmp_path / "lost.csv")[0] == 0
    code, out, _ = arbctl("summary", "--csv", tmp_path / "lost.csv")
    assert (code, "4 failed" in out) == (0, True)


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    from arbd.cli.commands.doctor import _line
    from arbd.cli.doctor.finding import WARNING, Finding

    finding = Finding("space", WARNING, "little is left")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in _line(finding)
    monkeypatch.setenv("NO_COLOR", "1")
    assert _line(finding) == "warning  space: little is left"
