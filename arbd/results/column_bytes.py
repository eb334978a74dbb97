"""Columns as bytes of files: small where that costs little, and no more precise than what they are for.

Owns two forms. A column that says the same over and over (numbers of iterations, times, attempts) is compressed; one of
measurements is not, which would cost more than the bytes are worth. Return blocks are written with single precision:
statistics of them go as far as the noise of returns lets them, which is long before the eighth digit.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgpack

from arbd.arrays import Array, np

LEVEL = 1
# So much may be filled up so that rows with few return blocks stand beside rows with many.
WIDENED_BYTES = 512 << 20
SAMPLE_BYTES = 2_048
# Compressed only where a sample becomes this much smaller: what does is quick to compress, and to read.
PAYS = 0.35
_SINGLE, _DOUBLE = "<f4", "<f8"
_SMALLEST_NORMAL = 0x0080_0000


def compressed(data: memoryview) -> bytes | None:
    """`data` compressed; None where that does not pay."""
    if len(data) < SAMPLE_BYTES // 2:
        return None
    if len(zlib.compress(data[:SAMPLE_BYTES], LEVEL)) > PAYS * min(len(data), SAMPLE_BYTES):
        return None
    found = zlib.compress(data, LEVEL)
    return found if len(found) < PAYS * len(data) else None


def expanded(data: bytes, size: int) -> bytes:
    """What was compressed; ValueError unless it is `size` bytes. No more than these are ever in memory (I7)."""
    decoder = zlib.decompressobj()
    try:
        found = decoder.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"a column that cannot be expanded: {error}") from None
    if len(found) != size or decoder.unconsumed_tail or not decoder.eof:
        raise ValueError(f"a compressed column of other than {size} bytes")
    return found


def contiguous_bytes(column: Array, form: str) -> memoryview:
    """The bytes of a column, not copied where it is as it should be."""
    return np.ascontiguousarray(column, dtype=form).reshape(-1).view(np.uint8).data


def stored_blocks(blocks: Array) -> Array:
    """Return blocks with single precision, where each of them is a number of that; else as they are."""
    if blocks.dtype == _SINGLE:
        return blocks
    with np.errstate(over="ignore", under="ignore"):
        single = np.ascontiguousarray(blocks).astype(_SINGLE)
    # The sign shifted out, 0 becomes the largest number, and what is below the normal ones the smallest.
    magnitude = single.reshape(-1).view(np.uint32) << np.uint32(1)
    if not np.isfinite(single).all() and (np.isfinite(single) != np.isfinite(blocks)).any():
        return np.asarray(blocks, dtype=_DOUBLE)
    magnitude -= np.uint32(1)
    lost_zeros = np.count_nonzero(single) != np.count_nonzero(blocks)
    if magnitude.size and (lost_zeros or magnitude.min() < np.uint32((_SMALLEST_NORMAL << 1) - 1)):
        return np.asarray(blocks, dtype=_DOUBLE)
    return single


def common_number(parts: Sequence[Array], n: int) -> int:
    """How many return blocks each of `n` rows gets where `parts` of them, (rows, n_blocks, 2), stand together.

    As many as the part with the most, unless filling up the others would take more than `WIDENED_BYTES` and four times
    what is there: one row that another host wrote, with a million blocks, must not take all memory.
    """
    there = sum(len(part) * part.shape[1] for part in parts)
    numbers = sorted({int(part.shape[1]) for part in parts})
    most = max(4 * there, WIDENED_BYTES // 16)
    return next((number for number in reversed(numbers) if number * n <= most), numbers[0])


def widened_blocks(blocks: Array | None, n: int, n_blocks: int) -> Array:
    """The return blocks of `n` rows, (n, n_blocks, 2): NaN behind those of rows that have fewer, or none, or more.

    So what a row has does not depend on the rows that stand beside it; `block_numbers` tells how many that are.
    """
    if blocks is not None and blocks.shape[1] == n_blocks:
        return blocks
    widened = np.full((n, n_blocks, 2), np.nan, dtype=_DOUBLE if blocks is None else blocks.dtype)
    if blocks is not None and blocks.shape[1] < n_blocks:
        widened[:, : blocks.shape[1]] = blocks
    return widened


def block_numbers(blocks: Array) -> Array:
    """How many return blocks each row of (n, n_blocks, 2) has: up to the last that is not NaN."""
    is_there: Array = ~np.isnan(blocks[:, :, 0]) | ~np.isnan(blocks[:, :, 1])
    if is_there[:, -1:].all():
        return np.full(len(blocks), blocks.shape[1], dtype=np.int64)
    numbers: Array = np.where(is_there, np.arange(1, blocks.shape[1] + 1), 0).max(axis=1, initial=0)
    return numbers


def block_form(block_bytes: int) -> str:
    """The form of return blocks of which one, sum and sum of squares, takes so many bytes; ValueError for others."""
    forms = {8: "<f4", 16: "<f8"}
    if block_bytes not in forms:
        raise ValueError(f"return blocks of {block_bytes} bytes each")
    return forms[block_bytes]


def packed_last(record: dict[str, Any], name: str, count: int, data: memoryview) -> Sequence[bytes | memoryview]:
    """A msgpack map in pieces, `name` with `[count, data]` behind the others; `data` is not copied."""
    rest = bytes(msgpack.packb(record))
    packer = msgpack.Packer()
    head = packer.pack_map_header(len(record))
    assert rest.startswith(head), "a map begins with its header"
    return (
        packer.pack_map_header(len(record) + 1),
        memoryview(rest)[len(head) :],
        packer.pack(name),
        packer.pack_array_header(2),
        packer.pack(count),
        b"\xc6" + len(data).to_bytes(4, "big"),
        data,
    )
