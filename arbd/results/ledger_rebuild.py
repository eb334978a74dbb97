"""A ledger made anew: its whole records as they are, and what lost ones told as far as job, rows and results tell it.

Nothing that was recorded is left out, and nothing is said that no other file of the session says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

import numpy as np

from arbd.arrays import Array
from arbd.errors import CorruptionError
from arbd.results.columns import RowRules
from arbd.results.segments import SegmentReader, worker_of
from arbd.results.store_reader import StoredResults
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.frames import encode_frame, scan_file
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import (
    LEDGER,
    ClaimRecord,
    DoneRecord,
    ExtendRecord,
    FinishRecord,
    LedgerRecord,
    OpenRecord,
    read_record,
)
from arbd.spool.spans import Claim, Counts, Finish, Span, spans_of
from arbd.values import dataclass

# A claim that a rebuilt ledger adds has a number that no worker gives.
FIRST_CLAIM_ID = 1 << 40


@dataclass(slots=True)
class RebuiltLedger:
    """The records, and what they fold to. `added` says in words what was derived."""

    payloads: list[bytes] = field(default_factory=list)
    state: LedgerState = field(default_factory=LedgerState)
    added: list[str] = field(default_factory=list)

    def encode(self) -> bytes:
        """The bytes of the file."""
        return b"".join(encode_frame(payload) for payload in self.payloads)

    def add(self, record: LedgerRecord, why: str = "", payload: bytes | None = None) -> None:
        """One more record; `payload` is what it was read from."""
        self.state.fold(record)
        self.payloads.append(ledger.pack(record) if payload is None else payload)
        if why:
            self.added.append(why)


def whole_payloads(files: Files, paths: SessionPaths) -> list[bytes]:
    """The payloads of all whole frames of a ledger, in order; none when there is no such file."""
    found: list[bytes] = []
    try:
        for _, scan in scan_file(lambda offset, limit: files.read(paths.ledger, offset, limit)):
            found += [bytes(frame.payload) for frame in scan.frames]
    except FileNotFoundError:
        return []
    return found


def opening(payloads: Sequence[bytes], paths: SessionPaths) -> int | None:
    """The iterations that the ledger's own opening record says; None where that is lost."""
    for payload in payloads[:1]:
        try:
            record = read_record(payload, 0, paths.ledger)
        except ValueError:
            return None
        return record.n if isinstance(record, OpenRecord) else None
    return None


def extended_to(payloads: Sequence[bytes], n: int, paths: SessionPaths) -> int:
    """The iterations of a session of `n` at first, after all extensions that its records tell of."""
    return max([n, *(record.n for _, record in _records(payloads, n, paths) if isinstance(record, ExtendRecord))])


def rebuild(
    files: Files, paths: SessionPaths, payloads: Sequence[bytes], n: int, rules: RowRules, stored: StoredResults | None
) -> RebuiltLedger:
    """A ledger from the whole records of one; `stored` are the results of the session where these are whole."""
    rebuilt = RebuiltLedger()
    if opening(payloads, paths) is None:
        rebuilt.add(ledger.opened(n), f"the record that opens it, with {n:,} iterations")
    else:
        rebuilt.add(read_record(payloads[0], 0, paths.ledger), payload=payloads[0])
    found = list(_records(payloads, rebuilt.state.n, paths, rules.n))
    records = [record for _, record in found]
    last = len(records) - 1 if records and isinstance(records[-1], DoneRecord) else None
    for number, (payload, record) in enumerate(found):
        if rebuilt.state.done and isinstance(record, ClaimRecord | FinishRecord):
            _order_again(rebuilt, records[number:])
        if number == last:
            break
        if isinstance(record, DoneRecord):
            _account(files, paths, rules, rebuilt, stored)
        rebuilt.add(record, "" if payload is not None else "that it was extended", payload)
    if last is None and (stored is None or not _is_finished(rebuilt.state, stored, records)):
        if rebuilt.state.over:
            _account(files, paths, rules, rebuilt, stored)
        return rebuilt
    if stored is not None and stored.session_n < rebuilt.state.n:
        rebuilt.add(ledger.stopped(stored.session_n, _reason(files, paths)), "where the session stops")
    _account(files, paths, rules, rebuilt, stored)
    _end(rebuilt, found[last] if last is not None else None, stored)
    return rebuilt


