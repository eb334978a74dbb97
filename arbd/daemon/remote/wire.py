"""What a daemon and a slot that does not see the spool send each other. Bytes on the way, values at both ends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Annotated, Any

import msgspec

from arbd.daemon.slots.pool import Limits
from arbd.daemon.slots.protocol import FailureRecord, SubSpan
from arbd.spool.ledger_records import MAX_BUSY_NS
from arbd.spool.spans import Span

# Those of another version are not read: `versions` are compared before anything else.
VERSION = 1
BusySeconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_BUSY_NS / 1e9)]


class Job(msgspec.Struct, frozen=True, dict=True):
    """A session: `spec` as it stands in the spool, and the code that its rows are to be made with.

    `base` are the parts of `arbd.job.code.base_parts` of the daemon. `code` is the `digest_of_files` of what the
    objective may import, '' where it imports nothing of folders of objectives. `allow` is the daemon's.
    """

    session_id: str
    spec: bytes
    base: dict[str, str]
    era: int
    parts: dict[str, str]
    given_up: tuple[dict[str, str], ...] = ()
    code: str = ""
    allow: tuple[str, ...] = ()
    version: int = VERSION

    @cached_property
    def encoded(self) -> bytes:
        """For the way."""
        return msgspec.msgpack.encode(self)


class Chunk(msgspec.Struct, frozen=True):
    """One task of a session, with what its iterations are to run: see `ChunkTask`."""

    sub_spans: tuple[SubSpan, ...]
    planned: bytes
    timeout_s: float | None
    retries: int
    attempts: dict[int, int] = {}
    failures: tuple[tuple[int, FailureRecord], ...] = ()
    scalar: bool = False
    careful: int = 0
    fresh: bool = False

    @property
    def limits(self) -> Limits:
        """What is enforced where it runs."""
        return Limits(self.timeout_s, self.retries)


class Outcome(Enum):
    """What came of a chunk."""

    EVALUATED = "evaluated"
    UNLOADABLE = "unloadable"
    """The session cannot be evaluated there, and `reason` says why."""
    UNFIT = "unfit"
    """That host computes with other versions; nothing was evaluated."""
    MISSING = "missing"
    """It needs the files of `wanted` first; nothing was evaluated."""


class Answer(msgspec.Struct, frozen=True):
    """What came of a chunk; `rows` are batches as they stand in segments, each iteration once.

    `parts` is the code that made them. The rest is as in `ChunkReport`.
    """

    outcome: Outcome
    host: str
    reason: str = ""
    wanted: tuple[str, ...] = ()
    rows: tuple[bytes, ...] = ()
    parts: dict[str, str] = {}
    left: dict[int, tuple[Span, ...]] = {}
    busy_s: BusySeconds = 0.0
    first_error: str = ""
    code_changed: str = ""
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """For the way."""
        return msgspec.msgpack.encode(self)


# The files of one name, by their names below a folder.
Files = dict[str, bytes]
CODE = "code:"

_job = msgspec.msgpack.Decoder(Job)
_chunk = msgspec.msgpack.Decoder(Chunk)
_answer = msgspec.msgpack.Decoder(Answer)
_files = msgspec.msgpack.Decoder(Files)


def decode_job(data: bytes) -> Job:
    """What `Job.encoded` is; ValueError when it is none of this version."""
    return _job.decode(data)


def decode_chunk(data: bytes) -> Chunk:
    """What `encode` made of a chunk."""
    return _chunk.decode(data)


def decode_answer(data: bytes) -> Answer:
    """What `Answer.encode` made; ValueError when it is none."""
    return _answer.decode(data)


def decode_files(data: bytes) -> Files:
    """What `encode` made of files."""
    return _files.decode(data)


def encode(value: Any) -> bytes:
    """A chunk, or files."""
    return msgspec.msgpack.encode(value)


def digest_of_files(digests: Mapping[str, str]) -> str:
    """One digest for files of these names and digests."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
