"""What systemd is told: ready only when the spool is usable, alive while the loop turns, stopping on SIGTERM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.spool.layout import SpoolLayout
from tests.conftest import REPOSITORY, Arbctl, Daemons, wait_until
from tests.jobs import write_job


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(20)
        yield server


def start(spool: Path, notify: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "400000"}
    command = [
        sys.executable, "-m", "arbd.daemon", "run", "--spool", str(spool), "--worker-id", "w", "--slots", "1", *options
    ]  # fmt: skip
    return subprocess.Popen(command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def next_told(manager: socket.socket, wanted: str) -> str:
    """The next notification that begins so; those between are of the watchdog and the status line."""
    while not (told := manager.recv(900).decode()).startswith(wanted):
        assert told.startswith(("WATCHDOG=1", "STATUS=")), told
    return told


@pytest.mark.bed
def test_ready_alive_stopping(layout: SpoolLayout, manager: socket.socket, tmp_path: Path) -> None:
    process = start(layout.root, tmp_path / "notify")
    try:
        assert manager.recv(500).startswith(b"READY=1\nSTATUS=")
        assert (layout.incoming).is_dir()
        assert next_told(manager, "WATCHDOG") == "WATCHDOG=1"
        assert next_told(manager, "STATUS") == "STATUS=0 sessions, 0 of 1 slots busy"
        process.terminate()
        assert next_told(manager, "STOPPING=1") == "STOPPING=1\nSTATUS=draining"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.bed
def test_a_main_loop_that_stands_still_tells_no_watchdog(
    layout: SpoolLayout, manager: socket.socket, tmp_path: Path
) -> None:
    process = start(layout.root, tmp_path / "notify")
    try:
        next_told(manager, "READY=1")
        next_told(manager, "WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        manager.settimeout(1.0)
        with pytest.raises(TimeoutError):
            while True:
                manager.recv(500)
        process.send_signal(signal.SIGCONT)
        manager.settimeout(20)
        next_told(manager, "WATCHDOG=1")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.bed
def test_a_hangup_reads_the_settings_again_and_a_wrong_file_changes_nothing(
    layout: SpoolLayout, manager: socket.socket, tmp_path: Path
) -> None:
    settings = tmp_path / "arbd.yaml"
    settings.write_text("log_style: json\nslots: 1\n")
    began_usec = time.monotonic_ns() // 1000
    process = start(layout.root, tmp_path / "notify", "--config", str(settings))
    try:
        next_told(manager, "READY=1")
        for text, changed in (("slots: [", None), ("log_style: json\nbeat_s: 0.3\nslots: 1\ndrain_timeout_s: 7\n", 2)):
            settings.write_text(text)
            process.send_signal(signal.SIGHUP)
            told = next_told(manager, "RELOADING=1").splitlines()
            assert began_usec < int(told[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
            ready = next_told(manager, "READY=1")
            assert ("the settings are wrong and the old ones stay in force" in ready) == (changed is None)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        _, err = process.communicate()
    events = {event["event"]: event for event in map(json.loads, err.splitlines())}
    assert f"{settings}" in events["the settings are wrong; the old ones stay in force"]["reason"]
    assert events["settings read"]["changed"] == "beat_s,drain_timeout_s"
    assert events["draining"]["within_s"] == 7.0


@pytest.mark.bed
def test_what_may_run_here_changes_without_a_restart(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    settings = arbctl.config.read_text()
    arbctl.config.write_text(settings.replace("'python:*'", "'python:other:*'"))
    daemon = daemons.start("a", slots=1)
    job = write_job(tmp_path / "job.yaml", "samples:quick", 20)
    arbctl.config.write_text(settings)
    wait_until(lambda: "started" in daemons.log())
    daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: "settings read" in daemons.log())
    assert arbctl("submit", job, "--session-id", "s", "--wait")[0] == 0
    arbctl.config.write_text(settings + "slots: 3\nwatch: polling\n")
    daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: "settings that changed wait for a restart" in daemons.log())
    assert "settings=watch" in daemons.log()  # the command line has --slots, so that did not change


@pytest.mark.bed
def test_never_ready_on_a_spool_that_is_not_there(manager: socket.socket, tmp_path: Path) -> None:
    process = start(tmp_path / "absent", tmp_path / "notify")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "does not exist: mount the shared folder" in err
    manager.settimeout(0.2)
    with pytest.raises(TimeoutError):
        manager.recv(500)


def test_the_unit_for_several_spools_is_the_same_but_for_its_names() -> None:
    one, several = (
        (REPOSITORY / "systemd" / name).read_text().splitlines() for name in ("arbd.service", "arbd@.service")
    )
    changed = [(a, b) for a, b in zip(one, several, strict=True) if a != b]
    assert changed == [
        ("Description=arbd, tuning of arbitrage strategies from a shared folder",
         "Description=arbd, tuning of arbitrage strategies from a shared folder (%i)"),
        ("# that `arbd unit --write` makes from /etc/arbd/arbd.yaml.",
         "# that `arbd unit --write --instance NAME` makes from /etc/arbd/NAME.yaml."),
        ("ExecStart=/opt/arbd/bin/arbd run --config /etc/arbd/arbd.yaml",
         "ExecStart=/opt/arbd/bin/arbd run --config /etc/arbd/%i.yaml"),
        ("RuntimeDirectory=arbd", "RuntimeDirectory=arbd-%i"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["arbd.service", "arbd@.service"])
def test_the_unit_exposes_little(name: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze on this machine")
    command = [tool, "security", "--offline=yes", "--threshold=12", "--no-pager", str(REPOSITORY / "systemd" / name)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_installer_shows_what_it_would_do_and_refuses_what_it_does_not_know() -> None:
    installer = REPOSITORY / "bin" / "install"
    shown = subprocess.run([installer, "--dry-run"], capture_output=True, text=True, check=True).stdout
    for target in (
        "/etc/systemd/system/arbd.service",
        "/usr/lib/sysusers.d/arbd.conf",
        "/usr/lib/tmpfiles.d/arbd.conf",
    ):
        assert target in shown
    assert (
        "rm -rf /opt/arbd"
        in subprocess.run([installer, "--dry-run", "--uninstall"], capture_output=True, text=True, check=True).stdout
    )
    refused = subprocess.run([installer, "--frobnicate"], capture_output=True, text=True, check=False)
    assert (refused.returncode, "unknown option" in refused.stderr) == (2, True)
