"""How many trials were ever made on the same data: what each session adds to the spool's record, and the sum of them.

Luck grows with every parameter set that is tried on the same data, in whatever session. So a session that is done, or is
purged, leaves a record in `trials/` that stays when the session goes: one small file of its own, published whole, never
changed. Whoever compacts a session twice, or purges what was compacted, makes the same record under the same name.
The same job once more, under whatever id, gives the same results (I5), and is no new trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
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
from arbd.spool.session_index import ended_sessions
from arbd.spool.sessions import session_ids
from arbd.values import dataclass

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
    marks: Annotated[tuple[Text, ...], Items] = ()
    alike: Text = ""


_TRIALS: RecordFormat[_TrialRecord] = RecordFormat("the record", _TrialRecord, lambda: schema.TRIALS)


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """`data`: what the trials were made on, as digests. `search` is the digest of all that decides which trials they are.

    `window` is what of the data they saw, [from_ns, to_ns); None where it was all. `marks` are what the markets are known
    by in other files, and `alike` is the digest of what decides the trials but the data: of a search that goes on the same
    parameter sets through other parts of a market; of a method that learns it is `search`, as other data make other sets.
    Records of earlier versions have neither.
    """

    session_id: str
    data: frozenset[str]
    search: str
    trials: int
    window: Window | None = None
    marks: tuple[str, ...] = ()
    alike: str = ""

    def sees(self, window: Window | None) -> bool:
        """True when the trials saw some of a window of the data; None is all of it."""
        own = self.window
        return own is None or window is None or (own[0] < window[1] and window[0] < own[1])

    def sees_in_other_files(self, marks: Sequence[str], window: Window | None) -> bool:
        """As `sees`, of a window of the same market in the files of another job."""
        return replace(self, window=self.window or _reach(self.marks)).sees(window or _reach(marks))

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
                        **({"marks": list(self.marks), "alike": self.alike} if self.marks else {}),
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
    """What a session's trials are made on: its data and scenario files; of a job without any, its objective.

    Whose code may change while the data that it reads are what they were; earlier versions had the code in it.
    """
    files = frozenset(spec.digests[path] for path in (*spec.data, *spec.scenarios) if path in spec.digests)
    if files:
        return files
    target = (spec.objective.kind, *spec.objective.target)
    names = ("\0".join(each) for each in (target, (*target, *sorted(spec.digests.values()))))
    return frozenset(hashlib.sha256(name.encode()).hexdigest() for name in names)


# Of a job, what does not decide which trials it makes: how far it goes, and how it is run, named and kept.
NO_MATTER_FIRST = (
    "version", "session_id", "n", "execution", "results", "notices", "sampler_versions", "stop", "validation",
)  # fmt: skip
# Earlier versions took these for another search: of a session that was extended, or had labels or terms.
NO_MATTER = (*NO_MATTER_FIRST, "began_with", "labels", "terms", "marks")
# What says on which data, and through which windows of it, a search goes.
OF_DATA = ("data", "scenarios", "digests", "window", "folds", "held_out")


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
    code = {name: digest for name, digest in spec.digests.items() if name not in (*spec.data, *spec.scenarios)}
    # Which windows a search has is of the data; that it has some, or is of folds or a test, says what it does.
    free = {name: value for name, value in told.items() if name not in OF_DATA}
    kind = [name for name in ("window", "folds", "held_out") if name in told]
    alike = hashlib.sha256(bytes(msgpack.packb([free, kind, code]))).hexdigest()
    # A method that learns makes other sets of other data.
    alike = search if spec.sampler_versions else alike
    return TrialRecord(session_id, data_digests(spec), search, trials, window, spec.marks, alike)


def _reach(marks: Sequence[str]) -> Window | None:
    """From when to when a market is at most that has these marks; None where they do not tell."""
    moments = sorted(moments_of(marks))
    step = max((after - before for before, after in pairwise(moments)), default=None)
    return None if step is None else (moments[0] - step, moments[-1] + step)


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
    """Trials of all sessions of this spool, purged ones too, on the data of this one, that saw of `window`.

    Sessions share data where they have a file in common, or where their files have the same quotes of some time.
    """
    data = data_digests(spec)
    read = _records(files, layout)
    shared = [record for record in read if record is not None and _shares(record, data, spec.marks)]
    known = {session_id: _as_earlier(session_id, spec)}
    for other in sorted({*session_ids(files, layout)} - _told_by_records(files, layout, read, session_id)):
        live, known_of_it = _live(files, layout.session(other), data, spec.marks)
        shared += live
        known[other] = known_of_it
    records = [
        replace(record, search=known.get(record.session_id, {}).get(record.search, record.search))
        for record in shared
        if record.data & data
    ]
    # An earlier version told the searches of a session and of its folds as one.
    own, alone = spec.layout.stretches[0].count, spec.validation is None or not spec.validation.folds[1:]
    if not alone:
        records = [record for record in records if record.session_id != session_id or record.trials <= own
                   or record.search not in _own_searches(session_id, spec)]  # fmt: skip
    # Of several markets, what a job searches and what it holds out overlap in time, without a quote in common.
    seen, held_out = windows_of(spec)
    apart = held_out if window == seen else seen if window == held_out else None
    most: dict[str, int] = {}
    for record in records:
        if record.sees(window) and (apart is None or record.window != apart):
            most[record.search] = max(most.get(record.search, 0), record.trials)
    # The same sets on other parts of a market are no more sets: a job that goes on day after day is one search.
    here: dict[str, int] = {}
    for record in records:
        if record.sees(window) or record.session_id == session_id:
            here[record.alike] = max(here.get(record.alike, 0), record.trials)
    others: dict[str, int] = {}
    for record in shared:
        if record.data & data or (apart is not None and record.window == apart):
            continue
        if record.sees_in_other_files(spec.marks, window):
            # Of a search that went further there, what is beyond is more.
            beyond = record.trials - here.get(record.alike, 0)
            others[record.alike] = max(others.get(record.alike, 0), beyond)
    trials = sum(most.values()) + sum(others.values())
    return TrialsOnData(trials, len(most) + len(others.keys() - here.keys()), read.count(None))


def _told_by_records(
    files: Files, layout: SpoolLayout, records: Sequence[TrialRecord | None], session_id: str
) -> set[str]:
    """Other sessions whose records say all: who is done, as the index tells. Their jobs and ledgers need not be read.

    What was extended goes on, and what was cancelled after that is not done: both came further than their records.
    """
    recorded = {record.session_id for record in records if record is not None} - {session_id}
    ended = ended_sessions(files, layout, files.names(layout.sessions))
    return {name for name in recorded & ended.keys() if not ended[name].cancelled}


def _as_earlier(session_id: str, spec: JobSpec) -> dict[str, str]:
    """What the searches of a session are called, by what an earlier version called them."""
    now, before = (records_of(session_id, spec, spec.n, which) for which in (NO_MATTER, NO_MATTER_FIRST))
    return {one.search: other.search for one, other in zip(before, now, strict=True)}


def _own_searches(session_id: str, spec: JobSpec) -> set[str]:
    """The digest of a session's own search, without those of its folds."""
    return {record.search for record in records_of(session_id, spec, 1)}


