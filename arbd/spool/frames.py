"""The frame that every binary file of the spool is made of: u32 length, u32 CRC-32, payload (big-endian).

Keeps: a torn tail is never read as a record, and damage in the middle never hides what stands behind it.
A frame of length 0 does not exist, because a run of NUL bytes (what a power cut leaves of an append on
ext4 and NFS) would otherwise read as endless valid empty frames.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HEADER = struct.Struct(">II")
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
# A hostile file can be made of headers that each claim a long payload; beyond this much checksumming in search
# of the next good frame, the rest of the buffer is given up.
RESYNC_BUDGET_BYTES = 4 * MAX_PAYLOAD_BYTES


def encode_frame(payload: bytes) -> bytes:
    """Return `payload` with its header; ValueError when it is empty or larger than a reader accepts."""
    if not 0 < len(payload) <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds 1 to {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


@dataclass(frozen=True, slots=True)
class Frame:
    """A good frame: where it starts, where the next one starts, and what it holds."""

    offset: int
    end: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes `[offset, end)` in the middle of a file that belong to no good frame."""

    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What a buffer holds: good frames in order, damaged stretches between them, and where the good part ends.

    Bytes from `good_end` on are a torn tail: an append that never finished, or is not wholly visible yet.
    """

    frames: tuple[Frame, ...]
    damage: tuple[Damage, ...]
    good_end: int


def _frame_at(view: memoryview, offset: int) -> Frame | None:
    start = offset + HEADER.size
    if start > len(view):
        return None
    length, crc = HEADER.unpack_from(view, offset)
    end = start + length
    if length == 0 or length > MAX_PAYLOAD_BYTES or end > len(view):
        return None
    payload = view[start:end]
    return Frame(offset, end, payload) if zlib.crc32(payload) == crc else None


def whole_frame(data: bytes) -> bytes | None:
    """The payload of `data` if it is exactly one good frame."""
    frame = _frame_at(memoryview(data), 0)
    return data[HEADER.size :] if frame is not None and frame.end == len(data) else None


def _next_good(view: memoryview, offset: int) -> Frame | None:
    """The first good frame after a bad one. Tried at every byte: lengths in a damaged stretch mean nothing."""
    budget = RESYNC_BUDGET_BYTES
    for candidate in range(offset + 1, len(view) - HEADER.size):
        length = HEADER.unpack_from(view, candidate)[0]
        if 0 < length <= len(view) - candidate - HEADER.size:
            budget -= length
            frame = _frame_at(view, candidate)
            if frame is not None:
                return frame
            if budget < 0:
                return None
    return None


def scan_frames(data: bytes | memoryview) -> Scan:
    """Read all frames of `data`; offsets are relative to its start."""
    view = memoryview(data)
    frames: list[Frame] = []
    damage: list[Damage] = []
    offset = 0
    while offset < len(view):
        frame = _frame_at(view, offset)
        if frame is None:
            frame = _next_good(view, offset)
            if frame is None:
                break
            damage.append(Damage(offset, frame.offset))
        frames.append(frame)
        offset = frame.end
    return Scan(tuple(frames), tuple(damage), offset)


def payloads(data: bytes | memoryview) -> Iterator[memoryview]:
    """The payloads of all good frames of `data`, in order."""
    return (frame.payload for frame in scan_frames(data).frames)
