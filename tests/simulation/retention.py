"""Stories in which every session is archived and removed, by whichever host, while hosts, disks and networks fail.

The rounds are the real ones; an archive is one file of the simulated disk instead of a tar on a real one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgpack

from arbd import schema
from arbd.analysis.retention import Retainer, round_lock
from arbd.errors import ArbdError
from arbd.job.stored import read_spec
from arbd.results.retention import everything_of
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.retention_log import PURGED, read_deeds
from arbd.spool.retention_rules import Keeping, Plan, RetentionRule
from tests.simulation.checks import ViolationError
from tests.simulation.daemon import SimDaemon
from tests.simulation.disasters import STORM_S
from tests.simulation.scenario import MAX_EVENTS, PATIENCE_S, Scenario
from tests.simulation.world import Host

# Longer than it takes until a job whose taker died is somebody else's: nobody removes sessions that young.
AGE_S = 30.0
RULES = (RetentionRule(Keeping.ARCHIVE_AND_PURGE),)


class SimArchiver:
    """Archives as files of the simulated disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _content(self, files: Files, paths: SessionPaths) -> bytes:
        found = [one.path for one in everything_of(files, paths) if not one.path.name.endswith((".lock", ".tmp"))]
        told = {str(path.relative_to(paths.folder)): files.read(path) for path in sorted(found)}
        return bytes(msgpack.packb(told))

    def archive(self, files: Files, paths: SessionPaths, state: LedgerState) -> str:
        """See `Archiver`."""
        content = self._content(files, paths)
        for number in itertools.count(1):
            target = self.folder / f"{paths.session_id}.{number}"
            if files.publish_once(target, content) or self.holds(files, paths, state, str(target)):
                return str(target)
        raise AssertionError("numbers do not end")

    def holds(self, files: Files, paths: SessionPaths, state: LedgerState, place: str) -> bool:
        """See `Archiver`."""
        del state
        return files.read(Path(place)) == self._content(files, paths)


class SimRetainer(Retainer):
    """Goes by true time: the calendars of these hosts are years apart."""

    def require_calendar(self) -> None:
        """See `Retainer`."""


class SimRetention:
    """The process of one daemon that makes rounds."""

    def __init__(self, story: RetentionStory, daemon: SimDaemon) -> None:
        self.story, self.daemon = story, daemon
        self.process = daemon.child("r")
        daemon.beside.append(self.process)
        self.files, _ = daemon.files_of(self.process)
        story.world.spawn(self.process, self.process.name, self._run)

    def _run(self) -> None:
        world = self.story.world
        while True:
            world.pause(self.story.ages.uniform(1.0, 6.0))
            try:
                self._make_round()
            except (OSError, ArbdError, TimeoutError) as error:
                self.daemon.log.info("retention is tried again", reason=error)

    def _make_round(self) -> None:
        held = round_lock(self.files, self.daemon.layout)
        if held is None:
            return
        try:
            retainer = SimRetainer(
                self.files, self.daemon.layout, self.daemon.clock, RULES, SimArchiver(self.story.archive),
                self.daemon.host.name, held.is_ours,
            )  # fmt: skip
            retainer.plan = lambda: self._old(SimRetainer.plan(retainer))  # type: ignore[method-assign]
            for outcome in retainer.run():
                self.daemon.log.info("retention", session=outcome.session_id, what=outcome.what, error=outcome.error)
        finally:
            held.release()

    def _old(self, found: Plan) -> Plan:
        now, since = self.story.world.now, self.story.over_since
        found.now = [due for due in found.now if now - since.setdefault(due.session_id, now) > AGE_S]
        return found


class RetentionStory(Scenario):
    """One seed of it."""

    def __init__(self, seed: int) -> None:
        self.ages = random.Random(f"retention {seed}")
        self.over_since: dict[str, float] = {}
        super().__init__(seed)
        self.archive = self.layout.root / "archive"
        self.disk.make(Host("archive", 0.0, 0.0, 1.0), self.archive, folder=True)
        self.disk.sync_folder(self.disk.top)

    def _submit(self, name: str, slowly: bool) -> None:
        # Who copies slowly drops the file again after a power cut, and a session that is gone would be made anew.
        del slowly
        super()._submit(name, slowly=False)

    def _as_user(self, work: Callable[[], None]) -> None:
        def told() -> None:
            try:
                work()
            except ArbdError as error:
                self.lines.append(f"{self.world.now:9.3f} user: {error}")

        super()._as_user(told)

    def start(self, host: Host) -> None:
        """See `Scenario`."""
        before = len(self.daemons)
        super().start(host)
        for daemon in self.daemons[before:]:
            SimRetention(self, daemon)

    def _is_over(self) -> bool:
        if self.fatal:
            return True
        if self.world.now < STORM_S + 6.0 or self.checks.files.names(self.layout.sessions):
            return False
        purged = {deed.session_id for deed in read_deeds(self.checks.files, self.layout).every if deed.what == PURGED}
        return purged >= set(self.specs)

    def _play(self) -> None:
        self.world.run(self._is_over, STORM_S + PATIENCE_S, MAX_EVENTS)
        if self.fatal:
            raise ViolationError(f"a daemon gave up: {self.fatal[0]}")
        left = self.checks.files.names(self.layout.sessions)
        purged = [deed.session_id for deed in read_deeds(self.checks.files, self.layout).every if deed.what == PURGED]
        if left or set(purged) != set(self.specs):
            raise ViolationError(f"retention does not come to its end: {left} are there, {sorted(purged)} were purged")
        archives = self.checks.files.names(self.archive)
        # A power cut may bring the job of a session back.
        if not self.disasters.power_cuts and sorted(purged) != sorted(self.specs):
            raise ViolationError(f"a session was removed twice: {sorted(purged)}")
        for archive in archives:
            if not archive.startswith("."):
                self._check_archive(archive)

    def _check_archive(self, archive: str) -> None:
        """It has all results of its session, as everywhere."""
        name = archive.partition(".")[0]
        content = msgpack.unpackb(self.disk.find(self.archive / archive).data)
        host = Host("restored", 0.0, 0.0, 1.0)
        paths = self.layout.session(name)
        self.disk.make(host, paths.folder, folder=True)
        for folder in {str(Path(inside).parent) for inside in content} - {"."}:
            self.disk.make(host, paths.folder / folder, folder=True)
        for inside, data in content.items():
            self.disk.make(host, paths.folder / inside, folder=False).data = data
        state, spec = SessionQueue(self.checks.files, paths).refresh(), read_spec(self.checks.files, paths)
        if spec.n > state.n and not state.stopped:
            # He died in the middle of an extension, which was none then: the job alone knows of it.
            spec = replace(spec, n=state.n)
            plain = {**schema.JOB.stamp(), **spec.to_plain()}
            self.disk.find(paths.spec).data = encode_frame(bytes(msgpack.packb(plain)))
        desk = next((desk for desk in self.desks if desk.session_id == name), None)
        # He may have died before he saw what he did.
        sizes = [] if desk is None else [size for size in desk.planned if size <= spec.n]
        self.checks.check_results({name: self.objectives[name]}, {name: sizes})
        del self.disk.find(self.layout.sessions).entries[name]  # type: ignore[union-attr]


def play_retention(seed: int) -> str:
    """Play one seed; what does not hold, or ''."""
    return RetentionStory(seed).play().violation
