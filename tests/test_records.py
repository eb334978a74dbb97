"""Declared records: an error says which field it is, where and what stands there, and nothing is built beyond the bounds."""

from __future__ import annotations

import re
import tracemalloc
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from arbd import schema
from arbd.errors import VersionError
from arbd.records import Items, Natural, RecordFormat, Text
from arbd.schema import Schema
from arbd.spool import ledger
from arbd.spool.ledger_records import read_record
from arbd.spool.spans import Claim, Finish, Span

NUMBERED = Schema("thing", 3)


class Part(Struct, array_like=True, forbid_unknown_fields=True):
    """A list of two."""

    name: Text
    size: Natural


class Thing(Struct):
    """One of everything that a record can have."""

    version: int = field(name="v")
    parts: Annotated[list[Part], Items] = field(name="p")
    by_name: Annotated[dict[Annotated[str, Meta(max_length=5)], Natural], Meta(max_length=3)] = field(name="n")
    pair: tuple[Natural, float] = field(name="t")
    inner: Part | None = field(name="i", default=None)


THING: RecordFormat[Thing] = RecordFormat("the thing", Thing, lambda: NUMBERED)
GOOD: dict[str, Any] = {"v": 3, "p": [["a", 1]], "n": {"x": 1}, "t": [1, 2.0], "i": None}


def test_a_record_that_fits_is_read_and_more_than_is_declared_is_skipped() -> None:
    found = THING.read(msgpack.packb({**GOOD, "later": [{"a": [1, None]}]}), "f")
    assert (found.parts, found.by_name, found.pair) == ([Part("a", 1)], {"x": 1}, (1, 2.0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"p": [["a", 1], ["b", "many"]]}, "the thing: parts[1].size is 'many', expected an integer, got a string"),
        ({"p": [["a", -1]]}, "the thing: parts[0].size is -1, expected an integer >= 0"),
        ({"p": [["a"]]}, "the thing: parts[0] is a list of 1, expected a list of at least length 2, got 1"),
        ({"p": [["a", 1, 2]]}, "the thing: parts[0] is a list of 3, expected a list of at most length 2, got 3"),
        ({"p": {"a": 1}}, "the thing: parts is a dict of 1, expected a list, got a map"),
        ({"n": {"x": b"xx"}}, "the thing: by_name[...]: expected an integer, got bytes"),
        ({"n": dict.fromkeys("abcd", 1)}, "the thing: by_name is a dict of 4, expected a map of length <= 3"),
        ({"t": [1, "x"]}, "the thing: pair[1] is 'x', expected a number, got a string"),
        ({"i": ["x", True]}, "the thing: inner.size is True, expected an integer, got true or false"),
    ],
)
def test_an_error_names_the_declared_field_its_place_and_its_value(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        THING.read(msgpack.packb({**GOOD, **change}), "f")


@pytest.mark.parametrize("name", ["p", "n", "t"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    declared = {"p": "parts", "n": "by_name", "t": "pair"}[name]
    with pytest.raises(ValueError, match=rf"^the thing: no {declared} \('{name}'\) in it$"):
        THING.read(msgpack.packb({key: value for key, value in GOOD.items() if key != name}), "f")


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x93\x01", msgpack.packb([1]), msgpack.packb(None), msgpack.packb(3)]
)
def test_what_is_no_map_at_all_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"no record|the thing is .*, expected a map"):
        THING.read(payload, "f")


@pytest.mark.parametrize("rest", [GOOD, {}, {"p": 5}, {"n": {"toolonganame": 1}}])
@pytest.mark.parametrize("number", [1, 4, None, "3", True, 3.0])
def test_another_schema_is_told_before_anything_that_is_wrong_with_the_record(
    rest: dict[str, Any], number: Any
) -> None:
    with pytest.raises(VersionError, match="thing schema 3"):
        THING.read(msgpack.packb({**rest, "v": number, "by": "9.0"}), "f")


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xdd\x7f\xff\xff\xff",  # a list of two thousand million
        b"\xdf\x7f\xff\xff\xff",  # a map of as many
        b"\xdb\x7f\xff\xff\xff",  # a string
        b"\xc6\x7f\xff\xff\xff",  # bytes
        b"\xdd\x00\x0f\xff\xff" * 1000,  # lists in lists, each of a million
        b"\x91" * 100_000,  # lists in lists, deeper than a stack
        b"\x81\xa1a" * 100_000,
    ],
)
@pytest.mark.parametrize("place", ["p", "n", "t", "i", "unknown"])
def test_a_length_or_depth_that_a_record_only_claims_costs_no_memory(hostile: bytes, place: str) -> None:
    name = place.encode()
    payload = b"\x85" + b"\xa1v\x03" + bytes((0xA0 + len(name),)) + name + hostile
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="no record"):
            THING.read(payload, "f")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


