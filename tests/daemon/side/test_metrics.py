"""What monitoring sees: every metric right, described, and the only ones that dashboard and alerts name."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from arbd.daemon.core.counters import LEASE_REVOKED, Counters, Histogram, MeasuredFiles, Snapshot
from arbd.daemon.host.config import MetricsSettings
from arbd.daemon.host.logs import Log
from arbd.daemon.side.metrics import Exporter
from arbd.errors import UsageError
from arbd.spool.files import Files
from arbd.spool.standing.firing import Standing
from tests.beds.needs import SEARCH, BedUnavailableError, require_programs
from tests.conftest import REPOSITORY, Arbctl, Daemons, wait_until
from tests.jobs import write_job


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Value by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def busy_counters() -> Counters:
    counters = Counters()
    counters.recorded((10, 2, 1, 0))
    counters.happened(LEASE_REVOKED)
    counters.chunk_wait.observe(0.02)
    counters.lock_wait.observe(0.0005)
    counters.lock_wait.observe(1000)
    counters.slots_busy = 2
    counters.standing_seen(
        [Standing("nightly", "active", last_fired_ns=5 * 10**9, next_due_ns=7 * 10**9, trouble="no data")]
    )
    counters.snapshot = Snapshot(
        {
            "slots": 4, "state": "running", "rate": 12.5, "trouble": "", "blocked": {"x": "no data"},
            "free_bytes": 100, "size_bytes": 1000, "free_inodes": 7, "versions": {"arbd": "1", "python": "3"},
            "executor": {
                "kind": "dask", "address": "tcp://h:1", "slots": 8, "ready": 6, "busy": 5, "workers": 3,
                "waits_for": "", "refused": {"tcp://h:2": "NumPy is 1.0 there"},
            },
            "mirror": {"state": "up", "behind": 5, "written": 9, "troubles": {}},
            "notify": {"desk": {"sent": 3, "failed": 1, "sends": True, "waiting": 2, "given_up": 0}},
            "retention": {"done": {"purged": 2}, "freed_bytes": 7, "troubles": {"s": "damaged"}},
        },
        {"s": {"pending": 3, "claimed": 4}},
        6,
    )  # fmt: skip
    return counters


@pytest.fixture
def shown() -> str:
    port = free_port()
    exporter = Exporter(MetricsSettings(listen=str(port)), busy_counters(), "w", Log())
    try:
        return scraped(port)
    finally:
        exporter.close()


def test_figures_are_shown_as_they_are(shown: str) -> None:
    found = samples(shown)
    expected = {
        ("arbd_iterations_total", "completed"): 10, ("arbd_iterations_total", "failed"): 2,
        ("arbd_iterations_total", "timeout"): 1, ("arbd_iterations_total", "crashed"): 0,
        ("arbd_slots",): 4, ("arbd_slots_busy",): 2, ("arbd_sessions",): 1, ("arbd_sessions_blocked",): 1,
        ("arbd_session_iterations", "s", "pending"): 3, ("arbd_session_iterations", "s", "claimed"): 4,
        ("arbd_rate_iterations_per_second",): 12.5, ("arbd_superseded_iterations",): 6,
        ("arbd_worker_state", "running"): 1, ("arbd_worker_state", "draining"): 0,
        ("arbd_events_total", "lease_revoked"): 1, ("arbd_events_total", "slot_died"): 0,
        ("arbd_spool_free_bytes",): 100, ("arbd_spool_trouble",): 0, ("arbd_spool_free_inodes",): 7,
        ("arbd_notices_sent_total", "desk"): 3, ("arbd_notices_waiting", "desk"): 2, ("arbd_notices_given_up", "desk"): 0,
        ("arbd_retention_sessions_total", "purged"): 2, ("arbd_retention_freed_bytes_total",): 7, ("arbd_retention_troubles",): 1,
        ("arbd_remote_slots",): 8, ("arbd_remote_slots_ready",): 6, ("arbd_remote_slots_busy",): 5, ("arbd_remote_workers",): 3,
        ("arbd_remote_workers_refused",): 1, ("arbd_remote_waiting",): 0,
        ("arbd_standing_last_fired_timestamp_seconds", "nightly"): 5, ("arbd_standing_failing", "nightly"): 1,
        ("arbd_standing_next_due_timestamp_seconds", "nightly"): 7, ("arbd_standing_paused", "nightly"): 0,
        ("arbd_mirror_up",): 1, ("arbd_mirror_lag_iterations",): 5, ("arbd_mirror_written_total",): 9,
        ("arbd_chunk_wait_seconds_bucket", "0.01"): 0, ("arbd_chunk_wait_seconds_bucket", "0.025"): 1,
        ("arbd_lock_wait_seconds_bucket", "0.001"): 1, ("arbd_lock_wait_seconds_bucket", "60"): 1,
        ("arbd_lock_wait_seconds_bucket", "+Inf"): 2, ("arbd_lock_wait_seconds_count",): 2,
        ("arbd_lock_wait_seconds_sum",): 1000.0005, ("target_info", "w"): 1, ("arbd_build_info", "1", "3"): 1,
    }  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected


def test_a_heartbeat_ages_while_the_spool_does_not_answer() -> None:
    assert Snapshot().age_s(1000.0) == 0.0
    assert Snapshot(taken_s=900.0).age_s(1000.0) == 100.0


def test_promtool_has_nothing_against_the_metrics_and_the_rules(shown: str) -> None:
    try:
        require_programs({"promtool": "prometheus"})
    except BedUnavailableError as error:
        pytest.skip(str(error))
    rules = REPOSITORY / "etc/prometheus"
    for command, text in (
        (["check", "metrics"], shown),
        (["check", "rules", str(rules / "arbd.rules.yml")], ""),
        (["test", "rules", str(rules / "arbd.rules.test.yml")], ""),
    ):
        done = subprocess.run(
            ["promtool", *command], input=text, capture_output=True, text=True, env={"PATH": SEARCH}, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus/arbd.rules.yml", "grafana/arbd.json", "../docs/metrics.md"])
def test_dashboard_alerts_and_page_name_metrics_that_there_are(name: str, shown: str) -> None:
    known = {sample.name for family in text_string_to_metric_families(shown) for sample in family.samples}
    named = set(re.findall(r"\barbd_[a-z_]+", (REPOSITORY / "etc" / name).read_text()))
    families = {re.sub("_(bucket|count|sum)$", "", metric) for metric in known}
    assert named <= known | families
    if name.endswith(".md"):
        assert {family for family in families if family.startswith("arbd_")} <= named


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board = json.loads((REPOSITORY / "etc/grafana/arbd.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 12
    for panel in board["panels"]:
        assert panel["title"]
        assert all(target["expr"] for target in panel["targets"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"metrics.listen {listen}: Address already in use; choose another"):
            Exporter(MetricsSettings(listen=listen), Counters(), "w", Log())


def test_loopback_is_meant_unless_a_host_is_named() -> None:
    assert MetricsSettings(listen="9464").address == ("127.0.0.1", 9464)
    assert MetricsSettings(listen=":9464").address == ("127.0.0.1", 9464)
    assert MetricsSettings(listen="[::1]:9464").address == ("::1", 9464)
    assert MetricsSettings(listen="0.0.0.0:1").address == ("0.0.0.0", 1)
    assert MetricsSettings().address is None
    for wrong in ("host", "host:port", "1:70000"):
        with pytest.raises(ValueError, match="expected host:port"):
            MetricsSettings(listen=wrong).address  # noqa: B018


def test_a_textfile_appears_whole_and_goes_with_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "arbd.prom"
    exporter = Exporter(MetricsSettings(textfile=str(path), textfile_s=0.05), busy_counters(), "w", Log())
    wait_until(path.exists)
    assert samples(path.read_text())["arbd_slots",] == 4
    exporter.close()
    assert list(tmp_path.iterdir()) == []


def test_a_textfile_that_cannot_be_written_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = MetricsSettings(textfile=str(tmp_path / "absent" / "arbd.prom"), textfile_s=0.01)
    exporter = Exporter(settings, Counters(), "w", Log())
    told = ""

    def was_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "metrics cannot be written" in told

    wait_until(was_told)
    (tmp_path / "absent").mkdir()
    wait_until((tmp_path / "absent" / "arbd.prom").exists)
    exporter.close()
    assert (told + capfd.readouterr().err).count("metrics cannot be written") == 1


def test_a_histogram_counts_each_once_in_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(seconds)
    assert histogram.cumulative() == ([("1", 2.0), ("2", 3.0), ("+Inf", 4.0)], 6.0)


def test_waiting_for_a_lock_is_measured_whether_it_was_had_or_not(tmp_path: Path) -> None:
    waits = Histogram((0.05,))
    files = MeasuredFiles(Files(), waits)
    with files.lock(tmp_path / "lock", 1.0), pytest.raises(TimeoutError), files.lock(tmp_path / "lock", 0.1):
        raise AssertionError("two holders")
    assert waits.cumulative()[0] == [("0.05", 1.0), ("+Inf", 2.0)]


@pytest.mark.bed
def test_a_daemon_shows_what_it_did(arbctl: Arbctl, daemons: Daemons, tmp_path: Path) -> None:
    port = free_port()
    arbctl.config.write_text(
        arbctl.config.read_text() + f"metrics: {{listen: '{port}', textfile: {tmp_path}/arbd.prom}}\n"
    )
    daemons.start("a", slots=2)
    space = {"n": {"type": "int", "bounds": [0, 9]}}
    job = write_job(tmp_path / "job.yaml", "samples:moody", 10, space=space, method="grid", execution={"retries": 0})
    assert arbctl("submit", job, "--session-id", "s", "--wait")[0] == 1

    def counters() -> dict[tuple[str, ...], float]:
        try:
            return samples(scraped(port))
        except urllib.error.URLError:
            return {}

    wait_until(lambda: counters().get(("arbd_iterations_total", "completed"), 0) + counters().get(("arbd_iterations_total", "failed"), 0) > 0)  # fmt: skip
    found = counters()
    told = json.loads(arbctl("status", "s", "--json")[1])
    counts = told["sessions"][0] if "sessions" in told else told
    for status in ("completed", "failed", "timeout", "crashed"):
        assert found["arbd_iterations_total", status] == counts["states"][status]
    assert found["arbd_events_total", "job_accepted"] == 1
    assert found["arbd_chunk_wait_seconds_count",] > 0
    assert found["arbd_lock_wait_seconds_count",] > 0
    assert found["arbd_spool_free_bytes",] > 0
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))  # it listens on 127.0.0.1, not on every address
