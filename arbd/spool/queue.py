"""One session's queue: claiming and finishing iterations through the ledger, safely from many hosts at once.

Keeps I1, I4 and I6: one short critical section reads what is new, appends what this worker has to say, and
syncs; the ledger is opened after the lock is held and closed before it is released, which is what makes
close-to-open consistency of network filesystems enough. Nothing is ever cut off or written over: what a
writer that died left half-written is skipped by readers. What was claimed is known from reading back, so
that even a stale first read costs nothing but the claim.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence

from arbd.errors import CorruptionError, DamageWarning, UnopenedError
from arbd.records import unpack
from arbd.spool import ledger
from arbd.spool.files import Files
from arbd.spool.frames import SMALL_WINDOW_BYTES, Damage, encode_frame, scan_file
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import (
    ClaimRecord,
    DoneRecord,
    ExtendRecord,
    FinishRecord,
    LedgerRecord,
    check_place,
    read_record,
)
from arbd.spool.readable import iterations_of_job
from arbd.spool.spans import Claim, Finish
from arbd.spool.system import KeptFileLock
from arbd.spool.unknown_session import unknown_session
from arbd.values import dataclass

LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Who claims: a worker id, the random number of this start of it, and how many slots it has."""

    worker_id: str
    incarnation: int
    slots: int


