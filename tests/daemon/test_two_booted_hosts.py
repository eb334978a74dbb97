"""Two hosts as an administrator has them: systemd, the unit, users of their own, one folder on a real network filesystem.

Whatever happens to one of them, the commands of the other say the truth, and it comes back by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.beds.booted import BootedSystem
from tests.beds.gluster import GlusterBed
from tests.conftest import brought_up, wait_until

pytestmark = [pytest.mark.bed, pytest.mark.slow, pytest.mark.timeout(900)]

# Hosts that share two processors with all other tests take their time.
PATIENCE_S = 240.0
SETTINGS = """
spool: /mnt/arbd/spool
allow: ['python:*']
objective_paths: [/mnt/arbd/data]
slots: 1
lease_s: 10
"""
OBJECTIVE = "import time\ndef slow(params):\n    time.sleep(0.1)\n    return {'value': params['x']}\n"
JOB = """
objective: {python: 'far_objective:slow'}
metric: value
tuning: {method: random, max_iterations: 600, search_space: {x: {type: float, bounds: [0, 1]}}}
"""


class Hosts:
    """`alpha` and `beta`, with a person on each."""

    def __init__(self, bed: GlusterBed, alpha: BootedSystem, beta: BootedSystem) -> None:
        self.bed = bed
        self.systems = {"alpha": alpha, "beta": beta}
        self.users = {"alpha": "alice", "beta": "bob"}

    def set_up(self, name: str) -> None:
        system = self.systems[name]
        # Whose a file is goes by numbers, which are the same on all hosts.
        for number, user in enumerate(self.users.values(), 1001):
            system.run("useradd", "-m", "-u", str(number), "-G", "arbd", user)
        system.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/arbd.conf")
        if name == "alpha":
            system.run("install", "-d", "-o", "arbd", "-g", "arbd", "-m", "2770", "/mnt/arbd/spool", "/mnt/arbd/data")
            system.write("/mnt/arbd/data/far_objective.py", OBJECTIVE)
            system.write("/mnt/arbd/data/job.yaml", JOB)
        system.write("/etc/arbd/arbd.yaml", SETTINGS)
        system.run("/opt/arbd/bin/arbd", "unit", "--write")
        system.run("systemctl", "enable", "--now", "arbd", timeout_s=PATIENCE_S)

    def arbctl(self, name: str, *arguments: str, check: bool = True) -> str:
        """A command of the person on that host."""
        command = ["runuser", "-u", self.users[name], "--", "env", "HOME=/tmp", "/opt/arbd/bin/arbctl", *arguments]
        return self.systems[name].run(*command, check=check, timeout_s=PATIENCE_S)

    def worker(self, on: str, name: str) -> dict[str, Any]:
        told = json.loads(self.arbctl(on, "workers", "--json", "--all", check=False) or '{"workers": []}')["workers"]
        return next((one for one in told if one["worker_id"] == name), {})

    def state(self, on: str, name: str) -> str:
        """In one word, as one host has it of another."""
        found = self.worker(on, name)
        if not found.get("alive"):
            return "gone"
        return "silent" if found["silent_s"] is not None else str(found["state"])

    def status(self, on: str, session: str) -> dict[str, Any]:
        return dict(json.loads(self.arbctl(on, "status", session, "--json")))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        bed = stack.enter_context(brought_up(GlusterBed(tmp_path / "gluster")))
        systems = []
        for name, mount in zip(("alpha", "beta"), bed.mounts, strict=True):
            (tmp_path / name).mkdir()
            system = BootedSystem(tmp_path / name, hostname=name, binds={"/mnt/arbd": mount})
            systems.append(stack.enter_context(brought_up(system)))
        bed.mounts[0].chmod(0o755)
        found = Hosts(bed, *systems)
        for name in found.systems:
            found.set_up(name)
        yield found


def test_the_other_host_says_the_truth_of_one_that_is_drained_cut_off_or_without_power_and_it_comes_back(
    hosts: Hosts,
) -> None:
    def until(on: str, name: str, *states: str) -> None:
        wait_until(lambda: hosts.state(on, name) in states, PATIENCE_S, f"{name} to be {states}, as {on} has it")

    for name in ("alpha", "beta"):
        until("beta", name, "running")
    hosts.arbctl("alpha", "submit", "/mnt/arbd/data/job.yaml", "--session-id", "s")
    wait_until(
        lambda: all(hosts.worker("beta", name).get("done") for name in ("alpha", "beta")), PATIENCE_S, "both at work"
    )

    # What a person does on one host is known on both, with its author.
    hosts.arbctl("beta", "pause", "s", "--reason", "room")
    hosts.arbctl("beta", "resume", "s")
    hosts.arbctl("alpha", "drain", "beta", "--reason", "new memory")
    for on in ("alpha", "beta"):
        until(on, "beta", "drained")
        assert "drained by alice on alpha: new memory" in hosts.arbctl(on, "workers")
        told = json.loads(hosts.arbctl(on, "history", "s", "--json"))["history"]
        acts = [
            (one["what"], one["user"], one["host"]) for one in told if one["what"] in ("submitted", "pause", "resume")
        ]
        assert acts == [("submitted", "alice", "alpha"), ("pause", "bob", "beta"), ("resume", "bob", "beta")]
    hosts.arbctl("beta", "undrain", "beta")
    until("alpha", "beta", "running")

    # Its network is gone: the other one misses it, whatever the file server believes of its locks.
    hosts.bed.unplug(0)
    until("beta", "alpha", "silent", "gone")
    hosts.bed.plug(0)
    until("beta", "alpha", "running")

    # Its power is gone, and comes back: nobody does anything by hand.
    before = hosts.worker("beta", "alpha")["pid"], hosts.worker("beta", "alpha")["beats"]
    hosts.systems["alpha"].cut_power()
    until("beta", "alpha", "gone")
    hosts.systems["alpha"].boot()
    until("beta", "alpha", "running")
    assert (hosts.worker("beta", "alpha")["pid"], hosts.worker("beta", "alpha")["beats"]) != before
    wait_until(lambda: hosts.status("beta", "s")["state"] == "done", PATIENCE_S, "the end of the session")
    for on in ("alpha", "beta"):
        told = hosts.status(on, "s")
        assert (told["iterations"], told["statuses"]["completed"]) == (600, 600)