numbers = st.integers(1, 10**6)
spans = st.builds(Span, numbers, numbers, st.integers(0, 9), st.integers(1, 4), st.sampled_from(["", "w-1"]))
incarnations = st.integers(0, 2**64 - 1)
four = st.tuples(*[st.integers(0, 2**33)] * 4)
finishes = st.builds(Finish, numbers, four, st.lists(spans, max_size=3).map(tuple))


def plain(span: Span) -> list[Any]:
    short: list[Any] = [span.first, span.count, span.epoch]
    return short if span.attempt == 1 else [*short, span.attempt, span.avoid]


@given(
    incarnations,
    st.lists(finishes, max_size=3),
    st.lists(spans, min_size=1, max_size=3),
    four,
    st.integers(-(2**40), 2**62),
)
def test_ledger_records_are_the_bytes_that_they_always_were(
    incarnation: int, done: list[Finish], parts: list[Span], counts: tuple[int, int, int, int], wall_ns: int
) -> None:
    claims = [Claim(i, span, "w-1", incarnation) for i, span in enumerate(parts)]
    records = {
        ledger.opened(parts[0].count): {"k": "open", **schema.LEDGER.stamp(), "v": 1, "n": parts[0].count},
        ledger.claimed(claims, 3, wall_ns): {
            "k": "claim", "w": "w-1", "i": incarnation, "s": 3, "t": wall_ns,
            "c": [[i, span.first, span.count, span.epoch] for i, span in enumerate(parts)],
        },
        ledger.finished(incarnation, done, wall_ns): {
            "k": "finish", "i": incarnation, "t": wall_ns,
            "c": [[f.claim_id, list(f.counts), [plain(span) for span in f.returned]] for f in done],
        },
        ledger.revoked(incarnation, "gone"): {"k": "revoke", "i": incarnation, "why": "gone"},
        ledger.again(parts, counts, ""): {"k": "again", "r": [plain(s) for s in parts], "u": list(counts), "why": ""},
        ledger.stopped(wall_ns % 1000, "x"): {"k": "stop", "n": wall_ns % 1000, "why": "x"},
        ledger.switched(ledger.PAUSED): {"k": "state", "s": "paused"},
            ledger.extended(9, "x"): {"k": "extend", **schema.LEDGER.stamp(), "n": 9, "why": "x"},
        ledger.compacted(counts, 3): {"k": "done", "c": list(counts), "d": 3},
    }  # fmt: skip
    for record, expected in records.items():
        assert ledger.pack(record) == msgpack.packb(expected)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"k": "spell"}, "k is 'spell'"),
        ({"k": 3}, "k is 3"),
        ({}, "no k"),
        (
            {"k": "claim", "w": "../w", "i": 1, "s": 1, "t": 1, "c": []},
            "worker_id is '../w', expected a name that a file in the spool can have",
        ),
        (
            {"k": "claim", "w": "w", "i": 1, "s": 1, "t": 1, "c": [[1, 8, 4, 0]]},
            "iterations 8 to 11, of a session of 10",
        ),
        ({"k": "finish", "i": 1, "t": 1, "c": [[1, [0, 0, 0, 0], [[11, 1, 0]]]]}, "iterations 11 to 11"),
        (
            {"k": "finish", "i": 1, "t": 1, "c": [[1, [0, 0, 0, 0], [[1, 1, 0, 2, "a/b"]]]]},
            r"returned\[0\].avoid is 'a/b'",
        ),
        ({"k": "again", "r": [[1, 11, 0]], "u": [0, 0, 0, 0], "why": ""}, "iterations 1 to 11"),
        ({"k": "stop", "n": 11, "why": ""}, "the last iteration is 11"),
        ({"k": "state", "s": "asleep"}, "state is 'asleep', expected running, paused or cancelled"),
        ({"k": "done", "c": [0, 0, 0, -1], "d": 0}, r"counts\[3\] is -1"),
    ],
)
def test_a_ledger_record_that_cannot_be_is_refused_by_the_name_of_its_field(record: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_record(msgpack.packb(record), 10)
