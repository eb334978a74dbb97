"""Makes damaged files of a session anew from the others: the job from `job.yaml`, the ledger and the results from segments.

Everything is built and read back in a folder of its own before the first file is replaced; what was there is kept
beside it under a name that no reader looks at. What cannot be derived is said, and nothing is touched for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path

import msgpack
import numpy as np

from arbd import schema
from arbd.errors import ArbdError, CorruptionError, UsageError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.generations import published_schedule
from arbd.results.ledger_rebuild import RebuiltLedger, extended_to, opening, rebuild, whole_payloads
from arbd.results.merge import Merge
from arbd.results.retention import BUILDING, alone, require_unused
from arbd.results.scrub import Damaged, examine
from arbd.results.store_format import encode_results, has_results
from arbd.results.store_reader import StoredResults
from arbd.search.plan import NonAdaptivePlan
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.liveness import is_held, read_beats, unread_beats
from arbd.spool.queue import LOCK_TIMEOUT_S, SessionQueue
from arbd.values import dataclass

# Names that no reader of a session looks at begin so.
ASIDE = ".damaged-"
COPY_BYTES = 1 << 20
MAX_JOB_BYTES = 16 * 1024 * 1024
CHECKED_ROWS = 65_536

Resolve = Callable[[bytes, str], JobSpec]


@dataclass(frozen=True, slots=True)
class Step:
    """A file that is, or would be, made anew, and where the old one is kept."""

    path: Path
    what: str
    kept: Path | None = None


@dataclass(slots=True)
class Repair:
    """What was found, what was done about it, and what nobody can make again."""

    damage: list[Damaged]
    steps: list[Step] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def repair(files: Files, layout: SpoolLayout, session_id: str, resolve: Resolve, *, dry_run: bool = False) -> Repair:
    """Make what is damaged of a session anew. With `dry_run` nothing is changed, and the same is said.

    `resolve` turns the bytes of a job file into a job. UsageError while a worker may write to the session, VersionError
    where another version wrote some of it, NotFoundError when there is none.
    """
    paths = layout.session(session_id)
    found = Repair(examine(files, paths))
    if not found.damage:
        return found
    require_unused(files, layout, session_id)
    with alone(files, paths), files.lock(paths.ledger_lock, LOCK_TIMEOUT_S), _workshop(files, paths) as new:
        work = _Work(files, layout, paths, new, found, {damaged.path for damaged in found.damage})
        work.build(resolve)
        if not dry_run:
            work.replace_all()
        else:
            found.steps = [Step(step.path, step.what) for step in found.steps]
    return found


@contextlib.contextmanager
def _workshop(files: Files, paths: SessionPaths) -> Iterator[SessionPaths]:
    """A hidden folder in the session's, which is gone afterwards; what a crash left of one goes first."""
    for name in files.names(paths.folder):
        if name.startswith(BUILDING):
            files.remove_tree(paths.folder / name)
    folder = paths.folder / f"{BUILDING}{files.system.token(4)}"
    files.make_folder(folder)
    try:
        yield SessionPaths(folder)
    finally:
        files.remove_tree(folder)


