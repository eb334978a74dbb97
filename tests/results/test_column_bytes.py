"""Columns as bytes: what is compressed comes back to the bit, blocks keep seven digits or all."""

from __future__ import annotations

import zlib
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arbd.results.column_bytes import (
    block_numbers,
    compressed,
    contiguous_bytes,
    expanded,
    packed_last,
    stored_blocks,
    widened_blocks,
)
from arbd.results.columns import concatenate
from tests.spool.sessions import rows_of


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=5))
def test_how_many_blocks_a_row_has_does_not_depend_on_the_rows_beside_it(numbers: list[list[int]]) -> None:
    """Batches of rows of so many blocks each, in whatever batches they come."""
    batches, wanted = [], []
    for own in numbers:
        each = [np.full((1, n, 2), float(1 + n + len(wanted))) for n in own]
        wanted += [part[0] for part in each]
        blocks = np.concatenate([widened_blocks(part, 1, max(own)) for part in each])
        rows = rows_of(1 + len(wanted) - len(own), len(own))
        batches.append(replace(rows, blocks=blocks if max(own) else None))
    found = concatenate(batches).blocks
    if found is None:
        assert not any(map(len, wanted))
        return
    assert block_numbers(found).tolist() == [len(own) for own in wanted]
    for row, own in zip(found, wanted, strict=True):
        assert np.array_equal(row[: len(own)], own)


@given(st.integers(0, 5_000), st.integers(-3, 3), st.sampled_from(["<i8", "<i4", "|u1", "<f8"]))
def test_what_is_compressed_comes_back_and_is_smaller(n: int, step: int, form: str) -> None:
    plain = contiguous_bytes(np.arange(n) * step % 250, form)
    found = compressed(plain)
    if found is not None:
        assert len(found) < len(plain) / 2
        assert expanded(found, len(plain)) == plain


def test_measurements_are_not_compressed() -> None:
    assert compressed(contiguous_bytes(np.random.default_rng(1).random(8_192), "<f8")) is None


@given(st.binary(max_size=40), st.integers(0, 400))
def test_only_what_expands_to_its_size_is_a_column(data: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="column"):
        expanded(data, size)


@pytest.mark.parametrize("size", [0, 99, 101, 10**6])
def test_a_column_of_another_size_than_its_rows_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"other than {size} bytes"):
        expanded(zlib.compress(bytes(100)), size)


def test_bytes_behind_a_compressed_column_are_no_part_of_it() -> None:
    whole = zlib.compress(bytes(100))
    with pytest.raises(ValueError, match="column"):
        expanded(whole[:-1], 100)


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(1, 4), st.just(2))))
def test_stored_blocks_keep_seven_digits_or_all_of_them(blocks: np.ndarray) -> None:
    stored = stored_blocks(blocks)
    assert stored.shape == blocks.shape
    if stored.dtype == np.float64:
        assert np.array_equal(stored, blocks, equal_nan=True)
    else:
        finite = np.isfinite(blocks)
        assert np.array_equal(np.isfinite(stored), finite)
        assert (np.abs(stored[finite] - blocks[finite]) <= 2.0**-24 * np.abs(blocks[finite])).all()
        assert np.array_equal(stored[~finite], blocks[~finite].astype(np.float32), equal_nan=True)
    # Nothing more is lost the second time.
    assert np.array_equal(stored_blocks(np.asarray(stored, dtype=np.float64)), stored, equal_nan=True)


@pytest.mark.parametrize(("value", "is_single"), [(1e-3, True), (0.0, True), (np.nan, True), (np.inf, True),
                                                  (1e39, False), (1e-39, False), (1e-300, False)])  # fmt: skip
def test_blocks_beyond_the_reach_of_single_precision_stay_as_they_are(value: float, is_single: bool) -> None:
    blocks = np.array([[[1.0, value]]])
    assert (stored_blocks(blocks).dtype == np.float32) == is_single


@given(st.integers(0, 20), st.binary(max_size=100))
def test_a_map_in_pieces_is_the_map(fields: int, data: bytes) -> None:
    record = {f"k{i}": i for i in range(fields)}
    packed = b"".join(packed_last(record, "b", 7, memoryview(data)))
    assert msgpack.unpackb(packed) == {**record, "b": [7, data]}
