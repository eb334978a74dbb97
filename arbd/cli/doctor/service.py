"""Is the service installed on this host, running, and locked down?"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from arbd.cli.doctor.finding import WARNING, Finding, judged

UNIT = "arbd.service"
EXPOSED = 3.0


def examine() -> Iterator[Finding]:
    """The unit as systemd sees it."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        yield Finding("unit", WARNING, "no systemd here", "any supervisor that restarts `arbd run` does")
        return
    shown = _run(systemctl, "show", UNIT, "--property=LoadState,ActiveState,SubState,NRestarts,UnitFileState")
    about = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if about.get("LoadState") != "loaded":
        why = "systemd does not run here" if not about else f"{UNIT} is not installed"
        yield Finding("unit", WARNING, why, "sudo bin/install, or the Debian package; not needed to submit from here")
        return
    state, restarts = about.get("ActiveState", "?"), about.get("NRestarts", "0")
    found = f"{UNIT} is {state}, {about.get('UnitFileState', '?')} at boot, {restarts} restarts"
    remedy = f"sudo systemctl enable --now {UNIT}; arbctl logs tells why it stopped"
    yield judged("unit", found, broken=state == "failed", warning=state != "active", remedy=remedy)
    yield from drop_ins()
    yield hardening()


def drop_ins() -> Iterator[Finding]:
    """Sandboxes that do not fit the settings: what these name since may not be read, written or reached."""
    from arbd.daemon.host.unit import stale

    for unit, remedy in stale():
        yield Finding("drop-in", WARNING, f"{unit} is not fitted to its settings as they are now", remedy)


def hardening() -> Finding:
    """Systemd's own judgement of the sandbox."""
    program = shutil.which("systemd-analyze")
    text = _run(program, "security", UNIT, "--no-pager") if program else ""
    last = next((line for line in reversed(text.splitlines()) if "exposure level" in line.lower()), "")
    numbers = [word for word in last.replace(":", " ").split() if word.replace(".", "", 1).isdigit()]
    if not numbers:
        return Finding(
            "hardening", WARNING, "systemd-analyze security says nothing", f"run it: systemd-analyze security {UNIT}"
        )
    level = float(numbers[0])
    remedy = f"compare `systemctl cat {UNIT}` with the unit that arbd brings: an override may open it"
    return judged("hardening", f"exposure {level:g} of 10", warning=level > EXPOSED, remedy=remedy)


def _run(program: str, *arguments: str) -> str:
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
