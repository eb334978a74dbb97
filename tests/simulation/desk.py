"""Whoever gives a session more iterations when it is done, from a host that may die in the middle of that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arbd.errors import ArbdError, UsageError
from arbd.job.stored import read_spec
from arbd.results.extension import extend
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import LedgerState
from arbd.spool.provenance import Actor
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import exists
from tests.simulation.simsystem import LOCK_LEASE_S, SimSystem
from tests.simulation.world import Host, Process

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario

# Calls of the system that an extension takes, from a look at the session on: its host dies at one of them.
CALLS = 60
ACTOR = Actor(user="quant", uid=1, host="desk", wall_ns=1, reason="the best is at the edge")


@dataclass(frozen=True)
class DeskLayout(SpoolLayout):
    """The spool as this host has it."""

    desk_files: Files

    def files(self) -> Files:
        """See `SpoolLayout`."""
        return self.desk_files


class Desk:
    """One person and one session, which is to come to each of `sizes` in turn; the first is the one that it begins with.

    `reached` are those that it has, or had. Where it ended by a rule of its own, or has a validation, there are no more.
    """

    def __init__(self, story: Scenario, session_id: str, sizes: Sequence[int], rng: random.Random) -> None:
        self.session_id = session_id
        self.is_over = False
        self.reached = [sizes[0]]
        self.planned = list(sizes)
        self._todo = list(sizes[1:])
        self._story = story
        self._rng = rng
        self._dies_after = [rng.randrange(CALLS) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
        self._calls = 0
        self._host = Host(f"desk-{session_id}", 0.0, 0.0, 1.0)
        self.start()

    def start(self) -> None:
        """He sits down, and knows nothing of what he did before."""
        self.process = Process(self._host, self._host.name, version=self._story.user_version)
        # What it writes is of the version that the session began with.
        self.process.session = self._story.layout.session(self.session_id).folder
        self._system = SimSystem(self._story.around, self.process)
        self._calls = 0
        self._story.world.spawn(self.process, self.process.name, self._work)

    def called(self, process: Process) -> None:
        """Before a call of the system, while he extends."""
        if process is not self.process or not self._calls or not self._dies_after:
            return
        self._calls += 1
        if self._calls > self._dies_after[0]:
            self._dies_after.pop(0)
            self.die(self._rng.choice(("kill", "power")))

    def die(self, how: str) -> None:
        """His process ends, or his host; he comes back. A lock is free when the host is back, or its lease is over."""
        story, world = self._story, self._story.world
        if self.is_over or not self.process.alive:
            return
        story.lines.append(f"{world.now:9.3f} == {how} {self.process.name}")
        if how == "power":
            self._system.lose_power()
            world.at(world.now + LOCK_LEASE_S[story.kind], lambda: story.around.locks.expire_dead(self._host))
        world.kill(self.process)
        world.at(world.now + self._rng.uniform(0.1, 20.0), self._come_back)

    def _come_back(self) -> None:
        self._story.around.locks.expire_dead(self._host)
        self.start()

    def _work(self) -> None:
        layout = DeskLayout(self._story.layout.root, Files(self._system))
        while self._todo:
            try:
                if self._try(layout, n := self._todo[0]):
                    self.reached.append(n)
                    self._todo = self._todo[1:]
                    continue
            except (ArbdError, OSError) as error:
                self._story.lines.append(f"{self._story.world.now:9.3f} {self.process.name}: {error}")
            self._story.world.pause(1.0)
        self.is_over = True

    def _try(self, layout: DeskLayout, n: int) -> bool:
        """True when the session has `n` iterations."""
        paths = layout.session(self.session_id)
        self._calls = 0
        if not exists(layout.desk_files, paths):
            return False
        state = SessionQueue(layout.desk_files, paths).refresh()
        if not state.done or state.n >= n:
            return state.n >= n
        self._calls = 1
        try:
            extend(layout, self.session_id, n - state.n, ACTOR)
        except UsageError:
            if not self._is_final(state):
                raise
            # Before he died he may have extended one that ended by a rule of its own since.
            extended = read_spec(layout.desk_files, paths).n == n
            self._todo = [n] if extended else []
            return extended
        return True

    def _is_final(self, state: LedgerState) -> bool:
        return bool(state.stopped) or self._story.specs[self.session_id].validation is not None


def desks(story: Scenario) -> list[Desk]:
    """Those of a story, drawn from random numbers of their own."""
    rng = random.Random(f"desks {story.seed}")
    found = []
    for name, spec in story.specs.items():
        if rng.random() < 0.4:
            sizes = [spec.n]
            for _ in range(rng.choice((1, 1, 2))):
                sizes.append(sizes[-1] + rng.choice((1, rng.randint(1, 10), rng.randint(5, 30))))
            found.append(Desk(story, name, sizes, rng))
    return found
