"""How many trials were ever made on the same data: what each session adds to the spool's record, and the sum of them.

Luck grows with every parameter set that is tried on the same data, in whatever session. So a session that is done, or is
purged, leaves a record in `trials/` that stays when the session goes: one small file of its own, published whole, never
changed. Whoever compacts a session twice, or purges what was compacted, makes the same record under the same name.
The same job once more, under whatever id, gives the same results (I5), and is no new trial.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgpack
from msgspec import Struct, field

from arbd import schema
from arbd.errors import ArbdError, VersionError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.records import Items, Natural, RecordFormat, Text
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, payloads
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue
from arbd.spool.sessions import session_ids

SUFFIX = ".trials"
MAX_RECORD_BYTES = 1 << 20


class _TrialRecord(Struct, frozen=True):
    """A `TrialRecord` in its file."""

    version: int = field(name=schema.TRIALS.key)
    session_id: Text
    data: Annotated[tuple[Text, ...], Items]
    search: Text
    trials: Natural


_TRIALS: RecordFormat[_TrialRecord] = RecordFormat("the record", _TrialRecord, lambda: schema.TRIALS)


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """`data`: what the trials were made on, as digests. `search` is the digest of all that decides which trials they are."""

    session_id: str
    data: frozenset[str]
    search: str
    trials: int

    def encode(self) -> bytes:
        """As it stands in a file."""
        return encode_frame(
            bytes(
                msgpack.packb(
                    {
                        **schema.TRIALS.stamp(),
                        "session_id": self.session_id,
                        "data": sorted(self.data),
                        "search": self.search,
                        "trials": self.trials,
                    }
                )
            )
        )

    @property
    def name(self) -> str:
        """Its file's name: the same for the same search that came as far."""
        return f"{self.session_id}-{self.search[:16]}-{self.trials}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class TrialsOnData:
    """Trials of all searches on the data of a session, and how many different searches that were (itself included).

    `unreadable` records are damaged or of another version: there may be more trials than is said.
    """

    trials: int
    searches: int
    unreadable: int = 0


def data_digests(spec: JobSpec) -> frozenset[str]:
    """What a session's trials are made on: its data and scenario files; of a job without any, its objective."""
    files = frozenset(spec.digests[path] for path in (*spec.data, *spec.scenarios) if path in spec.digests)
    if files:
        return files
    target = "\0".join((spec.objective.kind, *spec.objective.target, *sorted(spec.digests.values())))
    return frozenset((hashlib.sha256(target.encode()).hexdigest(),))


# Of a job, what does not decide which trials it makes: how far it goes, and how it is run, named and kept.
NO_MATTER = ("version", "session_id", "n", "execution", "results", "notices", "sampler_versions", "stop")


def record_of(session_id: str, spec: JobSpec, trials: int) -> TrialRecord:
    """The record of a session with this many trials."""
    told = {name: value for name, value in spec.to_plain().items() if name not in NO_MATTER}
    search = hashlib.sha256(bytes(msgpack.packb(told))).hexdigest()
    return TrialRecord(session_id, data_digests(spec), search, trials)


def keep_record(files: Files, layout: SpoolLayout, record: TrialRecord) -> None:
    """Put a record into the spool, durably; nothing changes where it is there."""
    if record.trials < 1:
        return
    files.make_folder(layout.trials)
    files.publish_once(layout.trials / record.name, record.encode())


def keep_before_purge(files: Files, layout: SpoolLayout, session_id: str) -> None:
    """Keep the record of a session that is about to go. One whose job nobody can read any more leaves none."""
    paths = layout.session(session_id)
    try:
        spec, state = read_spec(files, paths), SessionQueue(files, paths).refresh()
    except ArbdError:
        return
    keep_record(files, layout, record_of(session_id, spec, state.counted))


def trials_on_data(files: Files, layout: SpoolLayout, session_id: str, spec: JobSpec) -> TrialsOnData:
    """Trials of all sessions of this spool, purged ones too, that share a data file with this one."""
    data = data_digests(spec)
    read = _records(files, layout)
    records = [record for record in read if record is not None and record.data & data]
    recorded = {record.session_id for record in records} - {session_id}
    # What is done has its record, unless an earlier version did it; reading those jobs again would take its time.
    for other in session_ids(files, layout):
        live = None if other in recorded else _live(files, layout.session(other), data)
        records += [] if live is None else [live]
    most: dict[str, int] = {}
    for record in records:
        most[record.search] = max(most.get(record.search, 0), record.trials)
    return TrialsOnData(sum(most.values()), len(most), read.count(None))


def _live(files: Files, paths: SessionPaths, data: frozenset[str]) -> TrialRecord | None:
    try:
        spec = read_spec(files, paths)
        if not data_digests(spec) & data:
            return None
        return record_of(paths.session_id, spec, SessionQueue(files, paths).refresh().counted)
    except (ArbdError, OSError):
        # Gone or damaged meanwhile: `arbctl doctor` and whoever asks for that session are told.
        return None


def _records(files: Files, layout: SpoolLayout) -> list[TrialRecord | None]:
    """All records, None for one that cannot be read: it must not keep all sessions from being judged."""
    try:
        names = files.names(layout.trials)
    except FileNotFoundError:
        return []
    return [_read(files, layout.trials / name) for name in names if name.endswith(SUFFIX) and not name.startswith(".")]


def _read(files: Files, path: Path) -> TrialRecord | None:
    try:
        for payload in payloads(files.read(path, limit=MAX_RECORD_BYTES)):
            found = _TRIALS.read(payload, path)
            return TrialRecord(found.session_id, frozenset(found.data), found.search, found.trials)
    except (OSError, ValueError, VersionError):
        return None
    return None
