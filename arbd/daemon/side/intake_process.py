"""The process that takes jobs up: reads, resolves, hashes and refuses them under its worker's rules, apart from its heart.

A job names files of any size and code that checks them may hang, crash or run out of memory: here it costs this process
and one attempt at that job. It has limits of memory and, kept by its parent, of the time in which it does not go on.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from arbd.arrays import load
from arbd.daemon import forks
from arbd.daemon.host.config import Config
from arbd.daemon.side.admission import admission, rejected_bound
from arbd.errors import ArbdError, JobError
from arbd.job.policy import ObjectivePolicy
from arbd.job.spec import JobSpec
from arbd.named_file import NOBODY, Allowance, Reading
from arbd.search.problem import EarlierResult
from arbd.spool.dropped import live_workers
from arbd.spool.held import Taker
from arbd.spool.intake import Intake
from arbd.spool.job_array import ArrayMember, JobArray
from arbd.spool.job_file import Submitters
from arbd.spool.layout import SpoolLayout
from arbd.spool.liveness import Observer, live_slots
from arbd.spool.operations import halt_of
from arbd.spool.outcomes import Outcome, Rejected
from arbd.spool.rejected import keep_within
from arbd.spool.standing.firing import Standing, StandingJobs
from arbd.spool.standing.folder import StandingSpec, standing_names
from arbd.spool.system import SystemClock
from arbd.terminal_text import escape_line
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.job.file import JobDocument

# Slots go first where all processors are busy.
NICENESS = 5
# Where a host runs out of memory, this process is what it should end first.
OOM_SCORE_ADJ = 500
SHORTEST_LOOK_S = 0.05
# What the parent is told is being worked on.
STANDING = "(standing jobs)"
# It is told so often at most that a job's files are read on.
TELL_S = 0.5


@dataclass(frozen=True, slots=True)
class Setup:
    """What the process must know. `interrupted` says how the last one ended, when that was in the middle of a job."""

    config: Config
    taker: Taker
    parent_pid: int
    interrupted: str = ""


@dataclass(frozen=True, slots=True)
class Began:
    """To the parent: an attempt at a job begins."""

    name: str


@dataclass(frozen=True, slots=True)
class WentOn:
    """To the parent: what the job names is read, hashed or converted still."""


class Told:
    """Tells the parent that reading goes on. Who waits for another process is told of it as long as that one goes on."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._next_s = 0.0

    def advanced(self) -> None:
        """See `arbd.named_file.Reading`."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + TELL_S
            self._tell()

    def waits(self, begins: bool) -> None:
        """See `arbd.named_file.Reading`."""


@dataclass(frozen=True, slots=True)
class Looked:
    """To the parent: what came of one turn. `waiting` when there are jobs left, for now or for later.

    `standing` are the standing jobs, None where they were not looked at; `fired` the sessions that they made.
    """

    outcomes: tuple[Outcome, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    waiting: bool = False
    trouble: str = ""
    standing: tuple[Standing, ...] | None = None
    fired: tuple[str, ...] = ()


def main(setup: Setup, pipe: Connection) -> None:
    """Take jobs up until the other end of the pipe says so (None), or is gone. A `Config` there replaces the settings."""
    forks.begin(setup.parent_pid, "arbd-intake")
    os.environ.pop(forks.CREATOR, None)
    _limit(setup.config)
    warm_up()
    told = Told(lambda: _tell_or_exit(pipe, WentOn()))
    intake = make_intake(setup, lambda name: _tell_or_exit(pipe, Began(name)), told)
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(intake, setup, pipe, told)


def _tell_or_exit(pipe: Connection, message: Began | WentOn) -> None:
    """In the middle of reading a file, where an OSError would be taken for one of that file: it means the parent is gone."""
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)


def make_intake(setup: Setup, began: Callable[[str], None], reading: Reading = NOBODY) -> Intake:
    """The intake under a worker's settings. `began` hears of attempts at jobs, `reading` of how reading for them goes."""
    config = setup.config
    layout, clock = SpoolLayout(config.spool), SystemClock()
    files = layout.files()
    observer = Observer(files, layout, clock, config.beat_s, config.lease_s)
    return Intake(
        files, layout, clock, job_resolver(config, reading), config.settle_s, submitters=Submitters.of(config.allowed_submitters),
        taker=setup.taker, dead=observer.dead, alive=lambda: live_workers(files, layout), began=began,
        interrupted=setup.interrupted, host=socket.gethostname(), admit=admission(config, files),
    )  # fmt: skip