class SessionQueue:
    """A session's ledger as one process sees it; not thread-safe, one thread owns it."""

    def __init__(self, files: Files, paths: SessionPaths, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self._files = files
        self.lock_timeout_s = lock_timeout_s
        self.paths = paths
        self.state = LedgerState()
        self.damage: list[Damage] = []
        self.opened_from_job = False
        # Whether the records before the one that ends the session came to what that says.
        self.is_accounted = True
        self._seen = 0
        self._offset = 0
        self._told: set[Damage] = set()
        self._issued: set[int] = set()
        self._claim_ids = itertools.count(1)
        self._lock: KeptFileLock | None = None

    def refresh(self) -> LedgerState:
        """Fold what is new without taking the lock; sees only whole records.

        NotFoundError when there is no ledger, UnopenedError when it does not begin, VersionError when it is another
        version's.
        """
        try:
            self._fold_new()
        except FileNotFoundError as error:
            raise unknown_session(self._files, self.paths) from error
        finally:
            self._let_go()
        return self._opened()

    def _opened(self) -> LedgerState:
        if not self.state.n:
            raise UnopenedError(self.paths.ledger, self.paths.session_id)
        return self.state

    @property
    def position(self) -> int:
        """How many bytes of the ledger are folded."""
        return self._offset

    def resume(self, state: LedgerState, position: int) -> None:
        """Go on from what the first `position` bytes folded to."""
        self.state, self._offset = state, position

    def reread(self) -> None:
        """Fold the whole ledger anew, and hand out on the next `claim` what it says this incarnation holds.

        A host that was cut off for longer than its file server's lease, in the middle of an append, can write
        over records that others have read: then what they remember is not what the ledger says.
        """
        self.state, self._offset = LedgerState(), 0
        self._fold_new()
        self._opened()

    def take_damage(self) -> list[str]:
        """Places of unreadable stretches found since the last call; a writer that died leaves one."""
        found = [f"{self.paths.ledger}, bytes {d.offset} to {d.end}" for d in self.damage]
        self.damage.clear()
        return found

    def claim(
        self,
        worker: Worker,
        finishes: Sequence[Finish],
        plan: Callable[[LedgerState], tuple[int, int]],
        wall_ns: int,
        leave_to_others: str = "",
        limit: int | None = None,
        busy_ns: int = 0,
    ) -> list[Claim]:
        """Record `finishes`, then claim as `plan` says after seeing the state: (iterations a chunk, in all).

        Iterations that worker `leave_to_others` should avoid are left alone, and those beyond `limit`. Slots were busy
        with `finishes` for `busy_ns`.

        Returned are the claims that stand in the ledger and were not returned before. Everything is one append:
        either all of it is durable on return, or an OSError was raised and the same call can be made again. An
        append that reached the disk although it raised is found on the next call: its claims are handed out
        then, its finishes count once.
        """
        with self._exchange() as records:
            if finishes:
                records.append(ledger.finished(worker.incarnation, finishes, wall_ns, busy_ns))
            state = self.state
            if not state.over and state.state == ledger.RUNNING:
                chunk, total = plan(state)
                spans = state.take(chunk, total, leave_to_others, limit) if total > 0 else []
                claims = [Claim(next(self._claim_ids), span, worker.worker_id, worker.incarnation) for span in spans]
                if claims:
                    records.append(ledger.claimed(claims, worker.slots, wall_ns))
        return self._unissued(worker.incarnation)

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[list[LedgerRecord]]:
        """Under the lock, what is new in the ledger folded: the records to append, which are folded afterwards.

        The ledger is opened once to read and to append, and closed and opened anew to read back, before the lock is given
        back: the handle that wrote would show what was written, and not what a file server made of it.
        """
        records: list[LedgerRecord] = []
        with self._locked():
            with self._files.extended(self.paths.ledger) as opened:
                self._fold(opened.read)
                yield records
                if records:
                    opened.append(self._encoded(records))
            if records:
                self._fold_new()
        self._let_go()

    def _encoded(self, records: Sequence[LedgerRecord]) -> bytes:
        """CorruptionError, with nothing written, where that would make the ledger unreadable for everybody."""
        n = self.state.opened_n
        try:
            for record in records:
                check_place(record, n)
                n = record.n if isinstance(record, ExtendRecord) else n
            return b"".join(encode_frame(ledger.pack(record)) for record in records)
        except ValueError as error:
            reason = f"what was to be written behind it is not a ledger record, and was not written: {error}"
            raise CorruptionError(self.paths.ledger, self._offset, reason) from error

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        self._lock = self._lock or self._files.system.kept_lock(self.paths.ledger_lock)
        return self._files.lock(self.paths.ledger_lock, self.lock_timeout_s, self._lock)

    def _let_go(self) -> None:
        """Keep nothing open of a session that is over: it may be removed."""
        if self.state.over and self._lock is not None:
            self._lock.close()

    def _unissued(self, incarnation: int) -> list[Claim]:
        own = [claim for claim in self.state.claims.values() if claim.incarnation == incarnation]
        fresh = [claim for claim in own if claim.claim_id not in self._issued]
        self._issued = {claim.claim_id for claim in own}
        return fresh

    def change(self, decide: Callable[[LedgerState], Sequence[LedgerRecord]]) -> LedgerState:
        """Append the records that `decide` returns for the current state, under the lock.

        An old copy of the ledger costs an exchange nothing but a claim; here somebody would decide by it. So each look is
        through an open of its own, until one shows nothing new.
        """
        with self._locked():
            self._fold_new()
            seen = -1
            while seen != self._offset:
                seen = self._offset
                self._fold_new()
            records = decide(self._opened())
            if records:
                self._files.append(self.paths.ledger, self._encoded(records))
                self._fold_new()
        self._let_go()
        return self.state

    def _fold_new(self) -> None:
        """Fold what is new, through a fresh open."""
        self._fold(lambda offset, limit: self._files.read(self.paths.ledger, offset, limit))

    def _fold(self, read_file: Callable[[int, int], bytes]) -> None:
        # What is new is little, nearly always: read at once, and looked at from there.
        ahead_at, ahead = self._offset, read_file(self._offset, SMALL_WINDOW_BYTES)

        def read(offset: int, limit: int) -> bytes:
            at = offset - ahead_at
            is_ahead = at >= 0 and (len(ahead) < SMALL_WINDOW_BYTES or at + limit <= len(ahead))
            data = ahead[at : at + limit] if is_ahead else read_file(offset, limit)
            self._seen = offset + len(data)
            return data

        for base, scan in scan_file(read, self._offset):
            for damage in scan.damage:
                place = Damage(base + damage.offset, base + damage.end)
                if place not in self._told:
                    self._told.add(place)
                    self.damage.append(place)
            for frame in scan.frames:
                try:
                    if not self.state.n and base + frame.offset > 0:
                        self._open_from_job(frame.payload)
                    record = read_record(frame.payload, self.state.opened_n, self.paths.ledger)
                    self._account(record)
                    self.state.fold(record)
                except ValueError as error:
                    raise CorruptionError(
                        self.paths.ledger, base + frame.offset, f"not a ledger record: {error}"
                    ) from error
            if scan.given_up:
                raise CorruptionError(self.paths.ledger, base, "more damage than can be searched for records")
            self._offset = base + scan.good_end

    def _account(self, record: LedgerRecord) -> None:
        """Notice records that cannot follow the ones before, because some between are lost."""
        if isinstance(record, DoneRecord):
            self.is_accounted &= self.state.exhausted and self.state.counts == list(record.counts)
        if isinstance(record, ClaimRecord | FinishRecord | DoneRecord):
            # What is done is claimed only after it was ordered again.
            self.is_accounted &= not self.state.done

    def _open_from_job(self, payload: memoryview) -> None:
        """A record stands behind damage in the place of the one that opens a session: the job says the same."""
        record = unpack(payload)
        if isinstance(record, dict) and record.get("k") == "open":
            return
        n = iterations_of_job(self._files, self.paths)
        if n is not None:
            self.state.fold(ledger.opened(n))
            self.opened_from_job = True

    def unread(self) -> list[Damage]:
        """Stretches that no whole record stands in and that may have told something.

        None of a session that is done and whose whole records came to its end: a writer that died left them.
        """
        if self.state.done and self.is_accounted:
            return []
        return [*self.damage, *([Damage(self._offset, self._seen)] if self._offset < self._seen else [])]

    def warn_of_damage(self) -> None:
        """A DamageWarning for what a reader should know of this ledger's damage."""
        if self.opened_from_job:
            text = f"{self.paths.ledger}, byte 0: the record that opens the session is damaged; its job says the same"
        elif found := self.unread():
            places = ", ".join(f"{damage.offset} to {damage.end}" for damage in found)
            text = (
                f"{self.paths.ledger}, bytes {places}: no whole records, cut off or damaged, so that the session may be "
                "further, and workers have done more, than is said"
            )
        else:
            return
        warnings.warn(f"{text}; see `arbctl repair {self.paths.session_id}`", DamageWarning, stacklevel=2)