def _end(rebuilt: RebuiltLedger, last: tuple[bytes | None, LedgerRecord] | None, stored: StoredResults | None) -> None:
    """That the session is done: its own record says so, unless it counts other iterations than there are."""
    if last is not None:
        rebuilt.add(last[1], payload=last[0])
    if not rebuilt.state.done and stored is not None and stored.n == rebuilt.state.n:
        rebuilt.add(ledger.compacted(stored.counts, stored.duplicates), "that the session is done")


def _records(
    payloads: Sequence[bytes], n: int, paths: SessionPaths, most: int = 0
) -> Iterator[tuple[bytes | None, LedgerRecord]]:
    """All records but the one that opens the session; frames that hold none are left out.

    Where a record is of iterations that the session has only since it was extended, to the `most` that its job says, and
    the record that says so is lost, that one comes before it, without a payload.
    """
    for payload in payloads:
        try:
            record = read_record(payload, n, paths.ledger)
        except ValueError:
            try:
                record = read_record(payload, max(n, most), paths.ledger)
            except ValueError:
                continue
            n = most
            yield None, ledger.extended(n, "its record was lost")
        n = record.n if isinstance(record, ExtendRecord) else n
        yield payload, record


def _order_again(rebuilt: RebuiltLedger, records: Sequence[LedgerRecord]) -> None:
    """Iterations of a session that is done are claimed: the record that orders them to run again is lost."""
    spans: list[Span] = []
    finished = np.zeros(4, dtype=np.int64)
    counts = rebuilt.state.counts
    for record in records:
        if isinstance(record, ClaimRecord):
            spans += [Span(claim.first, claim.count, claim.epoch) for claim in record.claims]
        elif isinstance(record, FinishRecord):
            finished += np.sum([finish.counts for finish in record.finishes], axis=0, dtype=np.int64)
        elif isinstance(record, DoneRecord):
            uncounted = np.array(counts) + finished - np.array(record.counts)
            rebuilt.add(ledger.again(spans, uncounted.tolist(), "retry"), "what was ordered to run again")
            return


def _is_finished(state: LedgerState, stored: StoredResults, records: Sequence[LedgerRecord]) -> bool:
    """True when the results hold every iteration as it was last ordered, so that only the record of it is lost."""
    if stored.session_n <= _before_extension(records, state.n):
        return False
    if state.state == ledger.CANCELLED or stored.n != min(stored.session_n, state.n):
        return False
    epochs = stored.fixed("epoch")
    return not len(epochs) or int(epochs.max()) >= state.epoch


def _before_extension(records: Sequence[LedgerRecord], n: int) -> int:
    """How many iterations the session had when it was extended last, as far as its records tell; 0 where it never was."""
    last = max((at for at, record in enumerate(records) if isinstance(record, ExtendRecord)), default=None)
    if last is None:
        return 0
    done = [record for record in records[:last] if isinstance(record, DoneRecord)]
    return sum(done[-1].counts) if done else n - 1


def _reason(files: Files, paths: SessionPaths) -> str:
    from arbd.results.generations import published_up_to, read_generation  # noqa: PLC0415 - samplers, seldom needed

    try:
        last = published_up_to(files, paths)
        return read_generation(files, paths, last).stop if last else ""
    except (CorruptionError, FileNotFoundError):
        return ""


def _account(
    files: Files, paths: SessionPaths, rules: RowRules, rebuilt: RebuiltLedger, stored: StoredResults | None
) -> None:
    """Who did what of the iterations that lost records told of: rows say it, in the segments or else in the results."""
    state = rebuilt.state
    if not (state.claims or state.unclaimed):
        return
    rows: list[_Rows] = []
    if paths.segments.name in files.names(paths.folder):
        rows = list(_rows(files, paths, rules))
    if not rows and stored is not None:
        rows = list(_stored_rows(stored, rebuilt))
    for claim in sorted(state.claims.values(), key=lambda claim: (claim.incarnation, claim.claim_id)):
        done, ended_ns = _found([row for row in rows if row.incarnation == claim.incarnation], claim.span)
        span = claim.span
        missing = sorted(set(range(span.first, span.first + span.count)) - done.keys())
        # Nobody goes on with it: what has no row was given back.
        finish = Finish(claim.claim_id, _counts(done), tuple(spans_of(missing, span.epoch)))
        at_ns = ended_ns or (state.pace[1] if state.pace is not None else 0)
        rebuilt.add(ledger.finished(claim.incarnation, [finish], at_ns), f"what {claim.worker_id} finished")
    lost = [*state.pool, *([Span(state.cursor, state.n - state.cursor + 1)] if state.cursor <= state.n else [])]
    for worker, spans in _owners(rows, lost).items():
        _add_work(rebuilt, worker, rows, spans)


