"""What is over stands in an index, so that nobody reads every finished session to list a few; and what goes on, in names.

`index/` has append-only files of one writer each, `active/` an empty file for each session that may go on. A session
whose name is in `active/` is read itself, whatever the index says; so is one that no file of the index has. The index
can be removed at any time: daemons make it anew from the ledgers, and so does `arbctl repair --index`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from arbd import schema
from arbd.errors import ArbdError
from arbd.records import Natural, Signed, Text
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, scan_file
from arbd.spool.layout import NAME_PATTERN, SpoolLayout
from arbd.spool.ledger import CANCELLED, LedgerState
from arbd.spool.ledger_records import LedgerRecord
from arbd.spool.provenance import UNKNOWN, Changes, Labels, Priority, Provenance, Submission
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import REOPENED_PREFIX, session_names
from arbd.values import dataclass

SUFFIX = ".idx"
MAX_WORKERS = 200
# More of them are put together by the worker whose they are.
MAX_BYTES = 1 << 28

Count = Annotated[int, Meta(ge=0, le=10**12)]
Counts = tuple[Count, Count, Count, Count]


class Ended(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A session that is over, as lists show it. Of several of one session the one with the highest `number` goes."""

    session_id: Annotated[str, Meta(pattern=rf"^{NAME_PATTERN.pattern}\Z")] = msgspec.field(name="id")
    number: Natural = 0
    version: int = msgspec.field(default=0, name=schema.INDEX.key)
    cancelled: bool = False
    n: Count
    counts: Counts
    duplicates: Count = 0
    epoch: Natural = 0
    started_ns: Signed = 0
    ended_ns: Signed = 0
    stopped: Text = ""
    submission: Submission = UNKNOWN
    priority: Priority = 0
    labels: Labels = {}
    workers: Annotated[dict[str, Counts], Meta(max_length=MAX_WORKERS)] = {}

    @classmethod
    def of(cls, session_id: str, state: LedgerState, number: int = 0) -> Ended:
        """From the ledger of a session that is over."""
        changed = state.provenance.changes.priority
        workers = list(state.worker_counts.items())[:MAX_WORKERS]
        last_ns = state.recent[-1][0] if state.recent else state.started_ns
        completed, failed, timeout, crashed = (max(0, count) for count in state.counts)
        return cls(
            session_id=session_id,
            number=number,
            version=schema.INDEX.version,
            cancelled=state.state == CANCELLED,
            n=state.n,
            counts=(completed, failed, timeout, crashed),
            duplicates=state.duplicates,
            epoch=state.epoch,
            started_ns=state.started_ns,
            ended_ns=state.provenance.cancelled_ns or last_ns,
            stopped=state.stopped[:1_000],
            submission=state.provenance.submission,
            priority=changed if isinstance(changed, int) else state.provenance.submission.priority,
            labels=state.provenance.labels,
            workers={name: (counts[0], counts[1], counts[2], counts[3]) for name, counts in workers},
        )

    @property
    def end_key(self) -> str:
        """Names this end of this session: the same from every host, another when it ends anew, or another has its name."""
        told = (self.submission.wall_ns, self.started_ns, self.n, self.epoch, self.cancelled)
        return f"{self.session_id}-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"

    def state(self) -> LedgerState:
        """What its ledger comes to, as far as lists show it."""
        state = LedgerState(
            n=self.n, opened_n=self.n, cursor=min(self.n, sum(self.counts)) + 1, counts=list(self.counts),
            duplicates=self.duplicates, started_ns=self.started_ns, stopped=self.stopped,
        )  # fmt: skip
        state.done, state.state = not self.cancelled, CANCELLED if self.cancelled else state.state
        state.worker_counts = {name: list(counts) for name, counts in self.workers.items()}
        changes = Changes(priority=self.priority, labels=self.labels)
        state.provenance = Provenance(self.submission, changes, self.ended_ns if self.cancelled else 0)
        state.recent.append((self.ended_ns, sum(self.counts)))
        return state


_DECODER = msgspec.msgpack.Decoder(Ended)
_ENCODER = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class SessionIndex:
    """The index as one process has read it. Not thread-safe."""

    files: Files
    layout: SpoolLayout
    ended: dict[str, Ended] = field(default_factory=dict)
    _offsets: dict[str, int] = field(default_factory=dict)

    def refresh(self) -> None:
        """Read what is new. Damaged stretches, and what another version wrote, are passed over: ledgers have it all."""
        names = _index_names(self.files, self.layout)
        if any(name not in names for name in self._offsets):
            # Somebody put files together: what is in them now is all that there is.
            self._offsets.clear()
            self.ended.clear()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._read(name)

    @property
    def position(self) -> int:
        """How many bytes were read: as long as it is the same there is nothing new."""
        return sum(self._offsets.values())

    def _read(self, name: str) -> None:
        path = self.layout.index / name
        for base, scan in scan_file(
            lambda offset, limit: self.files.read(path, offset, limit), self._offsets.get(name, 0)
        ):
            for frame in scan.frames:
                try:
                    found = _DECODER.decode(frame.payload)
                except msgspec.DecodeError:
                    continue
                before = self.ended.get(found.session_id)
                newer = before is None or found.number >= before.number
                if found.version == schema.INDEX.version and newer:
                    self.ended[found.session_id] = found
            self._offsets[name] = base + scan.good_end


