"""What systemd is told: ready only when the spool is usable, alive while the loop turns, stopping on SIGTERM."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.spool.layout import SpoolLayout
from tests.conftest import REPOSITORY


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(20)
        yield server


def start(spool: Path, notify: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "400000"}
    command = [sys.executable, "-m", "arbd.daemon", "run", "--spool", str(spool), "--worker-id", "w", "--slots", "1"]
    return subprocess.Popen(command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


@pytest.mark.bed
def test_ready_alive_stopping(layout: SpoolLayout, manager: socket.socket, tmp_path: Path) -> None:
    process = start(layout.root, tmp_path / "notify")
    try:
        assert manager.recv(500).startswith(b"READY=1\nSTATUS=")
        assert (layout.incoming).is_dir()
        assert manager.recv(500) == b"WATCHDOG=1"
        process.terminate()
        while (told := manager.recv(500)) == b"WATCHDOG=1":
            pass
        assert told.startswith(b"STOPPING=1")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.bed
def test_never_ready_on_a_spool_that_is_not_there(manager: socket.socket, tmp_path: Path) -> None:
    process = start(tmp_path / "absent", tmp_path / "notify")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "does not exist: mount the shared folder" in err
    manager.settimeout(0.2)
    with pytest.raises(TimeoutError):
        manager.recv(500)


def test_the_unit_is_one_that_systemd_accepts() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze on this machine")
    unit = REPOSITORY / "systemd" / "arbd.service"
    found = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True, check=False)
    told = [line for line in (found.stdout + found.stderr).splitlines() if "is not executable" not in line]
    assert told == []


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
