"""The Debian package: installed under a booted systemd and set up as the guide says, it works there, and goes again."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.beds.booted import BootedSystem
from tests.conftest import REPOSITORY, brought_up, wait_until
from tests.guide import AS_ROOT, commands

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600 if not os.environ.get("ARBD_TEST_WHOLE_PACKAGE") else 7_200)]
# The whole package compiles the engine when it is installed, on a machine that may be busy.
INSTALL_S = 1_800.0


def build(folder: Path, *, whole: bool, source: Path = REPOSITORY) -> Path:
    """The package; unless it is the whole, without what arbd needs from PyPI, which takes minutes and 150 MB."""
    command = [source / "bin/package", *([] if whole else ["--bare"]), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "apt install python3-venv" in done.stderr or "is missing; this is for Debian" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def edited_source(folder: Path) -> Path:
    """This project, with a change in what computes."""
    folder.mkdir()
    for name in subprocess.check_output(["git", "ls-files"], cwd=REPOSITORY, text=True).splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    with (folder / "arbd/search/seeds.py").open("a") as seeds:
        seeds.write("# Another version.\n")
    return folder


def upgrade(system: BootedSystem, folder: Path, *, whole: bool) -> None:
    """From the moment that dpkg unpacks another version until the restart, the daemon has the files that it began with."""
    old = system.run("readlink", "/opt/arbd/current").strip()
    package = build(system.share, whole=whole, source=edited_source(folder / "edited"))
    pid = system.run("systemctl", "show", "-p", "MainPID", "--value", "arbd").strip()
    system.run("dpkg", "--unpack", f"/mnt/files/{package.name}", timeout_s=INSTALL_S)
    seeds = f"/opt/arbd/{old}/lib/python3*/site-packages/arbd/search/seeds.py"
    assert "Another" not in system.run("sh", "-c", f"cat {seeds}")
    # From there the daemon imports, and starts the processes of its slots.
    assert f"/opt/arbd/{old}/bin/python" in system.run("cat", f"/proc/{pid}/cmdline")
    assert system.run("systemctl", "show", "-p", "MainPID", "--value", "arbd").strip() == pid
    system.run("dpkg", "--configure", "arbd", timeout_s=INSTALL_S)
    new = system.run("readlink", "/opt/arbd/current").strip()
    assert new != old
    assert "Another" in system.run("sh", "-c", f"cat {seeds.replace(old, new)}")
    assert system.run("ls", "/opt/arbd/versions").split() == [new.removeprefix("versions/")]
    running = system.run("systemctl", "show", "-p", "MainPID", "--value", "arbd").strip()
    assert f"/opt/arbd/{new}/bin/python" in system.run("cat", f"/proc/{running}/cmdline")


def test_the_package_installs_works_and_goes(tmp_path: Path) -> None:
    whole = bool(os.environ.get("ARBD_TEST_WHOLE_PACKAGE"))
    with brought_up(BootedSystem(tmp_path, installed=False)) as system:
        package = build(system.share, whole=whole)
        told = system.run("dpkg", "-i", f"/mnt/files/{package.name}", timeout_s=INSTALL_S)
        assert "set spool in /etc/arbd/arbd.yaml" in told
        for path in (
            "/usr/bin/arbd",
            "/usr/bin/arbctl",
            "/usr/share/arbd/grafana/arbd.json",
            "/usr/share/doc/arbd/copyright",
        ):
            system.run("test", "-e", path)
        for source, target in (
            ("docs/man/arbctl.1", "/usr/share/man/man1/arbctl.1.gz"),
            ("etc/completion/arbctl.bash", "/usr/share/bash-completion/completions/arbctl"),
        ):
            if (REPOSITORY / source).exists():
                system.run("test", "-e", target)
        assert system.run("stat", "-c", "%U:%G %a", "/var/lib/arbd/spool") == "arbd:arbd 2770\n"
        assert system.run("systemd-analyze", "verify", "--man=no", "arbd.service") == ""
        if not whole:
            system.write(
                "/etc/systemd/system/arbd.service.d/packages.conf", "[Service]\nEnvironment=PYTHONPATH=/mnt/packages\n"
            )
        environment = [] if whole else ["env", "PYTHONPATH=/mnt/packages"]
        told = system.run(*environment, "sh", "-c", AS_ROOT + commands("install.md", "Then either way:"), timeout_s=180)
        assert " running " in told
        system.write("/tmp/job.yaml", "objective: {command: [/usr/bin/env]}\nmetric: x\ntuning: {method: random, max_iterations: 3, search_space: {x: {type: float, bounds: [0, 1]}}}\n")  # fmt: skip
        system.run(*environment, "arbctl", "submit", "/tmp/job.yaml", "--session-id", "s")
        # What came with it allows the paper objective alone, and its daemon is the one that says so.
        wait_until(
            lambda: "not allowed on this host" in system.run("journalctl", "-u", "arbd", "ARBD_EVENT=job rejected")
        )
        upgrade(system, tmp_path, whole=whole)
        assert "arbd@" in system.run("systemctl", "list-unit-files", "--no-legend", "arbd@.service")
        again = system.run("dpkg", "-i", f"/mnt/files/{package.name}", timeout_s=INSTALL_S)
        assert "set spool" not in again
        assert system.run("systemctl", "is-active", "arbd") == "active\n"
        system.run("dpkg", "--remove", "arbd", timeout_s=120)
        assert system.run("pgrep", "-u", "arbd", check=False) == ""
        assert (
            system.run("sh", "-c", "ls -d /opt/arbd /usr/bin/arbd 2>/dev/null; ls /etc/arbd", check=False)
            == "arbd.yaml\n"
        )
        assert "not-found" in system.run("systemctl", "show", "-p", "LoadState", "arbd")
        system.run("dpkg", "--purge", "arbd")
        system.run("test", "!", "-e", "/etc/arbd")
        system.run("test", "-d", "/var/lib/arbd/spool")
