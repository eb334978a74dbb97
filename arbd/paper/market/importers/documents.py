"""JSON as exchanges give it: one document or one per line, plain or packed, read piece by piece within bounds."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from arbd.errors import DataError
from arbd.named_file import MAX_DATA_BYTES, MAX_TABLE_BYTES, open_named
from arbd.paper.market.unpacked import packing_of, unpacked

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson", ".data", ".txt")
MAX_LINE_BYTES = 8 << 20


def is_json(path: Path) -> bool:
    """Whether the name of a file, packed or not, is one of JSON."""
    return path.name.removesuffix(packing_of(path)).endswith(JSON_SUFFIXES)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers from 1; DataError for one that is far too long."""
    with _stream(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(path, f"has a line of more than {MAX_LINE_BYTES >> 20} MiB", number)
            if line := line.strip():
                yield number, line


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    with (
        open_named(path, MAX_DATA_BYTES) as file,
        unpacked(file, packing_of(path), JSON_SUFFIXES) as place,
        open(place, "rb") as stream,  # noqa: PTH123 - a descriptor's place
    ):
        yield stream


def documents(path: Path) -> Iterator[tuple[int, Any]]:
    """The documents of a file of one per line, with the numbers of their lines."""
    for number, line in lines_of(path):
        yield number, _parsed(path, line, number)


def document(path: Path) -> Any:
    """A file that is one document; of several, one per line, a list of them."""
    with _stream(path) as stream:
        text = stream.read(MAX_TABLE_BYTES + 1)
    if len(text) > MAX_TABLE_BYTES:
        raise DataError(path, f"holds more than {MAX_TABLE_BYTES >> 20} MiB of JSON in one piece: split it")
    if len(text) > MAX_LINE_BYTES and text.find(b"\n", 0, MAX_LINE_BYTES + 1) < 0:
        raise DataError(path, f"has a line of more than {MAX_LINE_BYTES >> 20} MiB", 1)
    if not text.strip():
        raise DataError(path, "is empty")
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        lines = ((number, line.strip()) for number, line in enumerate(io.BytesIO(text), 1))
        return [_parsed(path, line, number) for number, line in lines if line]


def _parsed(path: Path, line: bytes, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise DataError(path, f"is not JSON in UTF-8, line {number}") from None


def answer(path: Path, found: Any, *keys: str) -> list[Any]:
    """The list that an exchange's answer holds under `keys`, or that the file is by itself; answers may follow on."""
    if isinstance(found, dict):
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                return [found]
            found = found[key]
        found = found if isinstance(found, list) else [found]
    if not isinstance(found, list):
        raise DataError(path, "holds neither a list nor an answer of the exchange")
    if found and all(isinstance(each, dict) and keys and keys[0] in each for each in found):
        return [row for each in found for row in answer(path, each, *keys)]
    if not found:
        raise DataError(path, "holds no rows")
    return found


def number(path: Path, value: Any, name: str, row: int) -> float:
    """A number that JSON gives as one or as text; DataError with its row for anything else."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool) and "_" not in str(value):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise DataError(path, f"{name} is {_shown(value)}, not a number", row)


def integer(path: Path, value: Any, name: str, row: int) -> int:
    """The same of an integer of 64 bits."""
    found = number(path, value, name, row)
    if abs(found) >= 2.0**63 or found != found // 1:
        raise DataError(path, f"{name} is {_shown(value)}, not an integer", row)
    return int(value) if not isinstance(value, str) or value.strip().lstrip("+-").isdecimal() else int(found)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