def _limit(config: Config) -> None:
    os.nice(NICENESS)
    # Nor does it take the processor from a slot that begins to run, where the system lets it say so: not in every sandbox,
    # and not where it makes way for everything already.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    most = config.intake_memory_mb * 1024 * 1024
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _serve(intake: Intake, setup: Setup, pipe: Connection, reading: Reading) -> None:
    config, standing = setup.config, StandingLook(setup.config, intake, reading)
    wait_s = 0.0
    while True:
        # Before every turn, the first included: what a reload said goes for whatever is taken up after it.
        pipe.poll(wait_s)
        while pipe.poll(0.0):
            message = pipe.recv()
            if message is None:
                return
            if isinstance(message, Config):
                config = message
                reconfigure(intake, config, reading)
                standing = StandingLook(config, intake, reading)
        looked, more = look(intake)
        if any(isinstance(outcome, Rejected) for outcome in looked.outcomes):
            looked = replace(looked, notes=(*looked.notes, *bound_rejected(intake, config)))
        if not more:
            looked = standing.turn(looked, lambda: _tell_or_exit(pipe, Began(STANDING)))
        pipe.send(looked)
        often_s = max(SHORTEST_LOOK_S, config.settle_s / 4)
        wait_s = 0.0 if more else min(config.scan_s, often_s) if looked.waiting else config.scan_s


def bound_rejected(intake: Intake, config: Config) -> list[tuple[str, str]]:
    """Keep what users have in `rejected/` within their limits: names that went, and why."""
    if all(limits.rejected_mb is None for limits in config.limits.values()):
        return []
    try:
        gone = keep_within(intake.files, intake.layout, rejected_bound(config))
    except (OSError, ArbdError) as error:
        return [("rejected/", f"cannot be kept within `rejected_mb`: {error}")]
    return [
        (escape_line(name), "is removed from rejected/: its user has more there than `rejected_mb` allows")
        for name in gone
    ]


def reconfigure(intake: Intake, config: Config, reading: Reading = NOBODY) -> None:
    """Go on under other settings."""
    intake.resolve = job_resolver(config, reading)
    intake.admit = admission(config, intake.files)
    intake.settle_s = config.settle_s
    intake.submitters = Submitters.of(config.allowed_submitters)
    intake.reconsider()


def look(intake: Intake) -> tuple[Looked, bool]:
    """One turn, and whether there is more to do at once. Trouble with the spool is told, and passes.

    A worker that may work on nothing takes no job up.
    """
    try:
        if halt_of(intake.files, intake.layout, intake.worker_id) is not None:
            return Looked(waiting=True), False
        outcomes = tuple(intake.scan())
        notes = tuple((escape_line(name), why) for name, why in intake.take_notes())
        return Looked(outcomes, notes, intake.left, intake.trouble), intake.more and not intake.trouble
    except (OSError, ArbdError) as error:
        return Looked(waiting=True, trouble=str(error)), False


@dataclass(slots=True)
class StandingLook:
    """Looks at standing jobs under a worker's settings, once there is one."""

    config: Config
    intake: Intake
    reading: Reading = NOBODY
    _jobs: StandingJobs | None = None

    def turn(self, looked: Looked, began: Callable[[], None]) -> Looked:
        """The same turn with what became of standing jobs. Trouble with the spool is told, and passes."""
        intake = self.intake
        try:
            if looked.trouble or halt_of(intake.files, intake.layout, intake.worker_id) is not None:
                return looked
            if not standing_names(intake.files, intake.layout):
                return replace(looked, standing=())
            began()
            jobs = self._jobs = self._jobs or self._made()
            if not jobs.turn():
                return looked
            return replace(looked, standing=jobs.overview(), fired=tuple(jobs.fired))
        except (OSError, ArbdError) as error:
            return replace(looked, trouble=str(error))

    def _made(self) -> StandingJobs:
        from arbd.daemon.side.data_look import DataLook  # noqa: PLC0415 - what most spools have no use for
        from arbd.daemon.side.standing_writer import StandingWriter  # noqa: PLC0415 - as above

        files, clock, worker_id = self.intake.files, self.intake.clock, self.intake.worker_id
        look = DataLook(self.config, worker_id, clock, self.reading)
        return StandingJobs(
            files, self.intake.layout, clock, worker_id, StandingWriter(self.config, self.reading), look
        )


