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


@dataclass
class Farm:
    """`owners` is by session; `seen` is which sessions had slots at each look, `LOOK_S` apart."""

    seed: int
    owners: dict[str, str] = field(default_factory=dict)
    each_s: dict[str, float] = field(default_factory=dict)
    seen: list[tuple[float, list[str]]] = field(default_factory=list)
    slots: int = 0
    daemons: list[SimDaemon] = field(default_factory=list)
    limits: Mapping[str, UserLimits] = field(default_factory=dict)
    each: tuple[int, int] = (1, 3)
    hosts: int | None = None

    def __post_init__(self) -> None:
        rng = self.rng = random.Random(f"farm {self.seed}")
        self.world = World(self.seed)
        self.layout = SpoolLayout(Path("/spool"))
        disk = Disk(self.world, rng.choice((LOCAL, NFS)), self.layout.root)
        around = Surroundings(self.world, disk, LockTable(self.world), slow=0.3)
        user = Host("user", 0.0, 0.0, 1.0)
        for folder in self.layout.folders():
            disk.make(user, folder, folder=True)
            disk.sync_folder(disk.top)
        self.files = Files(SimSystem(around, Process(user, "user")))
        objectives: dict[str, Objective] = {}
        self.user = Process(user, "maker")
        for owner in range(rng.randint(2, 4)):
            for _ in range(rng.randint(*self.each)):
                self._session(f"user{owner}", objectives)
        for number in range(self.hosts or rng.randint(1, 4)):
            host = Host(f"h{number}", 0.0, rng.uniform(0, 1e6), 1.0)
            slots = rng.randint(1, 2)
            self.slots += slots
            self._start(around, host, slots, objectives)

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

    def _session(self, owner: str, objectives: dict[str, Objective]) -> None:
        rng = self.rng
        name = f"{rng.choice('abyz')}{rng.randrange(10**6)}"
        each_s = rng.choice((0.15, 0.3, 0.6, 1.2))
        self.owners[name], self.each_s[name] = owner, each_s
        objectives[name] = Objective(each_s)
        late_s = rng.choice((0.0, 0.0, rng.uniform(0.0, 15.0)))

        def make() -> None:
            create_session(
                self.files,
                self.layout,
                name,
                b"",
                spec_of(rng.randint(MANY, 2 * MANY), session_id=name),
                submission=Submission(user=owner),
            )

        def begin() -> None:
            self.world.spawn(self.user, "maker", make)

        self.world.at(late_s, begin)

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
        return max(TIMING.chunk_target_s, *(1.5 * each_s for each_s in self.each_s.values()))

    def served_s(self) -> dict[str, float]:
        """Seconds of slots by session, after the warm-up."""
        looks = Counter(name for _, names in self.seen for name in names)
        return {name: LOOK_S * looks[name] for name in self.owners}

    def longest_wait_s(self, session_id: str) -> float:
        """For how long it had no slot, after the warm-up."""
        times = [at_s for at_s, names in self.seen if session_id in names]
        return max(b - a for a, b in itertools.pairwise([WARM_UP_S, *times, self.seen[-1][0]]))