@dataclass(slots=True)
class IndexWriter:
    """Appends to the one file of one start of a worker. Not thread-safe."""

    files: Files
    layout: SpoolLayout
    worker_id: str
    incarnation: int

    @property
    def name(self) -> str:
        """The file's."""
        return f"{self.worker_id}-{self.incarnation:016x}{SUFFIX}"

    def append(self, entries: Iterable[Ended]) -> None:
        """Write entries, durably."""
        data = encoded(entries)
        if not data:
            return
        with contextlib.suppress(FileExistsError):
            self.files.make_folder(self.layout.index)
        self.files.append(self.layout.index / self.name, data)

    def put_together(self, index: SessionIndex) -> None:
        """Make one file of those that earlier starts of this worker left, whose liveness lock is held now."""
        names = _index_names(self.files, self.layout)
        mine = [name for name in names if name[: -len(SUFFIX) - 17] == self.worker_id]
        if len(mine) < 2 and self.name not in mine:
            return
        if data := encoded(index.ended.values()):
            self.files.publish(self.layout.index / self.name, data)
        for name in mine:
            if name != self.name:
                self.files.remove(self.layout.index / name)


def encoded(entries: Iterable[Ended]) -> bytes:
    """The bytes of entries, a frame each."""
    return b"".join(encode_frame(_ENCODER.encode(entry)) for entry in entries)


def reopen(files: Files, layout: SpoolLayout, session_id: str) -> None:
    """Have everybody look at a session that is over, for what is about to be written into its ledger.

    Called under the ledger's lock, which whoever takes the names away holds too (`take_names_away`): so whoever dies
    before his record leaves names and nothing else, and whoever dies after it leaves the names to all.
    """
    files.make_folder(layout.active)
    files.publish(layout.active / session_id, b"")
    # Workers of earlier versions look at these alone.
    files.publish(layout.sessions / f"{REOPENED_PREFIX}{session_id}", b"")


def take_names_away(files: Files, layout: SpoolLayout, queue: SessionQueue) -> None:
    """A session that is over is not to be looked at any more. Does nothing to one that goes on by now."""
    session_id = queue.paths.session_id

    def decide(now: LedgerState) -> tuple[LedgerRecord, ...]:
        if now.over:
            # Whoever wrote that may not have made it durable: a power cut would take it back, and nobody would look again.
            files.sync_file(queue.paths.ledger)
            files.remove(layout.active / session_id)
            files.remove(layout.sessions / f"{REOPENED_PREFIX}{session_id}")
        return ()

    queue.change(decide)


def active_names(files: Files, layout: SpoolLayout) -> set[str]:
    """Sessions that may go on, as far as daemons of this version were told."""
    try:
        return {name for name in files.names(layout.active) if not name.startswith(".")}
    except FileNotFoundError:
        return set()


def ended_sessions(files: Files, layout: SpoolLayout, names: Iterable[str]) -> Mapping[str, Ended]:
    """Those of the names in `sessions/` (hidden ones, too) that are over and need not be read."""
    index = SessionIndex(files, layout)
    index.refresh()
    there = list(names)
    reopened = {name.removeprefix(REOPENED_PREFIX) for name in there if name.startswith(REOPENED_PREFIX)}
    unsure = active_names(files, layout) | reopened
    return {name: index.ended[name] for name in there if name in index.ended and name not in unsure}


def make_anew(files: Files, layout: SpoolLayout) -> tuple[int, list[str]]:
    """Read all ledgers and write the index from them: how many sessions are over, and which cannot be read, and why."""
    old = SessionIndex(files, layout)
    old.refresh()
    number = 1 + max((entry.number for entry in old.ended.values()), default=0)
    before = _index_names(files, layout)
    entries, unread = [], []
    for name in session_names(files, layout):
        try:
            state = SessionQueue(files, layout.session(name)).refresh()
        except (ArbdError, OSError) as error:
            unread.append(f"{name}: {error}")
            continue
        if state.over:
            entries.append(Ended.of(name, state, number))
    files.make_folder(layout.index)
    files.publish(layout.index / f"repair-{files.system.token(8)}{SUFFIX}", encoded(entries))
    # What a worker that lives appends meanwhile to a file that is gone is found when it lists everything again.
    for name in before:
        files.remove(layout.index / name)
    return len(entries), unread


def _index_names(files: Files, layout: SpoolLayout) -> list[str]:
    try:
        return [name for name in files.names(layout.index) if name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
