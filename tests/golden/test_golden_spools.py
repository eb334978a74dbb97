"""What earlier versions wrote is read, finished, archived and reproduced by this one; see README.md beside this file."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import msgpack
import pytest

from arbd.job.stored import read_spec
from arbd.paper.engine import RULES, rules_of
from arbd.search.samplers import adaptive
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons
from tests.golden.places import ARCHIVES, EXPECTED, GOLDEN, SPOOL, copy_spool, expected, names, put_home

pytestmark = pytest.mark.bed

SESSIONS = [(name, session) for name in names() for session in expected(name)["sessions"]]
OVER = [(n, s) for n, s in SESSIONS if expected(n)["sessions"][s]["status"]["state"] in ("done", "cancelled")]
UNFINISHED = [(n, s) for n, s in SESSIONS if expected(n)["sessions"][s]["status"]["state"] in ("paused", "running")]
REPLAYS = [(n, s, i) for n, s in SESSIONS for i in expected(n)["sessions"][s]["replays"]]
# Of the moment, or words for people.
VOLATILE = {"rate_per_s", "eta_s", "notices", "beat_mtime_ns"}


@dataclass
class Golden:
    """A golden spool, copied, and what the version that wrote it said of it."""

    name: str
    expected: dict[str, Any]
    spool: Path
    config: Path
    home: Path

    def session(self, session: str) -> dict[str, Any]:
        found: dict[str, Any] = self.expected["sessions"][session]
        return found


def opened(name: str, folder: Path) -> Golden:
    home = put_home(name)
    config = folder / "arbd.yaml"
    config.write_text(
        f"allow: ['*']\nobjective_paths: [{home / 'objectives'}]\ncache_dir: {folder / 'cache'}\n"
        "settle_s: 0.1\nscan_s: 0.1\nbeat_s: 0.2\nlease_s: 5\nchunk_target_s: 0.2\n"
    )
    return Golden(name, expected(name), copy_spool(name, folder / SPOOL), config, home)


@pytest.fixture(scope="module")
def to_read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Golden]:
    """A copy of each golden spool, of which tests change nothing."""
    return {name: opened(name, tmp_path_factory.mktemp(name)) for name in names()}


@pytest.fixture
def arbctl_on(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda golden: Arbctl(capsys, golden.spool, golden.config)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Any]:
    started: list[Daemons] = []

    def run(golden: Golden) -> Daemons:
        daemons = Daemons(golden.spool, golden.config, tmp_path)
        started.append(daemons)
        assert daemons.start("today", "--burst").wait(240) == 0, daemons.log()
        return daemons

    yield run
    for daemons in started:
        daemons.stop()


def document(arbctl: Arbctl, *arguments: str | Path) -> Any:
    code, out, err = arbctl(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def rows_of(arbctl: Arbctl, session: str, folder: Path) -> list[dict[str, Any]]:
    output = folder / f"{session}.msgpack"
    code, _, err = arbctl("export", session, "--format", "msgpack", "--output", output)
    assert code == 0, err
    with output.open("rb") as file:
        return list(msgpack.Unpacker(file, strict_map_key=False))


def lost(before: Any, now: Any, place: str = "") -> list[str]:
    """Where something that was said is said no more, or otherwise; numbers are compared by their bits."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            found
            for key, value in before.items()
            if key not in VOLATILE
            for found in (lost(value, now[key], f"{place}/{key}") if key in now else [f"{place}/{key} is gone"])
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [found for i, pair in enumerate(zip(before, now, strict=True)) for found in lost(*pair, f"{place}/{i}")]
    return [] if bits(before) == bits(now) else [f"{place}: {before!r} before, {now!r} now"]


