"""Sessions of several users on virtual hosts, and what each of them got of the slots' time."""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arbd.daemon.slots.protocol import ChunkTask
from arbd.job.spec import JobSpec
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.provenance import Submission
from arbd.spool.sessions import create_session
from arbd.spool.user_limits import UserLimits
from tests.simulation.daemon import SimDaemon
from tests.simulation.disk import LOCAL, NFS, Disk
from tests.simulation.side import TIMING
from tests.simulation.simsystem import LockTable, SimSystem, Surroundings
from tests.simulation.slot import Objective
from tests.simulation.world import Host, Process, World
from tests.spool.sessions import spec_of

WARM_UP_S = 30.0
MANY = 1_000_000
LOOK_S = 0.05


@dataclass(frozen=True)
class Wanted:
    """A session of somebody: so many iterations, each of which takes `each_s`; it comes at `late_s`."""

    name: str
    owner: str
    each_s: float
    n: int = MANY
    late_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What there is: sessions, and the slots of each host. All else follows from the seed."""

    seed: int
    sessions: tuple[Wanted, ...]
    slots: tuple[int, ...]
    is_nfs: bool = False

    @classmethod
    def drawn(cls, seed: int, each: tuple[int, int], hosts: int) -> Plan:
        """Of users `user0`, `user1` and so on, with so many sessions each."""
        rng = random.Random(f"farm {seed}")
        sessions = [
            Wanted(f"{rng.choice('abyz')}{rng.randrange(10**6)}", f"user{owner}", rng.choice((0.15, 0.3, 0.6, 1.2)))
            for owner in range(rng.randint(2, 4))
            for _ in range(rng.randint(*each))
        ]
        return cls(seed, tuple(sessions), tuple(rng.randint(1, 2) for _ in range(hosts)))


@dataclass
class Farm:
    """`seen` is which sessions had slots at each look, `LOOK_S` apart."""

    plan: Plan
    seen: list[tuple[float, list[str]]] = field(default_factory=list)
    daemons: list[SimDaemon] = field(default_factory=list)
    limits: Mapping[str, UserLimits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan = self.plan
        rng = random.Random(plan.seed)
        self.owners = {one.name: one.owner for one in plan.sessions}
        self.slots = sum(plan.slots)
        self.world = World(plan.seed)
        self.layout = SpoolLayout(Path("/spool"))
        disk = Disk(self.world, NFS if plan.is_nfs else LOCAL, self.layout.root)
        around = Surroundings(self.world, disk, LockTable(self.world), slow=0.3)
        user = Host("user", 0.0, 0.0, 1.0)
        for folder in self.layout.folders():
            disk.make(user, folder, folder=True)
            disk.sync_folder(disk.top)
        self.files = Files(SimSystem(around, Process(user, "user")))
        objectives = {one.name: Objective(one.each_s) for one in plan.sessions}
        self.user = Process(user, "maker")
        for one in plan.sessions:
            self._session(one)
        for number, slots in enumerate(plan.slots):
            self._start(around, Host(f"h{number}", 0.0, rng.uniform(0, 1e6), 1.0), slots, objectives)

    def _start(self, around: Surroundings, host: Host, slots: int, objectives: dict[str, Objective]) -> None:
        def fail(error: Exception) -> None:
            raise error

        resolve, lines = self._resolve, deque[str](maxlen=50)
        self.daemons.append(
            SimDaemon(
                around, host, f"w-{host.name}", self.layout, slots, objectives, resolve, lines, fail, limits=self.limits
            )
        )

    def _resolve(self, data: bytes, name: str) -> JobSpec:
        raise AssertionError(name)

    def _session(self, one: Wanted) -> None:
        def make() -> None:
            create_session(
                self.files,
                self.layout,
                one.name,
                b"",
                spec_of(one.n, session_id=one.name),
                submission=Submission(user=one.owner),
            )

        def begin() -> None:
            self.world.spawn(self.user, "maker", make)

        self.world.at(one.late_s, begin)

    def _look(self) -> None:
        tasks = [slot.task for daemon in self.daemons for slot in daemon.slots]
        self.seen.append((self.world.now, [task.session.name for task in tasks if isinstance(task, ChunkTask)]))
        self.world.at(self.world.now + LOOK_S, self._look)

    def run(self, seconds: float) -> None:
        """Let it go on for so long after the warm-up."""
        until_s = WARM_UP_S + seconds
        self.world.at(WARM_UP_S, self._look)
        self.world.run(lambda: self.world.now >= until_s, until_s, 10**7)
        self.world.close()

    @property
    def longest_chunk_s(self) -> float:
        """Of all sessions."""
        return max(TIMING.chunk_target_s, *(1.5 * one.each_s for one in self.plan.sessions))

    def served_s(self) -> dict[str, float]:
        """Seconds of slots by session, after the warm-up."""
        looks = Counter(name for _, names in self.seen for name in names)
        return {name: LOOK_S * looks[name] for name in self.owners}

    def longest_wait_s(self, session_id: str) -> float:
        """For how long it had no slot, after the warm-up."""
        times = [at_s for at_s, names in self.seen if session_id in names]
        return max(b - a for a, b in itertools.pairwise([WARM_UP_S, *times, self.seen[-1][0]]))
