"""A standing job on virtual hosts whose calendars differ, that are killed, frozen and cut from power: what it makes.

The calendar runs so much faster than the rest of the world that a story of minutes has many nights.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path

from arbd.errors import ArbdError
from arbd.job.spec import JobSpec
from arbd.spool import acts, ledger
from arbd.spool.files import Files
from arbd.spool.held import Taker
from arbd.spool.intake import Intake
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Observer
from arbd.spool.outcomes import Rejected
from arbd.spool.provenance import Actor, Submission
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_names
from arbd.spool.standing.calendar import Schedule
from arbd.spool.standing.firing import Firing, StandingJobs, Written
from arbd.spool.standing.folder import StandingFolder, StandingSpec, digest_of, fired_line, open_standing
from arbd.spool.standing.records import StandingJob
from tests.simulation.checks import Inspector
from tests.simulation.disk import LOCAL, NFS, Disk
from tests.simulation.side import TIMING
from tests.simulation.simsystem import LOCK_LEASE_S, LockTable, SimClock, SimSystem, Surroundings
from tests.simulation.world import Host, KilledError, Process, World
from tests.spool.sessions import spec_of

# The clocks leap in Zurich in the middle of it.
BEGIN_NS = 1_774_656_000 * 10**9  # 2026-03-28T00:00Z
SPEED = 3_000
DAY_S = 86_400.0
STORM_S, PATIENCE_S = 150.0, 260.0
NAME = "night"
ACTOR = Actor(user="user", uid=1, host="desk", wall_ns=1)


@dataclass
class FastClock(SimClock):
    """A host's clocks, the calendar faster, and off by what its host believes."""

    world: World
    host: Host

    def __post_init__(self) -> None:
        super().__init__(self.world, self.host)

    def wall_ns(self) -> int:
        return BEGIN_NS + int((self.world.now * SPEED + self.host.wall_offset_s) * 1e9)


