"""Frames: torn tails are seen, damage hides nothing behind it, nothing false is ever read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.spool.frames import HEADER, encode_frame, payloads, scan_frames

bodies = st.lists(st.binary(min_size=1, max_size=50), max_size=8)


@given(bodies)
def test_what_was_written_is_read(parts: list[bytes]) -> None:
    data = b"".join(map(encode_frame, parts))
    scan = scan_frames(data)
    assert [bytes(frame.payload) for frame in scan.frames] == parts
    assert (scan.damage, scan.good_end) == ((), len(data))


@given(bodies, st.data())
def test_a_cut_anywhere_reads_the_whole_frames_before_it(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(encode_frame, parts))
    cut = data.draw(st.integers(0, len(whole)))
    scan = scan_frames(whole[:cut])
    read = [bytes(frame.payload) for frame in scan.frames]
    assert read == parts[: len(read)]
    assert scan.damage == ()
    assert sum(len(part) + HEADER.size for part in parts[: len(read) + 1]) > cut or read == parts


@given(bodies, st.integers(1, 200))
def test_a_tail_of_nul_bytes_is_torn_and_no_record(parts: list[bytes], nuls: int) -> None:
    whole = b"".join(map(encode_frame, parts))
    scan = scan_frames(whole + b"\0" * nuls)
    assert [bytes(frame.payload) for frame in scan.frames] == parts
    assert scan.good_end == len(whole)


@given(st.lists(st.binary(min_size=4, max_size=30), min_size=3, max_size=6), st.data())
def test_a_flipped_byte_costs_its_frame_alone(parts: list[bytes], data: st.DataObject) -> None:
    frames = [encode_frame(part) for part in parts]
    victim = data.draw(st.integers(0, len(frames) - 2))
    start = sum(map(len, frames[:victim]))
    place = start + data.draw(st.integers(0, len(frames[victim]) - 1))
    whole = bytearray(b"".join(frames))
    whole[place] ^= data.draw(st.integers(1, 255))
    scan = scan_frames(bytes(whole))
    assert [bytes(frame.payload) for frame in scan.frames] == parts[:victim] + parts[victim + 1 :]
    assert [(d.offset, d.end) for d in scan.damage] == [(start, start + len(frames[victim]))]


def test_an_append_after_a_cut_is_not_misread() -> None:
    scan = scan_frames(encode_frame(b"first") + encode_frame(b"cut in the middle")[:-4] + encode_frame(b"after"))
    assert [bytes(frame.payload) for frame in scan.frames] == [b"first", b"after"]


def test_headers_that_claim_much_are_given_up_in_bounded_work() -> None:
    hostile = HEADER.pack(60_000, 0) * 20_000
    assert scan_frames(hostile).frames == ()


@pytest.mark.parametrize("size", [0, 64 * 1024 * 1024 + 1])
def test_a_frame_of_no_or_too_many_bytes_is_not_made(size: int) -> None:
    with pytest.raises(ValueError, match="a frame holds"):
        encode_frame(bytes(size))


def test_payloads_gives_good_ones_alone() -> None:
    assert [bytes(p) for p in payloads(encode_frame(b"a") + b"xx")] == [b"a"]
