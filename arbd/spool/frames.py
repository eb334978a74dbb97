"""The frame that every binary file of the spool is made of: u32 length, u32 CRC-32, payload (big-endian).

Keeps: a torn tail is never read as a record, and damage in the middle never hides what stands behind it.
A frame of length 0 does not exist, because a run of NUL bytes (what a power cut leaves of an append on
ext4 and NFS) would otherwise read as endless valid empty frames.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

from arbd.values import dataclass

HEADER = struct.Struct(">II")
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
MAX_FRAME_BYTES = HEADER.size + MAX_PAYLOAD_BYTES
# A hostile file can be made of headers that each claim a long payload; beyond this much work in search of good
# frames, the rest of the file is given up as damaged.
RESYNC_BUDGET_BYTES = 8 * MAX_PAYLOAD_BYTES
# What trying one place costs beside its checksum, in bytes that could be checksummed in the same time.
CANDIDATE_COST_BYTES = 256
# A file is read in windows. Where there is damage they hold any frame that begins in their first half; else small ones do.
WINDOW_BYTES = 2 * MAX_FRAME_BYTES
SMALL_WINDOW_BYTES = 4 * 1024 * 1024
_NULS = bytes(4096)
# Where a header can be: its length is more than 0 and at most MAX_PAYLOAD_BYTES. Found by a search that is not Python.
_PLAUSIBLE = re.compile(rb"(?!\0\0\0\0)[\x00-\x04]", re.DOTALL)


def encode_frame(payload: bytes | memoryview) -> bytes:
    """Return `payload` with its header; ValueError when it is empty or larger than a reader accepts."""
    return join_frame((payload,))


def join_frame(pieces: Sequence[bytes | memoryview]) -> bytes:
    """A frame of a payload that comes in pieces; ValueError as `encode_frame`."""
    size, crc = 0, 0
    for piece in pieces:
        size += len(piece)
        crc = zlib.crc32(piece, crc)
    if not 0 < size <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds 1 to {MAX_PAYLOAD_BYTES} bytes, not {size}")
    return b"".join((HEADER.pack(size, crc), *pieces))


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

    Bytes from `good_end` on are a torn tail: an append that never finished, or is not wholly visible yet. `given_up`
    when there is so much damage that nobody should go on reading the file.
    """

    frames: tuple[Frame, ...]
    damage: tuple[Damage, ...]
    good_end: int
    given_up: bool = False


@dataclass(slots=True)
class Budget:
    """How much work the search for good frames in damaged stretches may still cost, in bytes checksummed."""

    left: int = RESYNC_BUDGET_BYTES


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


def frame_length(header: bytes) -> int:
    """How long the payload behind a header is; 0 when it is no header."""
    length = HEADER.unpack(header)[0] if len(header) == HEADER.size else 0
    return int(length) if length <= MAX_PAYLOAD_BYTES else 0


def _goes_on(view: memoryview, offset: int) -> bool:
    """True when what stands at `offset` could be a frame that ends beyond the buffer."""
    start = offset + HEADER.size
    if start > len(view):
        return True
    length = HEADER.unpack_from(view, offset)[0]
    return bool(0 < length <= MAX_PAYLOAD_BYTES and start + length > len(view))


def whole_frame(data: bytes) -> bytes | None:
    """The payload of `data` if it is exactly one good frame."""
    frame = _frame_at(memoryview(data), 0)
    return data[HEADER.size :] if frame is not None and frame.end == len(data) else None


def _next_good(view: memoryview, offset: int, budget: Budget) -> Frame | None:
    """The first good frame after a bad one. Tried at every byte: lengths in a damaged stretch mean nothing."""
    last = len(view) - HEADER.size
    candidate = offset + 1
    while candidate < last and budget.left > 0:
        start = _behind_nuls(view, candidate, budget)
        found = _PLAUSIBLE.search(view, start, last)
        budget.left -= ((found.start() if found is not None else last) - start) // 8 + CANDIDATE_COST_BYTES
        if found is None:
            return None
        candidate = found.start()
        length = HEADER.unpack_from(view, candidate)[0]
        if 0 < length <= len(view) - candidate - HEADER.size:
            budget.left -= length
            frame = _frame_at(view, candidate)
            if frame is not None:
                return frame
        candidate += 1
    return None


def _behind_nuls(view: memoryview, offset: int, budget: Budget) -> int:
    """Where the first header can begin that is not all in a run of NUL bytes, which a power cut leaves by the megabyte."""
    end = offset
    while end < len(view) and budget.left > 0 and view[end : end + len(_NULS)] == _NULS:
        end += len(_NULS)
        budget.left -= 2 * len(_NULS)
    # The last bytes of the run may be the first of a length.
    return max(offset, end - 3)


def scan_frames(data: bytes | memoryview, budget: Budget | None = None, *, more: bool = False) -> Scan:
    """Read all frames of `data`; offsets are relative to its start. With `more`, the file goes on behind `data`.

    When the budget is used up, all that is left counts as damaged.
    """
    view = memoryview(data)
    budget = budget if budget is not None else Budget()
    frames: list[Frame] = []
    damage: list[Damage] = []
    offset = 0
    while offset < len(view):
        frame = _frame_at(view, offset)
        if frame is None:
            if more and _goes_on(view, offset):
                break
            frame = _next_good(view, offset, budget)
            if frame is None and budget.left > 0:
                break
            damage.append(Damage(offset, len(view) if frame is None else frame.offset))
            if frame is None:
                return Scan(tuple(frames), tuple(damage), len(view), given_up=True)
        frames.append(frame)
        offset = frame.end
    return Scan(tuple(frames), tuple(damage), offset)


def scan_file(read: Callable[[int, int], bytes], offset: int = 0) -> Iterator[tuple[int, Scan]]:
    """Scan a file from `offset` on, a window at a time: where each window begins, and what is in it.

    `read(offset, limit)` reads the file; whatever its size, no more than a window is in memory. Where a scan's
    good part ends the next look may go on; behind a window of damage it is as far as no frame can begin before.
    """
    budget = Budget()
    while True:
        good = _good_frames(read, offset)
        if good is not None:
            yield offset, good
            offset += good.good_end
            continue
        data = read(offset, WINDOW_BYTES)
        more = len(data) == WINDOW_BYTES
        scan = scan_frames(data, budget, more=more)
        if scan.given_up:
            yield offset, scan
            return
        if more and scan.good_end == 0:
            end = len(data) - MAX_FRAME_BYTES
            scan = Scan((), (Damage(0, end),), end)
        yield offset, scan
        offset += scan.good_end
        if not more:
            return


def _good_frames(read: Callable[[int, int], bytes], offset: int) -> Scan | None:
    """The good frames of a small window with which it begins; None when it has none, or the file ends in it."""
    data = read(offset, SMALL_WINDOW_BYTES)
    if len(data) < SMALL_WINDOW_BYTES:
        return None
    length = frame_length(data[: HEADER.size])
    if length > len(data) - HEADER.size:
        data = read(offset, HEADER.size + length)
    view, frames, end = memoryview(data), [], 0
    while (frame := _frame_at(view, end)) is not None:
        frames.append(frame)
        end = frame.end
    return Scan(tuple(frames), (), end) if frames else None


def payloads(data: bytes | memoryview) -> Iterator[memoryview]:
    """The payloads of all good frames of `data`, in order."""
    return (frame.payload for frame in scan_frames(data).frames)
