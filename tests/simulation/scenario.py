"""From a seed to a story: how many daemons on which filesystem, which jobs, and everything that goes wrong."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import random
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from arbd.daemon.core.session_watch import UNMADE_LOOKS
from arbd.errors import JobError
from arbd.job.spec import Execution, JobSpec
from arbd.job.validation import Change, FoldWindows, Stress, ValidationSpec
from arbd.search.problem import StopRules
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.operations import begin_maintenance, drain, end_maintenance, undrain
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists
from tests.simulation.checks import Checks, ViolationError
from tests.simulation.consistency import states_checked
from tests.simulation.daemon import SimDaemon
from tests.simulation.desk import Desk, desks
from tests.simulation.disasters import STORM_S, Disasters
from tests.simulation.disk import GLUSTER, LOCAL, NFS, Disk, failure
from tests.simulation.side import TIMING
from tests.simulation.simsystem import LockTable, SimSystem, Surroundings
from tests.simulation.slot import Objective
from tests.simulation.versions import NEW, OLD, Versions
from tests.simulation.world import Host, Process, World
from tests.spool.sessions import spec_of

PATIENCE_S = 900.0
MAX_EVENTS = 400_000
# So long after the storm what deaths left may still be there: names are looked at some times before they are taken for that.
LEFT_S = 5.5 * UNMADE_LOOKS * TIMING.scan_s


@dataclass
class Outcome:
    """How a seed went."""

    seed: int
    violation: str = ""
    digest: str = ""
    calls: int = 0
    seconds: float = 0.0
    disasters: int = 0
    story: list[str] = field(default_factory=list)


class Scenario:
    """One seed, played once. `wall_skew` moves the hosts' calendars and must change nothing (I3).

    With `upgrade` hosts change from one version to the next in the middle of it, each at a time of its own.
    """

    def __init__(self, seed: int, *, wall_skew: float = 1.0, calm: bool = False, upgrade: bool = False) -> None:
        self.seed = seed
        self.world = World(seed)
        rng = self.rng = random.Random(f"story {seed}")
        self.kind = rng.choice((LOCAL, NFS, NFS, GLUSTER))
        self.layout = SpoolLayout(Path("/spool"))
        self.disk = Disk(self.world, self.kind, self.layout.root)
        self.around = Surroundings(self.world, self.disk, LockTable(self.world), slow=rng.choice((0.3, 1.0, 4.0)))
        self.lines: deque[str] = deque(maxlen=400)
        self.hosts = [self._host(f"h{number}", wall_skew) for number in range(rng.randint(2, 5))]
        self.slots = {host: rng.randint(1, 2) for host in self.hosts}
        self.daemons: list[SimDaemon] = []
        self.objectives: dict[str, Objective] = {}
        self.specs: dict[str, JobSpec] = {}
        self._slow: set[str] = set()
        self.fatal: list[str] = []
        self.quiet_since_s = 0.0
        self.calm = calm
        self.checks = Checks(self.world, self.disk, self.layout, self.daemons)
        generations = Host("generations", 0.0, 0.0, 1.0)
        for folder in self.layout.folders():
            self.disk.make(generations, folder, folder=True)
            self.disk.sync_folder(self.disk.top)
        self.user = Process(generations, "user")
        self.user_files = Files(SimSystem(self.around, self.user))
        self._write_jobs()
        if not calm:
            self._write_wishes()
        self.disasters = Disasters(self, planned=not calm)
        self.around.before_call = self._called
        for host in self.hosts:
            self.world.at(rng.uniform(0.0, 3.0), lambda host=host: self.start(host))  # type: ignore[misc]
        self.world.at(STORM_S, self._calm_down)
        self.versions = Versions(self.checks, random.Random(f"versions {seed}")) if upgrade else None
        self.user_version = OLD if self.versions is None else NEW
        self.desks: list[Desk] = [] if calm else desks(self)
        if self.versions is not None:
            self.user.version = NEW
            for host in self.hosts:
                host.version = self.versions.rng.choice((OLD, OLD, NEW))
                at_s = self.versions.rng.uniform(0.0, STORM_S)
                self.world.at(at_s, lambda host=host: self._upgrade(host))  # type: ignore[misc]

    def _called(self, process: Process, call: str, path: Path) -> None:
        self.disasters.called(process, call, path)
        for desk in self.desks:
            desk.called(process)

    def _upgrade(self, host: Host) -> None:
        """The next start of the host's worker is of the newer version, and the one that runs comes to its end."""
        host.version = NEW
        old = [d for d in self.daemons if d.host is host and d.process.alive and d.process.version == OLD]
        for daemon in old:
            self.lines.append(f"{self.world.now:9.3f} == upgrade {daemon.process.name}")
            daemon.drain()
        for delay_s in (1.0, 5.0, 15.0, 40.0, 90.0) if old else ():
            self.world.at(self.world.now + delay_s, lambda: self.start(host))

    def _host(self, name: str, wall_skew: float) -> Host:
        rng = self.rng
        day_s = 86_400.0
        return Host(
            name,
            wall_offset_s=wall_skew * rng.uniform(-5_000 * day_s, 5_000 * day_s),
            monotonic_offset_s=rng.uniform(0.0, 100 * day_s),
            drift=1.0 + rng.uniform(-0.001, 0.001),
        )

    # -- what is asked for

    def _write_jobs(self) -> None:
        rng = self.rng
        for number in range(rng.choice((1, 1, 2))):
            n, name = rng.choice((1, rng.randint(2, 12), rng.randint(10, 60))), f"s{number}"
            numbers = list(range(1, n + 1))
            rng.shuffle(numbers)
            odd = [rng.choice((0, 0, 0, 1)) for _ in range(3)]
            failing, crashing, hanging = numbers[: odd[0]], numbers[1 : 1 + odd[1]], numbers[2 : 2 + odd[2]]
            self.objectives[name] = Objective(
                rng.choice((0.02, 0.2, 0.7)), frozenset(failing), frozenset(crashing), frozenset(hanging)
            )
            execution = Execution(
                retries=rng.choice((0, 1)), max_slots=rng.choice((None, None, 1, 3)), priority=rng.choice((0, 0, 5))
            )
            self.specs[name] = spec_of(n, session_id=name, seed=rng.randint(0, 99), execution=execution)
            self.specs[name] = self._adaptive(self.specs[name], random.Random(f"guided {self.seed} {name}"))
            self.specs[name] = self._judged(self.specs[name], random.Random(f"phases {self.seed} {name}"))
            slowly = rng.random() < 0.3
            # Where nothing happens, hosts have heard of each other before there is work: who is alone asks nobody.
            start_s = rng.uniform(0.0, 8.0) + (5.0 if self.calm else 0.0)
            self.world.at(start_s, lambda name=name, slowly=slowly: self._submit(name, slowly))  # type: ignore[misc]
        if rng.random() < 0.2:
            self.world.at(rng.uniform(0.0, 8.0), lambda: self._drop("nonsense.submitted.yaml", b"nonsense end\n"))
        for name in self.specs:
            if rng.random() < 0.15:
                self.world.at(rng.uniform(5.0, 20.0), lambda name=name: self._switch(name, ledger.PAUSED))  # type: ignore[misc]

    def _write_wishes(self) -> None:
        """An administrator drains workers and stops the spool, now and then, and always takes it back."""
        rng = random.Random(f"wishes {self.seed}")
        actor = Actor(user="root", uid=0, host="desk", wall_ns=1, reason="new memory")
        for host in self.hosts:
            if rng.random() < 0.25:
                name, at_s = f"w-{host.name}", rng.uniform(0.0, STORM_S)
                self._at(at_s, lambda name=name: drain(self.user_files, self.layout, name, actor))  # type: ignore[misc]
                self._at(
                    at_s + rng.uniform(0.5, 20.0), lambda name=name: undrain(self.user_files, self.layout, name, actor)
                )  # type: ignore[misc]
        if rng.random() < 0.15:
            at_s = rng.uniform(0.0, STORM_S)
            self._at(at_s, lambda: begin_maintenance(self.user_files, self.layout, actor))
            self._at(at_s + rng.uniform(0.5, 10.0), lambda: end_maintenance(self.user_files, self.layout, actor))
        # A power cut may take the removal of a wish back.
        for number, host in enumerate(self.hosts):
            self._at(
                STORM_S + 71.0 + number,
                lambda host=host: undrain(self.user_files, self.layout, f"w-{host.name}", actor),
            )  # type: ignore[misc]
        self._at(STORM_S + 70.5, lambda: end_maintenance(self.user_files, self.layout, actor))

    def _at(self, when_s: float, work: Callable[[], object]) -> None:
        def do() -> None:
            work()

        self.world.at(when_s, lambda: self._as_user(do))

    @staticmethod
    def _adaptive(spec: JobSpec, rng: random.Random) -> JobSpec:
        """Every third session learns from its results, and some of these end when they have learnt enough."""
        if rng.random() < 0.67:
            return spec
        stop = StopRules(no_improvement=rng.choice((None, None, 6)), max_time_s=rng.choice((None, None, None, 4.0)))
        method = rng.choice(("tpe", "nsga2", "random"))
        if method == "random" and not stop.needs_results:
            method = "tpe"
        size, lag = rng.choice(((1, 2), (3, 2), (8, 2), (1, 1), (4, 1), (1, 5), (2, 3)))
        return replace(spec, method=method, generation_size=size, generation_lag=lag, stop=stop)

    @staticmethod
    def _judged(spec: JobSpec, rng: random.Random) -> JobSpec:
        """Some short sessions judge their winner: folds, finalists, neighbours, stress and searches beside theirs."""
        if rng.random() < 0.6 or spec.n > 12:
            return spec
        whole = ((0, 100),)
        folds = [FoldWindows((((0, at),),), (((at, 100),),)) for at in rng.choice(((), (50,), (40, 70)))]
        validation = ValidationSpec(
            spec.n, "walk_forward" if folds else "", (FoldWindows((whole,)), *folds), finalists=rng.randint(1, 4),
            neighbours=rng.choice((0, 5)), stresses=(Stress("half", (Change("x", "x", 0.5),)),) * rng.choice((0, 1, 2)),
            null_searches=rng.choice((0, 1)),
        )  # fmt: skip
        spec = replace(spec, validation=validation, generation_size=spec.generation_size or rng.choice((3, spec.n)))
        return replace(spec, n=spec.layout.n)

    def resolve(self, data: bytes, name: str) -> JobSpec:
        """The job of a file, as the real resolver would: or what is wrong with it."""
        words = data.decode(errors="replace").split()
        if len(words) != 2 or words[1] != "end" or words[0] not in self.specs:
            raise JobError.of(name, "not a job")
        return self.specs[words[0]]

    def _as_user(self, work: Callable[[], None]) -> None:
        def insistently() -> None:
            while True:
                try:
                    return work()
                except OSError:
                    self.world.pause(1.0)

        self.world.spawn(self.user, "user", insistently)

    def _drop(self, name: str, data: bytes) -> None:
        def drop() -> None:
            # A power cut in the middle is an error that this simple person does not see.
            cuts = self.disasters.power_cuts
            self.user_files.publish(self.layout.incoming / name, data)
            if self.disasters.power_cuts > cuts:
                raise failure(errno.EIO)

        self._as_user(drop)

    def _submit(self, name: str, slowly: bool) -> None:
        data = f"{name} end\n".encode()
        self._slow.discard(name)
        if not slowly:
            self._drop(f"{name}.submitted.yaml", data)
            return

        def write() -> None:
            # As cp does it: other hosts see the file grow, and a power cut leaves what it likes of it.
            self._slow.add(name)
            for end in range(0, len(data) + 1, 3):
                self.user_files.overwrite(
                    self.layout.incoming / f"{name}.yaml", data[:end] if end + 3 <= len(data) else data
                )
                self.world.pause(self.rng.uniform(0.0, 0.3))

        self._as_user(write)

    def _switch(self, name: str, state: str) -> None:
        def change() -> None:
            if state == ledger.PAUSED and self.world.now > STORM_S - 5.0:
                return
            if exists(self.user_files, self.layout.session(name)):
                queue = SessionQueue(self.user_files, self.layout.session(name))
                queue.change(lambda now: [] if now.over else [ledger.switched(state)])

        self._as_user(change)

    def start(self, host: Host) -> None:
        if any(d.host is host and d.process.alive for d in self.daemons) or host.name in self._gone:
            return
        self.daemons.append(
            SimDaemon(
                self.around, host, f"w-{host.name}", self.layout, self.slots[host], self.objectives, self.resolve,
                self.lines, lambda error: self.fatal.append(f"{type(error).__name__}: {error}"),
            )
        )  # fmt: skip

    _gone: frozenset[str] = frozenset()

    def _calm_down(self) -> None:
        """From here on nothing happens any more; some hosts never come back, but one does."""
        self.disasters.clear()
        self.around.faults.clear()
        lost = self.rng.sample(self.hosts, self.rng.randint(0, len(self.hosts) - 1))
        for daemon in self.daemons:
            if daemon.host in lost and daemon.process.alive:
                self.world.kill(daemon.process)
        self._gone = frozenset(host.name for host in lost)
        for host in self.hosts:
            host.cut_off_until = 0.0
            # More than once, because one that is draining now is gone only later.
            for delay_s in (self.rng.uniform(0.0, 5.0), 30.0, 60.0):
                self.world.at(self.world.now + delay_s, lambda host=host: self.start(host))  # type: ignore[misc]
        for name in self.specs:
            self.world.at(self.world.now + 70.0, lambda name=name: self._switch(name, ledger.RUNNING))  # type: ignore[misc]
            self._switch(name, ledger.RUNNING)
            if name in self._slow and self.disasters.power_cuts:
                self._submit_again(name)

    def _submit_again(self, name: str) -> None:
        """What a person does whose copy a power cut has spoilt."""

        def submit() -> None:
            files, layout = self.user_files, self.layout
            while not exists(files, layout.session(name)):
                names = [*files.names(layout.taken), *files.names(layout.incoming)]
                if not any(f"@{there}".rpartition("@")[2].startswith(name) for there in names):
                    files.publish(layout.incoming / f"{name}.submitted.yaml", f"{name} end\n".encode())
                self.world.pause(10.0)

        self._as_user(submit)

    # -- how it ends

    def play(self) -> Outcome:
        """Run to the end and check everything."""
        outcome = Outcome(self.seed)
        try:
            with states_checked(), self.versions.at_work() if self.versions is not None else contextlib.nullcontext():
                self._play()
        except (Exception, ViolationError) as error:
            outcome.violation = f"{type(error).__name__}: {error}"
        # The name under which a job is held tells people when it was taken up, by their calendar.
        told = re.sub(r"\d{8}T\d{6}-", "DATE-", "\n".join(self.world.trace))
        outcome.digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        outcome.calls, outcome.seconds, outcome.disasters = len(self.world.trace), self.world.now, self.disasters.count
        outcome.story = list(self.lines)
        self.world.close()
        return outcome

    def _play(self) -> None:
        self.world.run(self._is_over, STORM_S + PATIENCE_S, MAX_EVENTS)
        if self.fatal:
            raise ViolationError(f"a daemon gave up: {self.fatal[0]}")
        self.checks.check_results(self.objectives, {desk.session_id: desk.reached for desk in self.desks})
        self.checks.check_leftovers()
        if self.calm:
            self.checks.check_heartbeats()
        if self.versions is not None:
            self.versions.check_files()

    def _is_over(self) -> bool:
        if self.fatal:
            return True
        if self.world.now < STORM_S + 6.0 or not all(desk.is_over for desk in self.desks):
            return False
        if not all(self.checks.is_done(name) for name in self.specs):
            return False
        # Somebody who is away may still be about to clean up; a desk's host may have died long after the storm.
        self.quiet_since_s = self.quiet_since_s or self.world.now
        return self.world.now > self.quiet_since_s + LEFT_S or not self.checks.leftovers()


def play(seed: int) -> Outcome:
    """Play one seed."""
    return Scenario(seed).play()


def play_upgrade(seed: int) -> Outcome:
    """Play one seed in which hosts are upgraded."""
    return Scenario(seed, upgrade=True).play()
