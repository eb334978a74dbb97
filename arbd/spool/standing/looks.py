"""What each worker last saw of the data of a standing job: a file for each worker, which only that one writes."""

from __future__ import annotations

import contextlib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from arbd.errors import ArbdError
from arbd.records import Signed
from arbd.spool.frames import encode_frame, whole_frame
from arbd.spool.standing.folder import StandingFolder
from arbd.spool.standing.records import MAX_TEXT_CHARS

PREFIX = "look-"
MAX_FILES = 20_000
MAX_BYTES = 8 << 20


class Hashed(Struct, frozen=True, array_like=True):
    """A file as it was hashed."""

    path: Annotated[str, Meta(max_length=4096)]
    size: Signed
    mtime_ns: Signed
    digest: Annotated[str, Meta(max_length=64)]


class Look(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker knows; `error` is why it cannot see the data, '' when it can."""

    files: Annotated[tuple[Hashed, ...], Meta(max_length=MAX_FILES)] = ()
    error: Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] = ""


def read_looks(folder: StandingFolder) -> dict[str, Look]:
    """By worker; what cannot be read is left out: it is made anew."""
    found: dict[str, Look] = {}
    for name in folder.files.names(folder.path):
        if not name.startswith(PREFIX):
            continue
        with contextlib.suppress(OSError, ArbdError, msgspec.DecodeError):
            payload = whole_frame(folder.files.read(folder.path / name, limit=MAX_BYTES))
            if payload is not None:
                found[name.removeprefix(PREFIX)] = msgspec.msgpack.decode(payload, type=Look)
    return found


def keep_look(folder: StandingFolder, worker_id: str, look: Look) -> None:
    """Replace what this worker saw."""
    folder.files.publish(folder.path / f"{PREFIX}{worker_id}", encode_frame(msgspec.msgpack.encode(look)))


def trouble_of(looks: dict[str, Look]) -> str:
    """Why nobody sees the data; '' where anybody does, or nobody has looked."""
    errors = {name: look.error for name, look in looks.items()}
    if not errors or not all(errors.values()):
        return ""
    return "; ".join(f"{name}: {error}" for name, error in sorted(errors.items()))
