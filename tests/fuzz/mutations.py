"""How hostile files are made of real ones: of their bytes, of their frames and records, of their text."""

from __future__ import annotations

import copy
import functools
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import yaml

from arbd.spool.frames import HEADER, encode_frame, scan_frames

INTEGERS = [
    -1,
    0,
    1,
    2,
    127,
    255,
    2**16,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32,
    2**53,
    2**62,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
]
FLOATS = [float("nan"), float("inf"), float("-inf"), -0.0, 1e308, -1e308, 5e-324, 0.1, 1e18]
TEXTS = [
    "", ".", "..", "../../../outside/planted", "/etc/passwd", "a/b", "\0", "x\ny", "\x1b[2J\x1b]0;owned\x07", "\x9b31m",
    "\u202egnp.exe", "=cmd|' /C calc'!A0", "@SUM(1)", "$(touch outside/planted)", "%s%n{}{0.__class__}", "a" * 300, "a" * 70_000,
    "nan", "1e999", "true", "null", "\ud7ff\uffff", "\U0010ffff", "done", "half", "host-a", "running", "open",
]  # fmt: skip
SNIPPETS = [
    "!!python/object/apply:os.system ['touch outside/planted']", "&a [*a]", "*a", "&a", "<<: *a", "? [1]\n: 2", "[" * 60, "{a: " * 60,
    "- " * 60, "\t", "%YAML 1.1\n---\n", "---\n", "...\n", "\x00", "\ufeff", "1e999", ".nan", "-.inf", "0x" + "f" * 300, "9" * 5_000,
    '"\\UFFFFFFFF"', '"\\ud800"', '"\\x1b[2J"', "|2+\n", ">-\n", "!!binary YQ==", "!!set {a, b}", "'", '"', "#", ": ", "no", "1:30", "012",
    "session_id: ../../x\n", "objective: {command: [/bin/sh, -c, 'touch outside/planted']}\n", "objective: {python: 'os:system'}\n",
    "data: [/etc/passwd]\n", "max_iterations: 999999999999\n", "grid_points: 1000000\n", "bounds: [-1.0e+308, 1.0e+308]\n",
    "step: 1e-300\n", "bounds: [0, 9223372036854775807]\n",
]  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def hostile(rng: random.Random) -> Any:
    """A value that somebody who wants to break a reader would choose."""
    kind = rng.randrange(9)
    if kind <= 1:
        return rng.choice(INTEGERS)
    if kind == 2:
        return rng.choice(FLOATS)
    if kind <= 4:
        return rng.choice(TEXTS)
    if kind == 5:
        return rng.choice([None, True, False, [], {}, b"", bytes(8), bytes(4096)])
    if kind == 6:
        return rng.choice([[[]] * 500, [0] * 5_000, nested(20), nested(300), {str(i): i for i in range(300)}])
    if kind == 7:
        return rng.randbytes(rng.randrange(200))
    return [rng.choice(INTEGERS) for _ in range(rng.randrange(6))]


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to five cuts, flips, runs and copies."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(found) + 1)
        size = min(rng.choice([1, 1, 2, 4, 8, 64, 1024]), max(0, len(found) - at))
        action = rng.randrange(8)
        if action == 0 and size:
            found[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            del found[at : at + size]
        elif action == 2:
            found[at:at] = rng.randbytes(rng.choice([1, 4, 8, 100]))
        elif action == 3:
            found[at:at] = found[at : at + size]
        elif action == 4:
            del found[at:]
        elif action == 5:
            found[at : at + size] = bytes(size)
        elif action == 6:
            found[at : at + 4] = struct.pack(">I", rng.choice([0, 1, 8, 2**16, 2**26, 2**32 - 1]))
        else:
            found[at : at + size] = rng.choice([b"\xff", b"\x00", b"\xdd", b"\xc1", b"\x81"]) * size
    return bytes(found)


def _slots(value: Any, found: list[tuple[Any, Any]]) -> None:
    """Every place in a tree: the container and the key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        _slots(item, found)


def _mutate_leaf(rng: random.Random, value: Any) -> Any:
    if isinstance(value, bytes) and len(value) >= 8 and rng.random() < 0.8:
        column = bytearray(value)
        at = rng.randrange(len(column) // 8) * 8
        if rng.random() < 0.5:
            column[at : at + 8] = struct.pack("<q", rng.choice([i for i in INTEGERS if i < 2**63]))
        else:
            column[at : at + 8] = struct.pack("<d", rng.choice(FLOATS))
        return bytes(column)
    if isinstance(value, bytes) and rng.random() < 0.5:
        return mutate_bytes(rng, value)
    if type(value) is int and rng.random() < 0.6:
        return value + rng.choice([-1, 1, 2, 1000, -1000, 2**31, 2**40])
    return hostile(rng)


def mutate_tree(rng: random.Random, tree: Any) -> Any:
    """One to three parts replaced, removed, added, moved."""
    try:
        root = {"root": copy.deepcopy(tree)}
    except RecursionError:
        # Mutated before, and as deep as Python itself can go.
        return tree
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places: list[tuple[Any, Any]] = []
        _slots(root, places)
        holder, key = rng.choice(places)
        action = rng.randrange(10)
        if action <= 5:
            holder[key] = _mutate_leaf(rng, holder[key])
        elif action == 6 and holder is not root:
            del holder[key]
        elif action == 7:
            other, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other[other_key])
        elif action == 8 and isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(rng.choice([holder[key], hostile(rng)])))
        elif action == 8 and isinstance(holder, dict) and holder is not root:
            new = hostile(rng)
            holder[new if isinstance(new, str | int) else str(new)[:50]] = hostile(rng)
        else:
            holder[key] = rng.choice([None, [], {}, [holder[key]], {"a": holder[key]}, str(holder[key])[:1000]])
    return root["root"]


def _packed(value: Any) -> bytes:
    try:
        return bytes(msgpack.packb(value))
    except (ValueError, OverflowError, TypeError):
        return bytes(msgpack.packb(None))


def _mutate_record(rng: random.Random, payload: bytes) -> bytes:
    try:
        record = msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return mutate_bytes(rng, payload)
    if isinstance(record, dict) and isinstance(record.get("r"), bytes) and rng.random() < 0.7:
        return _packed({**record, "r": _mutate_record(rng, record["r"])})
    return _packed(mutate_tree(rng, record))


def mutate_frames(rng: random.Random, data: bytes) -> bytes:
    """A file of frames with hostile records under good checksums, and frames lost, doubled, out of order, torn."""
    payloads = [bytes(frame.payload) for frame in scan_frames(data).frames]
    if not payloads:
        return mutate_bytes(rng, data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(payloads))
        action = rng.randrange(12)
        if action <= 7:
            payloads[at] = _mutate_record(rng, payloads[at]) or b"\xc0"
        elif action == 8 and len(payloads) > 1:
            del payloads[at]
        elif action == 9:
            payloads[at:at] = [payloads[at]] * rng.choice([1, 3, 200])
        elif action == 10:
            rng.shuffle(payloads)
        else:
            payloads.insert(at, _packed(hostile(rng)))
    framed = [encode_frame(payload) for payload in payloads]
    if rng.random() < 0.15:
        torn = HEADER.pack(rng.choice([0, 5, 2**20, 2**26, 2**32 - 1]), rng.randrange(2**32)) + rng.randbytes(
            rng.randrange(50)
        )
        framed.insert(rng.randrange(len(framed) + 1), torn)
    found = b"".join(framed)
    return mutate_bytes(rng, found) if rng.random() < 0.1 else found


def _mutate_number(rng: random.Random, data: bytes) -> bytes:
    """A job in which one number is another: most of these are good jobs."""
    places = list(re.finditer(rb"-?[0-9]+(\.[0-9]+)?", data))
    if not places:
        return data
    place = rng.choice(places)
    number = rng.choice([*INTEGERS[:9], 3, 7, 100, *FLOATS[3:]])
    return data[: place.start()] + str(number).encode() + data[place.end() :]


@functools.lru_cache(maxsize=100)
def _loaded(data: bytes) -> Any:
    """The job as values; nobody changes them, for a tree is copied before it is mutated."""
    return yaml.safe_load(data)


def mutate_job(rng: random.Random, data: bytes) -> bytes:
    """A job file with hostile values, hostile YAML, or hostile bytes."""
    kind = rng.random()
    if kind < 0.15:
        return _mutate_number(rng, data)
    if kind < 0.6:
        try:
            changed = mutate_tree(rng, _loaded(data))
            return str(yaml.safe_dump(changed, sort_keys=False, allow_unicode=rng.random() < 0.5)).encode(
                errors="replace"
            )
        except (yaml.YAMLError, ValueError, TypeError, RecursionError):
            pass
    if kind < 0.9:
        lines = data.decode(errors="replace").splitlines(keepends=True) or [""]
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(lines))
            action = rng.randrange(6)
            if action == 0:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)] + rng.choice(SNIPPETS)
            elif action == 1:
                lines.insert(at, rng.choice(SNIPPETS) + "\n")
            elif action == 2:
                lines[at:at] = [lines[at]] * rng.choice([1, 2, 2_000])
            elif action == 3:
                lines[at] = " " * rng.randrange(9) + lines[at].lstrip()
            elif action == 4:
                head, colon, _ = lines[at].partition(":")
                lines[at] = f"{head}{colon} {rng.choice(SNIPPETS)}\n"
            elif len(lines) > 1:
                del lines[at]
        return "".join(lines).encode(errors="replace")
    return mutate_bytes(rng, data)


Mutation = Callable[[random.Random, bytes], bytes]


def mutate_framed_file(rng: random.Random, data: bytes) -> bytes:
    """Mostly by structure, which gets further than bytes do."""
    return mutate_frames(rng, data) if rng.random() < 0.8 else mutate_bytes(rng, data)
