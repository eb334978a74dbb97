"""Where a reader left off in a ledger, so that looking at a long session again does not fold all of it again.

A bookmark is a reader's own, in a folder of its user on this host, and never in the spool. It holds the state that
the first so many bytes of a ledger fold to, and their checksum: the bytes are read and summed again at every look,
which is quick, so a ledger that was written over or replaced is noticed and folded anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections import Counter, deque
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import msgpack

from arbd import __version__, schema
from arbd.errors import VersionError
from arbd.spool import provenance
from arbd.spool.files import Files
from arbd.spool.frames import MAX_FRAME_BYTES, encode_frame, payloads
from arbd.spool.layout import SessionPaths
from arbd.spool.ledger import LedgerState
from arbd.spool.queue import SessionQueue
from arbd.spool.spans import Claim, Span

# Folding less than this is quicker than minding a bookmark.
WORTH_BYTES = 256 * 1024
SUM_BYTES = 4 * 1024 * 1024
MAX_BOOKMARK_BYTES = MAX_FRAME_BYTES


def read_state(files: Files, paths: SessionPaths, folder: Path) -> LedgerState:
    """The state of a session's ledger, from the bookmark in `folder` on if there is a good one; NotFoundError if none.

    A bookmark that cannot be kept costs time at the next look, and nothing else.
    """
    queue = SessionQueue(files, paths)
    status = files.look(paths.ledger)
    if status is None or status.size < WORTH_BYTES:
        state = queue.refresh()
        queue.warn_of_damage()
        return state
    path = folder / f"{hashlib.sha256(str(paths.ledger.absolute()).encode()).hexdigest()[:32]}.bookmark"
    start = _resume(files, paths, path, queue)
    state = queue.refresh()
    queue.warn_of_damage()
    if queue.position - start >= WORTH_BYTES:
        # ValueError: a state larger than a frame.
        with contextlib.suppress(OSError, ValueError):
            folder.mkdir(parents=True, exist_ok=True)
            summed = _sum(files, paths, queue.position)
            record = {**schema.BOOKMARK.stamp(), "offset": queue.position, "crc": summed, "state": to_plain(state)}
            # Not one of the spool's files, to which `files` may be confined.
            Files().publish(path, encode_frame(bytes(msgpack.packb(record))))
    return state


def _resume(files: Files, paths: SessionPaths, path: Path, queue: SessionQueue) -> int:
    """Put `queue` where the bookmark is, if that is of this ledger; how many bytes are folded then."""
    try:
        for payload in payloads(Files().read(path, limit=MAX_BOOKMARK_BYTES)):
            record = msgpack.unpackb(payload, strict_map_key=False)
            schema.BOOKMARK.require(record, path)
            offset = record["offset"]
            # What a state is can change between versions, and folding it anew costs little.
            if schema.writer_of(record) == __version__ and _sum(files, paths, offset) == record["crc"]:
                queue.resume(from_plain(record["state"]), offset)
                return queue.position
    except (OSError, ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException, VersionError):
        return 0
    return 0


def _sum(files: Files, paths: SessionPaths, size: int) -> int | None:
    """The checksum of the first `size` bytes of a ledger; None when it is shorter."""
    reader = files.reader(paths.ledger)
    summed = 0
    for offset in range(0, size, SUM_BYTES):
        wanted = min(SUM_BYTES, size - offset)
        data = reader.read(offset, wanted)
        if len(data) != wanted:
            return None
        summed = zlib.crc32(data, summed)
    return summed


def to_plain(state: LedgerState) -> dict[str, Any]:
    """For msgpack."""
    plain = {item.name: getattr(state, item.name) for item in fields(LedgerState)}
    plain["pool"] = [astuple(span) for span in state.pool]
    plain["claims"] = [[c.claim_id, astuple(c.span), c.worker_id, c.incarnation] for c in state.claims.values()]
    plain["recent"] = [list(point) for point in state.recent]
    plain["provenance"] = provenance.to_plain(state.provenance)
    return plain


def from_plain(plain: dict[str, Any]) -> LedgerState:
    """From `to_plain`; TypeError, KeyError or ValueError when it is of another version's form."""
    if set(plain) != {item.name for item in fields(LedgerState)}:
        raise ValueError("the state of another version")
    state = LedgerState()
    claims = [
        Claim(claim_id, Span(*span), worker, incarnation) for claim_id, span, worker, incarnation in plain["claims"]
    ]
    for name, value in plain.items():
        if name not in ("pool", "claims", "recent", "pace", "provenance", "_held"):
            setattr(state, name, value)
    state.pool = deque(Span(*span) for span in plain["pool"])
    state.claims = {(claim.incarnation, claim.claim_id): claim for claim in claims}
    state.pace = None if plain["pace"] is None else (plain["pace"][0], plain["pace"][1])
    state.provenance = provenance.from_plain(plain["provenance"])
    state._held = Counter(plain["_held"])
    state.recent.extend((int(ns), int(count)) for ns, count in plain["recent"])
    return state