def warm_up() -> None:
    """Import what resolving needs, and hash the code that computes, before a job's time is taken."""
    import arbd.job.file  # noqa: PLC0415 - see `_parsed`
    import arbd.job.resolve  # noqa: PLC0415 - as above
    import arbd.job.resolve_standing  # noqa: PLC0415 - as above
    import arbd.paper.market.cache  # noqa: PLC0415 - as above
    import arbd.paper.scenario  # noqa: PLC0415 - as above
    import arbd.results.warm_start  # noqa: F401, PLC0415 - as above
    from arbd.job.code import base_parts  # noqa: PLC0415 - as above

    load()
    base_parts()


def _slots(layout: SpoolLayout) -> int:
    """Those of the farm now; 0 where that cannot be seen."""
    try:
        return live_slots(layout.files(), layout)
    except OSError:
        return 0


def job_resolver(
    config: Config, reading: Reading = NOBODY
) -> Callable[[bytes, str], JobSpec | StandingSpec | JobArray]:
    """A function of (bytes, name) that raises JobError with everything that is wrong."""

    def resolved(data: bytes, name: str) -> JobSpec | StandingSpec | JobArray:
        document = _parsed(data, name)
        # For each job anew, and for all sessions of an array together.
        resolve = _resolver(config, reading, Allowance(config.intake_read_gb * 10**9, "intake_read_gb"))
        if document.job.each is not None:
            return _array(document, name, resolve)
        spec = resolve(document, name)
        if document.job.schedule is None:
            return spec
        from arbd.job.resolve_standing import standing_of  # noqa: PLC0415 - as below

        return standing_of(document, spec, document.job.session_id) or spec

    return resolved


def session_resolver(config: Config) -> Callable[[bytes, str], JobSpec]:
    """The same for a job of which a session is made, or was."""
    resolve = _resolver(config, NOBODY)
    return lambda data, name: resolve(_parsed(data, name), name)


def _array(document: JobDocument, name: str, resolve: Callable[[JobDocument, str], JobSpec]) -> JobArray:
    """Every session that the job asks for, resolved. JobError of the first that is wrong."""
    from arbd import strict_yaml  # noqa: PLC0415 - of few jobs
    from arbd.job.each import array_of  # noqa: PLC0415 - as above

    found = array_of(document, document.job.session_id)
    assert found is not None and document.job.session_id is not None
    members = []
    for session_id, member in found:
        text = strict_yaml.dump(member.value)
        members.append(ArrayMember(session_id, text.encode(), resolve(member, name)))
    return JobArray(document.job.session_id, tuple(members))


def _parsed(data: bytes, name: str) -> JobDocument:
    # The validating models take half a second to import; a daemon that only works on sessions never needs them.
    from arbd.job.file import parse_job  # noqa: PLC0415

    return parse_job(data, name)


def _resolver(
    config: Config, reading: Reading, allowance: Allowance | None = None
) -> Callable[[JobDocument, str], JobSpec]:
    policy = ObjectivePolicy(config.allow, config.data_dirs)
    rule = replace(policy.reading, reading=reading, allowance=allowance)
    layout = SpoolLayout(config.spool)

    def resolve(document: JobDocument, name: str) -> JobSpec:
        from arbd.job.resolve import resolve_job  # noqa: PLC0415 - as in `_parsed`

        def past(source: str, folders: Sequence[Path]) -> list[EarlierResult]:
            from arbd.results.warm_start import past_reader  # noqa: PLC0415

            return past_reader(layout, rule)(source, folders)

        spec = resolve_job(
            document,
            base_dirs=config.data_dirs,
            search_paths=config.objective_paths,
            cache_dir=config.cache_dir,
            reading=rule,
            may_run=policy.check,
            past=past,
            slots=lambda: _slots(layout) or config.slots,
        )
        if spec.n > config.max_iterations:
            most = f"{spec.n:,} iterations; the maximum here is {config.max_iterations:,} (`max_iterations` in the settings)"
            problem = replace(document.problem(most, "tuning", "max_iterations"), here=True)
            raise JobError(name, [problem])
        return spec

    return resolve