@dataclass
class StandingStory:
    """One seed. `hosts` may be wrong by up to `skew_s` about the date. `deaths` of processes came about."""

    seed: int
    skew_s: float = 20 * 3600.0
    calm: bool = False
    deaths: int = 0
    rejected: list[str] = field(default_factory=list)
    troubles: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rng = self.rng = random.Random(f"standing {self.seed}")
        self.world = World(self.seed)
        self.layout = SpoolLayout(Path("/spool"))
        self.kind = rng.choice((LOCAL, NFS))
        self.disk = Disk(self.world, self.kind, self.layout.root)
        self.around = Surroundings(self.world, self.disk, LockTable(self.world), slow=rng.choice((0.3, 2.0)))
        self.desk = Host("desk", 0.0, 0.0, 1.0)
        for folder in self.layout.folders():
            self.disk.make(self.desk, folder, folder=True)
            self.disk.sync_folder(self.disk.top)
        self.schedule = Schedule(at=rng.choice(("02:30", "00:00", "23:45")), timezone="Europe/Zurich")
        self.user = Process(self.desk, "user")
        self.files = Files(SimSystem(self.around, self.user))
        self.true_clock = FastClock(self.world, self.desk)
        self.hosts = [self._host(f"h{number}") for number in range(rng.randint(2, 3))]
        self.running: dict[Host, tuple[Process, SimSystem]] = {}
        self.world.spawn(self.user, "user", self._use)
        if not self.calm:
            self.around.before_call = self._called
            if rng.random() < 0.4:
                self.world.at(rng.uniform(20.0, STORM_S), self._cut_power)
        for host in self.hosts:
            self.world.at(rng.uniform(0.0, 3.0), lambda host=host: self._start(host))  # type: ignore[misc]

    def _host(self, name: str) -> Host:
        rng = self.rng
        return Host(name, rng.uniform(-self.skew_s, self.skew_s), rng.uniform(0.0, 1e6), 1.0)

    def _use(self) -> None:
        """Submits the job, and ends every session a moment after it began."""
        submission = Submission(user="anna", uid=1001, wall_ns=self.true_clock.wall_ns())
        open_standing(
            self.files, self.layout, StandingSpec(NAME, self.schedule, spec_of(1)), b"the job file\n", submission
        )
        while True:
            self.world.pause(0.5)
            with contextlib.suppress(OSError, ArbdError):
                for name in session_names(self.files, self.layout):
                    queue = SessionQueue(self.files, self.layout.session(name))
                    if not queue.refresh().over:
                        queue.change(lambda now: [acts.switched(ledger.CANCELLED, ACTOR)])

    def _start(self, host: Host) -> None:
        process = Process(host, f"i-{host.name}.{self.deaths}")
        system = SimSystem(self.around, process)
        self.running[host] = process, system
        process.on_death.append(lambda: self.world.at(self.world.now + 0.5, lambda: self._start(host)))
        self.world.spawn(process, process.name, lambda: self._work(host, system))

    def _work(self, host: Host, system: SimSystem) -> None:
        """What the intake of a daemon does, turn by turn."""
        files, clock = Files(system), FastClock(self.world, host)
        observer = Observer(files, self.layout, clock, TIMING.beat_s, TIMING.lease_s)
        intake = Intake(
            files, self.layout, clock, self._resolve, taker=Taker(f"w-{host.name}", 1 + self.deaths), dead=observer.dead,
        )  # fmt: skip
        jobs = StandingJobs(files, self.layout, clock, f"w-{host.name}", self._write, lambda folder: None)
        while True:
            with contextlib.suppress(OSError, ArbdError):
                self.rejected += [outcome.reason for outcome in intake.scan() if isinstance(outcome, Rejected)]
                jobs.turn()
                self.troubles.update(jobs.troubles.values())
            self.world.pause(0.3)

    def _write(self, folder: StandingFolder, firing: Firing) -> Written:
        self.world.pause(self.world.rng.choice((0.0, 0.2)))
        return Written(fired_line(folder.name) + firing.session.encode() + b"\n")

    @staticmethod
    def _resolve(data: bytes, name: str) -> JobSpec:
        return spec_of(3, session_id=data.splitlines()[-1].decode())

    # -- what goes wrong

    def _called(self, process: Process, call: str, path: Path) -> None:
        """Any call of a host may be its last for a while, most of all those that touch the job."""
        del call
        if process is self.user or self.world.now > STORM_S:
            return
        near = path.name in ("log", "lock") or path.name.startswith(("next-", NAME, ".next-", f".{NAME}"))
        if self.world.rng.random() > (0.02 if near else 0.002):
            return
        self.deaths += 1
        host, seconds = process.host, self.world.rng.uniform(1.0, 30.0)
        if self.kind == NFS and self.world.rng.random() < 0.3:
            host.frozen_until = self.world.now + seconds
            if seconds > LOCK_LEASE_S[NFS]:
                self.world.at(self.world.now + LOCK_LEASE_S[NFS], lambda: self.around.locks.expire(host))
            return
        self.world.kill(process)
        raise KilledError

    def _cut_power(self) -> None:
        """Of all hosts and the server: what was not durable is gone."""
        self.deaths += 1
        for process, system in self.running.values():
            if process.alive:
                system.lose_power()
                self.world.kill(process)
        self.disk.power_cut()
        self.around.locks.forget()

    def play(self) -> StandingJob:
        """What the log comes to at the end."""
        self.world.run(self._is_over, PATIENCE_S + 60.0, 2_000_000)
        self.end_ns = self.true_clock.wall_ns()
        self.world.close()
        self.around.before_call = lambda process, call, path: None
        return StandingFolder(self.still, self.layout, NAME).refresh()

    def _is_over(self) -> bool:
        """At its end, and nothing is on its way."""
        names = [*self.still.names(self.layout.incoming), *self.still.names(self.layout.taken)]
        return self.world.now >= PATIENCE_S and not any(name.endswith(".yaml") for name in names)

    @property
    def still(self) -> Files:
        """What the server has, to be looked at from outside."""
        return Files(Inspector(self.disk))  # type: ignore[arg-type]

    def sessions(self) -> dict[str, str]:
        """The digests of the jobs of all sessions."""
        names = session_names(self.still, self.layout)
        return {name: digest_of(self.still.read(self.layout.session(name).job)) for name in names}
