"""Results files that a host in foreign hands wrote: every checksum holds, what they say does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from arbd.results.store_format import TRAILER
from arbd.spool.frames import HEADER, encode_frame


def read_index(data: bytes) -> tuple[dict[str, Any], int]:
    """The index of a results file, and where it stands."""
    offset, length = TRAILER.unpack(data[-TRAILER.size :])
    return msgpack.unpackb(data[offset + HEADER.size : offset + length], strict_map_key=False), offset


def with_index(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The file with another index; `change` changes it in place, or returns what stands in its place."""
    index, offset = read_index(data)
    changed = change(index)
    frame = encode_frame(bytes(msgpack.packb(index if changed is None else changed)))
    return data[:offset] + frame + encode_frame(TRAILER.pack(offset, len(frame)))


def with_column(data: bytes, name: str, content: bytes) -> bytes:
    """The file with another content of a column of its first group, of the same length."""
    offset, length = read_index(data)[0]["groups"][0]["at"][name][1:3]
    frame = encode_frame(content)
    assert len(frame) == length
    return data[:offset] + frame + data[offset + length :]


def with_errors(data: bytes, content: bytes) -> bytes:
    """The file with another content of the errors of its first group; their frame stands behind all others."""
    index, offset = read_index(data)
    errors = encode_frame(content)
    index["groups"][0]["at"]["errors"] = ["", offset, len(errors)]
    frame = encode_frame(bytes(msgpack.packb(index)))
    return data[:offset] + errors + frame + encode_frame(TRAILER.pack(offset + len(errors), len(frame)))


def put(path: Path, data: bytes) -> None:
    """Replace the file, as a publication does: readers that hold the old one go on reading that."""
    path.unlink()
    path.write_bytes(data)