def moments_of(marks: Collection[str]) -> dict[int, set[str]]:
    """The digests of marks by moment."""
    found: dict[int, set[str]] = {}
    for mark in marks:
        moment, _, digest = mark.partition(":")
        found.setdefault(int(moment), set()).add(digest)
    return found


def is_same_market(marks: Collection[str], others: Collection[str]) -> bool:
    """True when two recordings have moments in common, and the same prices at half of these or more."""
    agreed = moments_of(set(marks).intersection(others))
    return bool(agreed) and 2 * len(agreed) >= len(moments_of(marks).keys() & moments_of(others).keys())


def _shares(record: TrialRecord, data: frozenset[str], marks: Sequence[str]) -> bool:
    return bool(record.data & data) or is_same_market(record.marks, marks)


def _live(
    files: Files, paths: SessionPaths, data: frozenset[str], marks: Sequence[str]
) -> tuple[list[TrialRecord], dict[str, str]]:
    """What a session that shares data has tried until now, and `_as_earlier` of it."""
    try:
        spec = read_spec(files, paths)
        if not data_digests(spec) & data and not is_same_market(spec.marks, marks):
            return [], {}
        counted = SessionQueue(files, paths).refresh().counted
    except (ArbdError, OSError):
        # Gone or damaged meanwhile: `arbctl doctor` and whoever asks for that session are told.
        return [], {}
    return records_of(paths.session_id, spec, counted), _as_earlier(paths.session_id, spec)


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
            return TrialRecord(
                found.session_id,
                frozenset(found.data),
                found.search,
                found.trials,
                found.window,
                found.marks,
                found.alike,
            )
    except (OSError, ValueError, VersionError):
        return None
    return None
