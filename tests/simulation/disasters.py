"""What goes wrong in a story: who makes a certain call after a certain time is killed, stopped, cut off, or worse."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.daemon import SimDaemon
from tests.simulation.disk import LOCAL
from tests.simulation.simsystem import LOCK_LEASE_S, Fault
from tests.simulation.world import Host, KilledError, Process

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario

STORM_S = 30.0
CALLS = ("fsync", "write", "rename", "lock", "make", "open", "open-write", "list", "read", "remove")
FILES = ("ledger", "ledger.lock", ".seg", "segments", "job", "results", "sessions", ".beat", ".yaml", "spec", ".taken")


@dataclass(frozen=True)
class Trigger:
    """Something happens to whoever first makes such a call after a time."""

    after_s: float
    call: str
    file: str
    what: str
    seconds: float


class Disasters:
    """Those of one story, drawn from its random numbers before it begins. `count` of them came about, and the power of all was cut `power_cuts` times."""

    def __init__(self, story: Scenario, *, planned: bool) -> None:
        self._story = story
        self._triggers = self._plan() if planned else []
        self.count = 0
        self.power_cuts = 0

    def clear(self) -> None:
        """Nothing more goes wrong."""
        self._triggers.clear()

    def _plan(self) -> list[Trigger]:
        # A job is refused whose attempts end that often with their process, rightly.
        rng, intake_deaths = self._story.rng, 2
        mishaps = ["kill", "kill", "kill", "stop", "drain", "slot", "intake", "intake", "fault", "fault-all", "site"]
        if self._story.kind != LOCAL:
            mishaps += ["freeze", "cut-off", "power", "power"]
        triggers = [
            Trigger(
                rng.uniform(0.5, STORM_S),
                rng.choice((*CALLS, "", "")),
                rng.choice((*FILES, "", "", "")),
                rng.choice(mishaps),
                rng.choice((rng.uniform(0.1, 3.0), rng.uniform(3.0, 25.0))),
            )
            for _ in range(rng.choice((0, 2, 5, 10, 20)))
        ]
        of_intake = [trigger for trigger in triggers if trigger.what == "intake"]
        return [trigger for trigger in triggers if trigger not in of_intake[intake_deaths:]]

    def called(self, process: Process, call: str, path: Path) -> None:
        now = self._story.world.now
        for trigger in self._triggers:
            if trigger.after_s <= now and trigger.call in ("", call) and trigger.file in path.name:
                daemon = next((d for d in self._story.daemons if process in d.processes), None)
                if daemon is not None:
                    self._triggers.remove(trigger)
                    self._befall(daemon, process, trigger)
                return

    def _befall(self, daemon: SimDaemon, process: Process, trigger: Trigger) -> None:
        world, what, seconds = self._story.world, trigger.what, trigger.seconds
        self.count += 1
        self._story.lines.append(
            f"{world.now:9.3f} == {what} {process.name} {seconds:.1f} s, at {trigger.call} {trigger.file}"
        )
        host = daemon.host
        if what == "kill":
            world.kill(daemon.process)
            world.at(world.now + seconds, lambda: self._story.start(host))
        elif what == "stop":
            for one in daemon.processes:
                one.stopped_until = world.now + seconds
        elif what == "drain":
            daemon.drain()
            world.at(world.now + seconds + 5.0, lambda: self._story.start(host))
        elif what == "slot":
            slot = next((slot for slot in daemon.slots if slot.process is process), None)
            # An iteration that runs would be blamed, rightly: only its own doing may do that here.
            if slot is not None and not slot.is_evaluating:
                slot.kill("")
        elif what == "intake":
            if daemon.intake is not None:
                world.kill(daemon.intake.process)
        elif what in ("fault", "fault-all"):
            number = world.rng.choice((errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EDQUOT, errno.EROFS))
            where = None if what == "fault-all" else host
            chance = world.rng.choice((0.1, 0.5, 1.0))
            self._story.around.faults.append(Fault(number, chance, where, world.now + seconds, number != errno.EIO))
        elif what in ("freeze", "cut-off"):
            self._away(host, what, seconds)
        elif what == "power":
            self._power_off(daemon)
            world.at(world.now + seconds, lambda: (self._story.around.locks.expire_dead(host), self._story.start(host)))
            world.at(world.now + LOCK_LEASE_S[self._story.kind], lambda: self._story.around.locks.expire_dead(host))
        elif what == "site":
            world.at(world.now, self._site_power_cut)
        if not process.alive:
            raise KilledError

    def _away(self, host: Host, what: str, seconds: float) -> None:
        world, lease_s = self._story.world, LOCK_LEASE_S[self._story.kind]
        if what == "freeze":
            host.frozen_until = world.now + seconds
        else:
            host.cut_off_until = world.now + seconds
        if seconds > lease_s:
            world.at(world.now + lease_s, lambda: self._lease_over(host))

    def _lease_over(self, host: Host) -> None:
        self._story.around.locks.expire(host)
        for daemon in self._story.daemons:
            if daemon.host is host:
                for system in daemon.systems:
                    system.outlive_lease()

    def _power_off(self, daemon: SimDaemon) -> None:
        for system in daemon.systems:
            system.lose_power()
        for process in daemon.processes:
            self._story.world.kill(process)

    def _site_power_cut(self) -> None:
        living = [daemon for daemon in self._story.daemons if daemon.process.alive]
        for daemon in living:
            self._power_off(daemon)
        for desk in self._story.desks:
            desk.die("power")
        self._story.disk.power_cut()
        self.power_cuts += 1
        self._story.around.locks.forget()
        self._story.checks.power_was_cut()
        for daemon in living:
            self._story.world.at(
                self._story.world.now + self._story.world.rng.uniform(0.5, 10.0),
                lambda host=daemon.host: self._story.start(host),
            )  # type: ignore[misc]