@dataclass(frozen=True, slots=True)
class _Rows:
    worker_id: str
    incarnation: int
    iteration: Array
    status: Array
    epoch: Array
    ended_ns: Array


def _rows(files: Files, paths: SessionPaths, rules: RowRules) -> Iterator[_Rows]:
    for found in SegmentReader(files, paths, rules=rules).poll():
        name, rows = found.segment, found.rows
        incarnation = int(name.rsplit("-", 2)[1], 16)
        yield _Rows(worker_of(name), incarnation, rows.iteration, rows.status, rows.epoch, rows.ended_ns)


def _stored_rows(stored: StoredResults, rebuilt: RebuiltLedger) -> Iterator[_Rows]:
    """The rows of the results by worker, for each start of it that the ledger knows."""
    records = map(LEDGER.decode, rebuilt.payloads)
    known = dict.fromkeys((r.worker_id, r.incarnation) for r in records if isinstance(r, ClaimRecord))
    worker = stored.worker()
    columns = [stored.fixed(name) for name in ("iteration", "status", "epoch", "ended_ns")]
    for number, worker_id in enumerate(stored.workers):
        own = worker == number
        for incarnation in [found for name, found in known if name == worker_id] or [0]:
            yield _Rows(worker_id, incarnation, *(column[own] for column in columns))


def _found(rows: Sequence[_Rows], span: Span) -> tuple[dict[int, int], int]:
    """The status of each iteration of a span that has a row, and when the last of them ended."""
    status: dict[int, int] = {}
    ended_ns = 0
    for part in rows:
        inside = (part.iteration >= span.first) & (part.iteration < span.first + span.count)
        inside &= part.epoch == span.epoch
        status.update(zip(part.iteration[inside].tolist(), part.status[inside].tolist(), strict=True))
        ended_ns = max([ended_ns, *part.ended_ns[inside].tolist()])
    return status, ended_ns


def _counts(status: Mapping[int, int]) -> Counts:
    found = np.bincount(np.array(list(status.values()), dtype=np.int64), minlength=4)
    return (int(found[0]), int(found[1]), int(found[2]), int(found[3]))


def _owners(rows: Sequence[_Rows], lost: Sequence[Span]) -> dict[tuple[str, int], list[Span]]:
    """Which incarnation has rows of which lost iterations."""
    owned: dict[tuple[str, int], list[Span]] = defaultdict(list)
    for span in lost:
        for key in dict.fromkeys((part.worker_id, part.incarnation) for part in rows):
            iterations = {
                iteration
                for part in rows
                if (part.worker_id, part.incarnation) == key
                for iteration in part.iteration[part.epoch == span.epoch].tolist()
                if span.first <= iteration < span.first + span.count
            }
            owned[key] += spans_of(sorted(iterations), span.epoch)
    return owned


def _add_work(rebuilt: RebuiltLedger, worker: tuple[str, int], rows: Sequence[_Rows], spans: Sequence[Span]) -> None:
    worker_id, incarnation = worker
    own = [part for part in rows if part.incarnation == incarnation]
    for span in spans:
        status, ended_ns = _found(own, span)
        claim = Claim(FIRST_CLAIM_ID + len(rebuilt.payloads), span, worker_id, incarnation)
        rebuilt.add(ledger.claimed([claim], 1, ended_ns))
        rebuilt.add(
            ledger.finished(incarnation, [Finish(claim.claim_id, _counts(status))], ended_ns),
            f"what {worker_id} finished",
        )
