"""Settings, logs, systemd notifications, and which filesystems are watched how."""

from __future__ import annotations

import errno
import json
import socket
import threading
from pathlib import Path

import pytest
from watchdog.observers.inotify import InotifyEmitter

from arbd.daemon.host import watch
from arbd.daemon.host.config import Config, default_cache_dir, load_config, override
from arbd.daemon.host.logs import Log, key_values
from arbd.daemon.host.notify import Notifier, watchdog_interval_s
from arbd.daemon.host.watch import start_watching
from arbd.daemon.slots.progress import EVALUATING, IDLE, LOADING, ProgressPage
from arbd.errors import JobError, UsageError
from tests.conftest import REPOSITORY, wait_until


def test_the_shipped_settings_are_the_defaults() -> None:
    shipped, default = load_config(REPOSITORY / "etc" / "arbd.yaml"), Config()
    assert shipped == default


def test_every_setting_is_in_the_shipped_file() -> None:
    text = (REPOSITORY / "etc" / "arbd.yaml").read_text()
    assert [name for name in Config.__dataclass_fields__ if f"{name}:" not in text] == []


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "arbd.yaml"
    path.write_text(text)
    return path


def test_the_environment_and_the_command_line_go_before_the_file(tmp_path: Path) -> None:
    path = settings(tmp_path, "spool: here\nslots: 3\nworker_id: file\nbeat_s: 2\n")
    config = load_config(path, {})
    assert (config.spool, config.slots, config.beat_s) == (tmp_path / "here", 3, 2.0)
    assert load_config(path, {"ARBD_SPOOL": "."}).spool == Path.cwd()
    config = load_config(None, {"ARBD_CONFIG": str(path), "ARBD_SPOOL": "/elsewhere", "ARBD_WORKER_ID": "env"})
    assert (config.spool, config.worker_id) == (Path("/elsewhere"), "env")
    assert override(config, slots=5, worker_id=None).slots == 5


@pytest.mark.parametrize("text", ["9464", "'9464'", "127.0.0.1:9464"])
def test_metrics_listen_on_a_port_however_it_is_written(tmp_path: Path, text: str) -> None:
    path = settings(tmp_path, f"metrics: {{listen: {text}}}\n")
    assert load_config(path, {}).metrics.address == ("127.0.0.1", 9464)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slot: 3", r"line 1: unknown setting 'slot'; did you mean 'slots'"),
        ("\nslots: many", "line 2: slots: expected an integer, got 'many'"),
        ("slots: 0", "slots is 0; it can be 1 to 1024"),
        ("slots: true", "expected an integer"),
        ("scan_s: soon", "expected a number"),
        ("chunk_target_s: .nan", "line 1: chunk_target_s: expected a finite number, got nan"),
        ("drain_timeout_s: .inf", "expected a finite number"),
        ("metrics: {listen: true}", "expected a string"),
        ("scan_s: 0", "scan_s is 0.0; it must be more than 0"),
        ("watch: sometimes", "watch is 'sometimes'; it can be auto, inotify, polling"),
        ("allow: paper", "expected a list of strings"),
        ("spool: [1]", "expected a path"),
        ("log_level: 7", "expected a string"),
        ("worker_id: a/b", "worker_id 'a/b' is not usable"),
        ("lease_s: 2", "must be at least three times beat_s"),
        ("[1]", "expected settings"),
    ],
)
def test_a_wrong_setting_is_told_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config(settings(tmp_path, text), {})


def test_a_settings_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml", {})


def test_the_cache_goes_where_systemd_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/arbd:/other")
    assert default_cache_dir() == Path("/var/cache/arbd")
    monkeypatch.delenv("CACHE_DIRECTORY")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/arbd")


def test_log_lines_are_key_value_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    Log("info", "text", worker="w").warning("a slot died", reason='said "no"', n=3)
    line = capsys.readouterr().err
    assert 'level=warning event="a slot died" worker=w reason="said \\"no\\"" n=3' in line
    Log("info", "json", worker="w").error("bad", path=Path("/x"), n=1.5)
    document = json.loads(capsys.readouterr().err)
    assert (document["event"], document["path"], document["n"]) == ("bad", "/x", 1.5)
    Log("warning").info("quiet")
    Log("warning").debug("quiet")
    assert capsys.readouterr().err == ""
    assert key_values({"a": ""}) == 'a=""'


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@arbd-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if abstract else name)
        server.settimeout(5)
        Notifier(name).send("READY=1", "STATUS=up")
        assert server.recv(100) == b"READY=1\nSTATUS=up"
    Notifier(str(tmp_path / "nobody")).send("READY=1")
    Notifier("").send("READY=1")


def test_the_watchdog_interval_is_half_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watchdog_interval_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert watchdog_interval_s() == 1.5
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_interval_s() is None


@pytest.mark.parametrize("mode", ["inotify", "polling", "auto"])
def test_a_new_file_wakes_at_once(tmp_path: Path, mode: str) -> None:
    woken = threading.Event()
    observer = start_watching(tmp_path, mode, 0.1, woken.set)
    try:
        (tmp_path / "job.yaml").write_text("x")
        wait_until(woken.is_set, 10)
    finally:
        observer.stop()
        observer.join()


def test_a_change_while_a_watch_is_being_stopped_is_nothing_to_speak_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    observer = start_watching(tmp_path, "inotify", 0.1, threading.Event().set)
    (emitter,) = observer.emitters
    observer.stop()
    observer.join()
    emitter.queue_events(1)
    assert caplog.records == []


@pytest.mark.parametrize("mode", ["inotify", "auto"])
def test_where_no_inotify_watch_is_left_the_folder_is_polled_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    def used_up(emitter: InotifyEmitter) -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(InotifyEmitter, "on_thread_start", used_up)
    monkeypatch.setattr(watch, "filesystem_type", lambda path: "ext4")
    woken = threading.Event()
    observer = start_watching(tmp_path, mode, 0.1, woken.set, Log(worker="w"))
    try:
        assert 'level=warning event="no inotify: incoming/ is polled" worker=w' in capsys.readouterr().err
        (tmp_path / "job.yaml").write_text("x")
        wait_until(woken.is_set, 10)
    finally:
        observer.stop()
        observer.join()


def test_progress_is_seen_from_the_other_side(tmp_path: Path) -> None:
    parent = ProgressPage(tmp_path / "p", create=True)
    slot = ProgressPage(tmp_path / "p")
    slot.announce(77)
    slot.loading(5, 100)
    assert (parent.look().pid, parent.look().task, parent.look().phase) == (77, 5, LOADING)
    slot.evaluating(10, 3, 200)
    look = parent.look()
    assert (look.phase, look.first, look.count, look.started_ns) == (EVALUATING, 10, 3, 200)
    slot.idle()
    assert parent.look().phase == IDLE
    assert not slot.should_stop(5)
    parent.stop_tasks_up_to(5)
    assert slot.should_stop(5)
    assert not slot.should_stop(6)
    parent.close()
    slot.close()
