"""Messages between two processes of one host over a pipe: a number of parts, their lengths, the parts."""

from __future__ import annotations

import struct
from typing import IO

HEADER = struct.Struct(">Q")


def write_message(output: IO[bytes], parts: list[bytes]) -> None:
    """One message of several parts."""
    head = [HEADER.pack(len(parts)), *(HEADER.pack(len(part)) for part in parts)]
    output.write(b"".join(head))
    for part in parts:
        output.write(part)
    output.flush()


def read_message(source: IO[bytes]) -> list[bytes] | None:
    """The next message; None at the end."""
    head = source.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    (count,) = HEADER.unpack(head)
    lengths = [HEADER.unpack(source.read(HEADER.size))[0] for _ in range(count)]
    parts = [source.read(length) for length in lengths]
    return parts if all(len(part) == length for part, length in zip(parts, lengths, strict=True)) else None