def bits(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    return value


def finite(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def computed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of rows what does not depend on when and where they were computed."""
    kept = ("iteration", "status", "params", "metrics", "same_as", "data_share", "reports", "blocks")
    return [{name: row[name] for name in kept if name in row} for row in rows]


@pytest.mark.parametrize("name", names())
def test_a_golden_folder_is_as_it_was_written(name: str) -> None:
    folder = GOLDEN / name
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != EXPECTED and "__pycache__" not in path.parts
    }
    assert found == expected(name)["files"]


@pytest.mark.parametrize("name", names())
def test_list_and_workers_say_what_they_said(name: str, to_read: dict[str, Golden], arbctl_on: Any) -> None:
    golden = to_read[name]
    arbctl = arbctl_on(golden)
    assert lost(golden.expected["list"], document(arbctl, "list")) == []
    assert lost(golden.expected["workers"], document(arbctl, "workers")) == []


@pytest.mark.parametrize(("name", "session"), SESSIONS)
def test_status_summary_and_best_say_what_they_said(
    name: str, session: str, to_read: dict[str, Golden], arbctl_on: Any
) -> None:
    golden = to_read[name]
    arbctl, said = arbctl_on(golden), golden.session(session)
    assert lost(said["status"], document(arbctl, "status", session)) == []
    assert lost(said["summary"], document(arbctl, "summary", session, "--top-n", "3")) == []
    assert lost(said["best"], document(arbctl, "best", session, "--format", "json")) == []


@pytest.mark.parametrize(("name", "session"), SESSIONS)
def test_every_export_holds_every_recorded_row(
    name: str, session: str, to_read: dict[str, Golden], arbctl_on: Any, tmp_path: Path
) -> None:
    golden = to_read[name]
    arbctl, rows = arbctl_on(golden), golden.session(session)["rows"]
    assert lost(rows, rows_of(arbctl, session, tmp_path)) == []
    for form in ("csv", "jsonl", "parquet"):
        assert arbctl("export", session, "--format", form, "--output", tmp_path / f"rows.{form}")[0] == 0
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert lost([finite({**row, "blocks": 0}) | {"blocks": None} for row in rows],
                [json.loads(line) | {"blocks": None} for line in lines]) == []  # fmt: skip
    with (tmp_path / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM '{tmp_path / 'rows.parquet'}'")
        columns = [column[0] for column in found.description]
        records = [dict(zip(columns, values, strict=True)) for values in found.fetchall()]
    for row, line, record in zip(rows, table, records, strict=True):
        for column in ("iteration", "status", "worker_id", "timestamp", "error"):
            assert line[column] == str(row[column])
            assert record[column] == row[column]
        for kind in ("params", "metrics"):
            for key, value in row[kind].items():
                column = f"{kind[:-1]}_{key}"
                # Parquet has a null where there is no number.
                assert bits(math.nan if record[column] is None else record[column]) == bits(value)
                written: Any = line[column] if isinstance(value, str) else float(line[column] or "nan")
                assert bits(written) == bits(value if isinstance(value, str) else float(value))


@pytest.mark.parametrize("name", names())
def test_the_tables_beside_the_results_can_be_summarised(name: str, to_read: dict[str, Golden], arbctl_on: Any) -> None:
    golden = to_read[name]
    tables = sorted(golden.spool.glob("sessions/*/results.csv"))
    assert tables
    for table in tables:
        found = document(arbctl_on(golden), "summary", "--csv", table, "--metric", "value")
        assert found["total_iterations"] == len(golden.session(table.parent.name)["rows"])


@pytest.mark.parametrize(("name", "session", "iteration"), REPLAYS)
def test_recorded_metrics_are_reproduced_to_the_bit(
    name: str, session: str, iteration: int, to_read: dict[str, Golden], arbctl_on: Any
) -> None:
    golden = to_read[name]
    row = next(row for row in golden.session(session)["rows"] if row["iteration"] == iteration)
    status, out, _ = arbctl_on(golden)("replay", session, str(iteration), "--json")
    again = json.loads(out)
    if again["other_rules"]:
        # The paper engine of that version played by other rules: it is said, and what was recorded stays as it was.
        assert rules_of(row["metrics"]) < RULES and status == 1
        assert lost(finite(row["metrics"]), {**dict.fromkeys(row["metrics"]), **again["recorded"]}) == []
        return
    assert again["equal"] and status == 0
    assert lost(finite(row["metrics"]), {**dict.fromkeys(row["metrics"]), **again["replayed"]}) == []


@pytest.mark.parametrize("name", names())
def test_reports_comparisons_and_the_doctor_find_nothing_wrong(
    name: str, to_read: dict[str, Golden], arbctl_on: Any, tmp_path: Path
) -> None:
    golden = to_read[name]
    arbctl = arbctl_on(golden)
    for session in golden.expected["sessions"]:
        assert arbctl("report", session, "--output", tmp_path / f"{session}.html")[0] == 0
    assert arbctl("compare", "tpe", "bayesian", "--json")[0] == 0
    findings = json.loads(arbctl("doctor", "--json")[1])["findings"]
    # How the service of this host is set up says nothing of the spool.
    assert [f for f in findings if f["verdict"] == "broken" and not f["check"].startswith("service")] == []


def _as_then(golden: Golden, session: str) -> bool:
    """Whether its method suggests from the same results what it suggested when the spool was made."""
    spec = read_spec(Files(), SpoolLayout(golden.spool).session(session))
    learns = adaptive(spec.method)
    return learns is None or spec.sampler_versions.get(f"method {spec.method}", "1") == str(learns.revision)


@pytest.mark.parametrize("name", names())
def test_a_daemon_goes_on_with_everything_that_waits_and_leaves_alone_what_is_over(
    name: str, arbctl_on: Any, daemon: Any, tmp_path: Path
) -> None:
    golden = opened(name, tmp_path)
    arbctl = arbctl_on(golden)
    over = [session for n, session in OVER if n == name]
    before = {s: {p: p.read_bytes() for p in (golden.spool / "sessions" / s).rglob("*") if p.is_file()} for s in over}
    for session in (session for n, session in UNFINISHED if n == name):
        assert document(arbctl, "resume", session)["state"] == "running"
    job = golden.home / "jobs" / "warm.yaml"
    document(arbctl, "submit", job, "--session-id", "warmed-again")
    daemon(golden)
    states = {found["session_id"]: found["state"] for found in document(arbctl, "list")["sessions"]}
    assert {state for session, state in states.items() if session not in over} == {"done"}
    assert states.keys() >= {"waiting", "warmed-again"}
    for files in before.values():
        assert {path: path.read_bytes() for path in files} == files
    assert {p.name: p.read_text() for p in (golden.spool / "rejected").glob("*.txt")} == golden.expected["rejected"]
    for session in (session for n, session in UNFINISHED if n == name):
        recorded = len(golden.session(session)["rows"])
        rows, whole = rows_of(arbctl, session, tmp_path), golden.session(session)["undisturbed"]
        # Generations that are computed by other libraries than those that began may differ in the last bits.
        same = all(
            version(library) == told
            for worker in golden.expected["workers"]["workers"]
            for library, told in worker["versions"].items()
            if library in ("numpy", "scipy")
        )
        same &= _as_then(golden, session)
        fixed = not any((GOLDEN / name / SPOOL / "sessions" / session / "generations").glob("*.gen"))
        sure = len(whole) if same or fixed else recorded
        assert len(rows) == len(whole)
        assert lost(computed(whole)[:sure], computed(rows)[:sure]) == []


@pytest.mark.parametrize("name", names())
def test_a_worker_of_a_shell_joins_a_session_that_an_earlier_version_began(
    name: str, arbctl_on: Any, tmp_path: Path
) -> None:
    golden = opened(name, tmp_path)
    arbctl = arbctl_on(golden)
    for session in ("paused", "killed"):
        document(arbctl, "resume", session)
        job = golden.home / "jobs" / f"{session}.yaml"
        assert document(arbctl, "run", job, "--session-id", session, "--worker-id", "today")["state"] == "done"
        rows, whole = rows_of(arbctl, session, tmp_path), golden.session(session)["undisturbed"]
        assert lost(computed(whole), computed(rows)) == []


@pytest.mark.parametrize("name", names())
def test_failed_iterations_are_retried_and_the_others_stay(
    name: str, arbctl_on: Any, daemon: Any, tmp_path: Path
) -> None:
    golden = opened(name, tmp_path)
    arbctl, before = arbctl_on(golden), golden.session("grid")["rows"]
    failed = [row["iteration"] for row in before if row["status"] == "failed"]
    assert document(arbctl, "retry", "grid")["iterations"] == len(failed)
    daemon(golden)
    rows = rows_of(arbctl, "grid", tmp_path)
    assert [row["worker_id"] == "today" for row in rows] == [row["iteration"] in failed for row in rows]
    assert lost(computed(before), computed(rows)) == []


@pytest.mark.parametrize(("name", "session"), OVER)
def test_a_session_that_is_over_is_archived_and_comes_back_whole(
    name: str, session: str, to_read: dict[str, Golden], arbctl_on: Any, tmp_path: Path
) -> None:
    golden = to_read[name]
    document(arbctl_on(golden), "archive", session, "--output", tmp_path / "session.tar.gz")
    elsewhere = Golden(name, golden.expected, tmp_path / "spool", golden.config, golden.home)
    restore_all(elsewhere, [tmp_path / "session.tar.gz"], arbctl_on, tmp_path)


@pytest.mark.parametrize("name", names())
def test_archives_of_an_earlier_version_are_restored(name: str, arbctl_on: Any, tmp_path: Path) -> None:
    golden = opened(name, tmp_path)
    elsewhere = Golden(name, golden.expected, tmp_path / "elsewhere", golden.config, golden.home)
    restore_all(elsewhere, sorted((GOLDEN / name / ARCHIVES).glob("*.tar.gz")), arbctl_on, tmp_path)


def restore_all(golden: Golden, archives: list[Path], arbctl_on: Any, folder: Path) -> None:
    """Restore into a spool of its own, and compare each session with what was recorded of it."""
    assert archives
    golden.spool.mkdir()
    for part in ("incoming/.accepting", "sessions", "rejected", "workers"):
        (golden.spool / part).mkdir(parents=True)
    arbctl = arbctl_on(golden)
    for archive in archives:
        session = document(arbctl, "restore", archive)["session_id"]
        said = golden.session(session)
        assert lost(said["rows"], rows_of(arbctl, session, folder)) == []
        assert lost(said["summary"], document(arbctl, "summary", session, "--top-n", "3")) == []