@dataclass(slots=True)
class _Work:
    files: Files
    layout: SpoolLayout
    paths: SessionPaths
    new: SessionPaths
    found: Repair
    damaged: set[Path]
    built: dict[Path, Path] = field(default_factory=dict)

    def build(self, resolve: Resolve) -> None:
        """Make everything that can be made, in the order in which one is derived from the other."""
        payloads = whole_payloads(self.files, self.paths)
        spec = self._spec(resolve, payloads)
        if spec is None:
            self.found.left += [str(d) for d in self.found.damage if d.path.parent == self.paths.folder]
            return
        rules = RowRules.of(spec)
        stored = self._stored(rules)
        n = opening(payloads, self.paths) or spec.began_with or spec.n
        ledger = rebuild(self.files, self.paths, payloads, n, rules, stored)
        self._ledger(ledger)
        if self.paths.results in self.damaged and ledger.state.done:
            self._results(ledger, rules)
        self._others(ledger)

    def _spec(self, resolve: Resolve, payloads: Sequence[bytes]) -> JobSpec | None:
        if self.paths.spec not in self.damaged:
            return read_spec(self.files, self.paths)
        try:
            job = self.files.read(self.paths.job, limit=MAX_JOB_BYTES)
            spec = self._as_begun(self._as_scheduled(resolve(job, str(self.paths.job))), payloads)
        except (ArbdError, OSError, ValueError) as error:
            self.found.left.append(f"{self.paths.spec}: the job cannot be resolved again on this host: {error}")
            return None
        record = {**schema.JOB.stamp(), **spec.to_plain()}
        self.files.publish(self.new.spec, encode_frame(bytes(msgpack.packb(record))))
        made = read_spec(self.files, self.new)
        said = "resolved again from job.yaml, with digests of data and code as they are on this host now"
        self._made(self.paths.spec, self.new.spec, said)
        return made

    def _as_scheduled(self, spec: JobSpec) -> JobSpec:
        """With the schedule of the generations: a job may leave it to the slots that there were."""
        has_any = self.paths.generations.name in self.files.names(self.paths.folder)
        found = published_schedule(self.files, self.paths) if spec.generation_size and has_any else None
        return spec if found is None else replace(spec, generation_size=found.size, generation_lag=found.lag)

    def _as_begun(self, spec: JobSpec, payloads: Sequence[bytes]) -> JobSpec:
        """As its rows say that it began, and was extended; UsageError when they are of another job.

        Earlier versions had no other points in the place of those that break a constraint.
        """
        n = opening(payloads, self.paths)
        if n is not None and spec.n == n and (now := extended_to(payloads, n, self.paths)) > n:
            n, spec = now, replace(spec, n=now, began_with=n)
        try:
            self._require_same(spec, n)
        except UsageError:
            if not spec.refill:
                raise
            spec = replace(spec, refill=False)
            self._require_same(spec, n)
        return spec

    def _require_same(self, spec: JobSpec, n: int | None) -> None:
        """UsageError unless the job is the one that the session's records and rows are of."""
        if n is not None and spec.n != n:
            raise UsageError(f"it has {spec.n:,} iterations, the ledger {n:,}")
        rows = Merge(self.files, self.paths)
        if len(rows) != len(Merge(self.files, self.paths, RowRules.of(spec))):
            raise UsageError("rows of the session have parameters or iterations that the job has not")
        if spec.generation_size or not len(rows):
            return
        plan = NonAdaptivePlan(spec)
        group = next(rows.groups())
        last = min(int(group.rows.iteration[-1]), CHECKED_ROWS)
        planned = plan.rows(1, last)
        inside = group.rows.iteration <= last
        for name, column in planned.columns.items():
            if not np.array_equal(column[group.rows.iteration[inside] - 1], group.rows.params[name][inside]):
                raise UsageError(f"it has other values of {name} than the rows that are recorded")

    def _stored(self, rules: RowRules) -> StoredResults | None:
        if self.paths.results in self.damaged or not has_results(self.files, self.paths):
            return None
        return StoredResults(self.files, self.paths, rules)

    def _ledger(self, made: RebuiltLedger) -> None:
        if self.paths.ledger not in self.damaged:
            return
        if not made.state.over:
            living = [b.worker_id for b in read_beats(self.files, self.layout)] + [
                *unread_beats(self.files, self.layout)
            ]
            living = [worker for worker in living if is_held(self.files, self.layout, worker)]
            if living:
                raise UsageError(
                    f"session {self.paths.session_id} is {made.state.label()}, and {', '.join(living)} may take it up: "
                    "stop the daemons of this spool for the moment of a repair; until then they go on with it as it is"
                )
        self.files.publish(self.new.ledger, made.encode())
        state = SessionQueue(self.files, self.new).refresh()
        if (state.n, state.counts, state.done) != (made.state.n, made.state.counts, made.state.done):
            raise CorruptionError(self.new.ledger, 0, "what was written does not read back; check the disk")
        said = "".join(f", {added}" for added in dict.fromkeys(made.added))
        if not made.state.over:
            said += f"; it is {made.state.label()}: if it was cancelled or paused last, do so again"
        self._made(self.paths.ledger, self.new.ledger, f"its whole records{said}")

    def _results(self, ledger: RebuiltLedger, rules: RowRules) -> None:
        n = ledger.state.n
        merge = Merge(self.files, self.paths, rules) if self._has_segments() else None
        rows = len(merge) - len(merge.waiting) if merge is not None else 0
        if merge is None or rows < n:
            self.found.left.append(
                f"{self.paths.results}: its segments hold {rows:,} of {n:,} iterations; `arbctl restore` an archive of it"
            )
            return
        self.files.publish_stream(self.new.results, encode_results(self.paths.session_id, n, merge))
        made = StoredResults(self.files, self.new, rules)
        # Blocks are where they were.
        whole = sum(len(group.rows) for group in made.groups())
        if whole != n or list(made.counts) != ledger.state.counts:
            self.found.left.append(
                f"{self.paths.results}: its segments hold other results than were recorded: {list(made.counts)} by "
                f"status, and not {ledger.state.counts}"
            )
            return
        self._made(self.paths.results, self.new.results, f"the {n:,} iterations of its segments")

    def _has_segments(self) -> bool:
        return self.paths.segments.name in self.files.names(self.paths.folder)

    def _others(self, ledger: RebuiltLedger) -> None:
        for damaged in self.found.damage:
            if damaged.path.parent == self.paths.generations:
                self._made(damaged.path, None, "set aside; it is computed again when it is needed")
            elif damaged.path.parent == self.paths.segments:
                kept = (
                    ledger.state.done and has_results(self.files, self.paths) and self.paths.results not in self.damaged
                )
                end = (
                    "results.msgpack holds its rows; return blocks that stood there are lost"
                    if kept
                    else "what is lost runs again if the session goes on"
                )
                self.found.left.append(f"{damaged}; {end}")
            elif damaged.path == self.paths.results and not ledger.state.done:
                self.found.left.append(f"{damaged}; a daemon makes it anew when the session is done")

    def _made(self, path: Path, new: Path | None, what: str) -> None:
        if new is not None:
            self.built[path] = new
        self.found.steps.append(Step(path, what))

    def replace_all(self) -> None:
        """Put what was made in the place of what was there, which is kept."""
        done: list[Step] = []
        for step in self.found.steps:
            aside = step.path.parent / f"{ASIDE}{step.path.name}-{self.files.system.token(4)}"
            new = self.built.get(step.path)
            if new is None:
                self.files.rename(step.path, aside)
            else:
                kept = self._copy(step.path, aside)
                self.files.rename(new, step.path)
                done.append(Step(step.path, step.what, kept))
                continue
            done.append(Step(step.path, step.what, aside))
        self.found.steps = done

    def _copy(self, path: Path, aside: Path) -> Path | None:
        """A copy, so that the name is there at every moment; None where there was no file."""
        try:
            reader = self.files.reader(path)
        except FileNotFoundError:
            return None
        pieces = (reader.read(offset, COPY_BYTES) for offset in range(0, reader.size, COPY_BYTES))
        self.files.publish_stream(aside, pieces)
        return aside
