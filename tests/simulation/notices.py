"""Stories in which a target is told of every end, by whichever host, while hosts, disks, networks and the target fail.

The outbox and its log are the real ones; the target is a list that no disaster of the story reaches.
"""

from __future__ import annotations

import random
from collections import Counter

from arbd.daemon.notices.log import BEGUN, OVER, SENT, Told, target_log
from arbd.daemon.notices.message import Message
from arbd.daemon.notices.outbox import Outbox
from arbd.daemon.notices.settings import Target
from arbd.errors import ArbdError, DeliveryError
from arbd.spool.session_index import SessionIndex
from tests.simulation.checks import ViolationError
from tests.simulation.daemon import SimDaemon
from tests.simulation.disasters import STORM_S
from tests.simulation.scenario import MAX_EVENTS, PATIENCE_S, Scenario
from tests.simulation.world import Host

TARGET = Target("desk", webhook="https://example.org/hook")


class SimTeller:
    """The process of one daemon that tells the target."""

    def __init__(self, story: NoticesStory, daemon: SimDaemon) -> None:
        self.story, self.daemon = story, daemon
        self.process = daemon.child("n")
        daemon.beside.append(self.process)
        self.files, _ = daemon.files_of(self.process)
        story.world.spawn(self.process, self.process.name, self._run)

    def _run(self) -> None:
        daemon, world = self.daemon, self.story.world
        outbox = Outbox(
            self.files, daemon.layout, daemon.clock, TARGET, self._send, lambda session_id: None, daemon.host.name
        )
        while True:
            world.pause(self.story.chance.uniform(0.2, 1.5))
            try:
                outbox.step()
            except (OSError, ArbdError, TimeoutError) as error:
                daemon.log.info("notices are tried again", reason=error)

    def _send(self, message: Message) -> None:
        """It takes its time, may fail, and may fail after it was taken."""
        story, chance = self.story, self.story.chance
        story.world.pause(chance.choice((0.0, 0.1, chance.uniform(0.0, 4.0))))
        if chance.random() < 0.15:
            raise DeliveryError("nobody answers")
        story.take(message)
        story.world.pause(chance.choice((0.0, 0.1, chance.uniform(0.0, 4.0))))
        if chance.random() < 0.1:
            raise DeliveryError("it answered too late")


class NoticesStory(Scenario):
    """One seed of it. `taken` counts what the target got, by key and attempt."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"notices {seed}")
        self.taken: Counter[tuple[str, int]] = Counter()
        self.needless: list[str] = []
        super().__init__(seed)

    def start(self, host: Host) -> None:
        """See `Scenario`."""
        before = len(self.daemons)
        super().start(host)
        for daemon in self.daemons[before:]:
            SimTeller(self, daemon)

    def take(self, message: Message) -> None:
        """The target gets a notice."""
        self.lines.append(f"{self.world.now:9.3f} == told {message.key} {message.attempt}")
        self.taken[message.key, message.attempt] += 1
        steps = [
            step
            for step in target_log(self.checks.files, self.layout, TARGET.name).read_new()
            if step.key == message.key
        ]
        begun = [at for at, step in enumerate(steps) if (step.what, step.attempt) == (BEGUN, message.attempt)]
        if not begun or any(step.what == SENT for step in steps[: begun[0]]):
            self.needless.append(f"{message.key}, attempt {message.attempt}: {[step.what for step in steps]}")

    def told(self) -> Told:
        """What the log comes to."""
        told = Told()
        told.fold(target_log(self.checks.files, self.layout, TARGET.name).read_new())
        return told

    def _is_over(self) -> bool:
        return super()._is_over() and (bool(self.fatal) or not self.owed())

    def owed(self) -> set[str]:
        """Ends of which nothing was told, by their keys, and is not over yet."""
        index = SessionIndex(self.checks.files, self.layout)
        index.refresh()
        told = self.told()
        ends = {entry.end_key for entry in index.ended.values()} - told.before
        return {end for end in ends if not told.is_over(f"{end}-end")}

    def _play(self) -> None:
        self.world.run(self._is_over, STORM_S + PATIENCE_S, MAX_EVENTS)
        if self.fatal:
            raise ViolationError(f"a daemon gave up: {self.fatal[0]}")
        if owed := self.owed():
            raise ViolationError(f"nobody was told of {owed}")
        if self.needless:
            raise ViolationError(
                f"told again what was known to be told, or before it was written down: {self.needless[0]}"
            )
        twice = [attempt for attempt, count in self.taken.items() if count > 1]
        if twice:
            raise ViolationError(f"an attempt was made twice, which nobody can tell from one: {twice}")
        over = {key for key, last in self.told().last.items() if last.what in OVER}
        heard = {key for key, _ in self.taken}
        if missed := {key for key in over if self.told().last[key].what == SENT} - heard:
            raise ViolationError(f"written down as told, and was not: {missed}")


def play_notices(seed: int) -> str:
    """Play one seed; what does not hold, or ''."""
    return NoticesStory(seed).play().violation
