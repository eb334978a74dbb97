"""Under a systemd that knows Type=notify-reload (253 and newer), `systemctl reload` returns when settings are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beds.booted import NEXT_RELEASE, BootedSystem
from tests.conftest import brought_up

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

SETTINGS = "spool: /mnt/share/spool\nworker_id: booted\nslots: 1\ndrain_timeout_s: 4\n"


def said(system: BootedSystem, event: str) -> int:
    """How often the daemon said that, as of now."""
    system.run("journalctl", "--sync")
    told = system.run("journalctl", "--unit=arbd", "--output=cat", "--no-pager", f"ARBD_EVENT={event}", check=False)
    return len([line for line in told.splitlines() if line.startswith(event)])


def test_the_command_to_reload_returns_when_the_settings_are_read(tmp_path: Path) -> None:
    with brought_up(BootedSystem(tmp_path, release=NEXT_RELEASE)) as system:
        system.configure(SETTINGS)
        assert system.run("systemd-analyze", "verify", "--man=no", "arbd.service", "arbd@second.service") == ""
        system.run("systemd-analyze", "security", "--threshold=12", "--no-pager", "arbd.service")
        system.run("systemctl", "start", "arbd", timeout_s=120)
        assert system.run("systemctl", "show", "arbd", "--property=Type") == "Type=notify-reload\n"
        system.write("/etc/arbd/arbd.yaml", SETTINGS.replace("drain_timeout_s: 4", "drain_timeout_s: 3"))
        system.run("systemctl", "reload", "arbd")
        assert said(system, "settings read") == 1
        system.write("/etc/arbd/arbd.yaml", "slots: [\n")
        system.run("systemctl", "reload", "arbd")
        assert said(system, "the settings are wrong; the old ones stay in force") == 1
        assert system.run("systemctl", "is-active", "arbd") == "active\n"
        system.run("systemctl", "stop", "arbd", timeout_s=60)
        told = system.run("systemctl", "show", "arbd", "--property=Result,NRestarts")
        assert sorted(told.splitlines()) == ["NRestarts=0", "Result=success"]
