"""How many trials were ever made on the same data: what each session adds to the spool's record, and the sum of them.

Luck grows with every parameter set that is tried on the same data, in whatever session. So a session that is done, or is
purged, leaves a record in `trials/` that stays when the session goes: one small file of its own, published whole, never
changed. Whoever compacts a session twice, or purges what was compacted, makes the same record under the same name.
The same job once more, under whatever id, gives the same results (I5), and is no new trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgpack
from msgspec import Struct, field

from arbd import schema
from arbd.errors import ArbdError, VersionError
from arbd.job.spec import JobSpec
from arbd.job.stored import read_spec
from arbd.job.validation import Window, Windows
from arbd.records import Items, Natural, RecordFormat, Signed, Text
from arbd.search.phases import Phase
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
    window: tuple[Signed, Signed] | None = None


_TRIALS: RecordFormat[_TrialRecord] = RecordFormat("the record", _TrialRecord, lambda: schema.TRIALS)


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """`data`: what the trials were made on, as digests. `search` is the digest of all that decides which trials they are.

    `window` is what of the data they saw, [from_ns, to_ns); None where it was all.
    """

    session_id: str
    data: frozenset[str]
    search: str
    trials: int
    window: Window | None = None

    def sees(self, window: Window | None) -> bool:
        """True when the trials saw some of a window of the data; None is all of it."""
        if self.window is None or window is None:
            return True
        return self.window[0] < window[1] and window[0] < self.window[1]

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
                        **({} if self.window is None else {"window": list(self.window)}),
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
NO_MATTER_FIRST = (
    "version", "session_id", "n", "execution", "results", "notices", "sampler_versions", "stop", "validation",
)  # fmt: skip
# Earlier versions took these for another search: of a session that was extended, or had labels or terms.
NO_MATTER = (*NO_MATTER_FIRST, "began_with", "labels", "terms")


def records_of(session_id: str, spec: JobSpec, counted: int, no_matter: Sequence[str] = NO_MATTER) -> list[TrialRecord]:
    """The records of a session of which so many iterations are counted: of its searches, and of what it held out.

    Whatever judges the winner on the data of the search chooses nothing, and is no trial; a market without an edge is
    other data. Finalists that were tested on what was held out are trials on that. The searches of folds are a record of
    their own: other folds of the same job are other trials.
    """
    told = {name: value for name, value in spec.to_plain().items() if name not in no_matter}
    if not spec.sampler_versions and not spec.stop.needs_results:
        # Its points are the same whether they are published or not.
        told["generation_size"] = 0
    seen, held_out = windows_of(spec)
    if seen is not None:
        told["window"] = list(seen)
    if spec.validation is None:
        return [record for record in [_record(session_id, spec, told, counted, seen)] if record.trials > 0]
    layout = spec.layout
    own = layout.stretches[0].last
    searched = max(stretch.last for stretch in layout.stretches if stretch.phase is Phase.SEARCH)
    found = [_record(session_id, spec, told, min(counted, own), seen)]
    if searched > own:
        folds = {**told, "folds": [[fold.train, fold.test] for fold in spec.validation.folds]}
        found.append(_record(session_id, spec, folds, min(counted, searched) - own, seen))
    if held_out is not None:
        tested = sum(stretch.count for stretch in layout.stretches if stretch.phase is Phase.TEST)
        found.append(
            _record(session_id, spec, {**told, "held_out": list(held_out)}, min(tested, counted - searched), held_out)
        )
    return [record for record in found if record.trials > 0]


def _record(session_id: str, spec: JobSpec, told: Mapping[str, Any], trials: int, window: Window | None) -> TrialRecord:
    search = hashlib.sha256(bytes(msgpack.packb(told))).hexdigest()
    return TrialRecord(session_id, data_digests(spec), search, trials, window)


def windows_of(spec: JobSpec) -> tuple[Window | None, Window | None]:
    """What a job's search sees of its data, over all markets, and what it holds out; None, None where it sees all."""
    validation = spec.validation
    if validation is None or validation.scheme != "holdout":
        return None, None
    fold = validation.folds[0]
    return _hull(fold.train), _hull(fold.test)


def _hull(windows: Windows) -> Window:
    every = [window for market in windows for window in market]
    return min(start for start, _ in every), max(end for _, end in every)


def keep_records(files: Files, layout: SpoolLayout, records: Sequence[TrialRecord]) -> None:
    """Put records into the spool, durably; nothing changes where they are there."""
    for record in records:
        files.make_folder(layout.trials)
        files.publish_once(layout.trials / record.name, record.encode())


def keep_before_purge(files: Files, layout: SpoolLayout, session_id: str) -> None:
    """Keep the record of a session that is about to go. One whose job nobody can read any more leaves none."""
    paths = layout.session(session_id)
    try:
        spec, state = read_spec(files, paths), SessionQueue(files, paths).refresh()
    except ArbdError:
        return
    keep_records(files, layout, records_of(session_id, spec, state.counted))


def trials_on_data(
    files: Files, layout: SpoolLayout, session_id: str, spec: JobSpec, window: Window | None = None
) -> TrialsOnData:
    """Trials of all sessions of this spool, purged ones too, that share a data file with this one, and saw of `window`."""
    data = data_digests(spec)
    read = _records(files, layout)
    known = _as_earlier(session_id, spec)
    records = [
        replace(record, search=known.get(record.search, record.search)) if record.session_id == session_id else record
        for record in read
        if record is not None and record.data & data
    ]
    # An earlier version told the searches of a session and of its folds as one.
    own, alone = spec.layout.stretches[0].count, spec.validation is None or not spec.validation.folds[1:]
    if not alone:
        records = [record for record in records if record.session_id != session_id or record.trials <= own
                   or record.search not in _own_searches(session_id, spec)]  # fmt: skip
    recorded = {record.session_id for record in records} - {session_id}
    # What is done has its record, unless an earlier version did it; reading those jobs again would take its time.
    for other in session_ids(files, layout):
        records += [] if other in recorded else _live(files, layout.session(other), data)
    records = [record for record in records if record.sees(window)]
    most: dict[str, int] = {}
    for record in records:
        most[record.search] = max(most.get(record.search, 0), record.trials)
    return TrialsOnData(sum(most.values()), len(most), read.count(None))


def _as_earlier(session_id: str, spec: JobSpec) -> dict[str, str]:
    """What the searches of a session are called, by what an earlier version called them."""
    now, before = (records_of(session_id, spec, spec.n, which) for which in (NO_MATTER, NO_MATTER_FIRST))
    return {one.search: other.search for one, other in zip(before, now, strict=True)}


def _own_searches(session_id: str, spec: JobSpec) -> set[str]:
    """The digest of a session's own search, without those of its folds."""
    return {record.search for record in records_of(session_id, spec, 1)}


def _live(files: Files, paths: SessionPaths, data: frozenset[str]) -> list[TrialRecord]:
    try:
        spec = read_spec(files, paths)
        if not data_digests(spec) & data:
            return []
        return records_of(paths.session_id, spec, SessionQueue(files, paths).refresh().counted)
    except (ArbdError, OSError):
        # Gone or damaged meanwhile: `arbctl doctor` and whoever asks for that session are told.
        return []


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
            return TrialRecord(found.session_id, frozenset(found.data), found.search, found.trials, found.window)
    except (OSError, ValueError, VersionError):
        return None
    return None
