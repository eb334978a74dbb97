"""Msgpack records of the spool, read as what they are: bytes that another host wrote, which may be in foreign hands.

Owns the limits under which a record is unpacked, and the checks of its parts. Everything here raises ValueError, which
the reader of a file turns into an error that names the file and the place, or into a stretch that counts as damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

# Lists and maps of a record that is not columns of rows. A list is allocated before it is read, at each level of nesting.
MAX_ITEMS = 1 << 20
MAX_EXT_BYTES = 0
INT64_MAX = 2**63 - 1
MAX_TEXT_CHARS = 100_000


def unpack(payload: bytes | memoryview, *, max_items: int = MAX_ITEMS) -> Any:
    """The record in a payload; ValueError when it is none, or larger inside than its payload allows."""
    items = min(max_items, len(payload))
    try:
        return msgpack.unpackb(
            payload,
            strict_map_key=False,
            raw=False,
            max_str_len=len(payload),
            max_bin_len=len(payload),
            max_array_len=items,
            max_map_len=items,
            max_ext_len=MAX_EXT_BYTES,
        )
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        # TypeError: a map with a list for a key.
        raise ValueError(f"no record: {str(error) or type(error).__name__}") from error


def whole(value: Any, what: str, low: int = 0, high: int = INT64_MAX) -> int:
    """`value` if it is an integer between two bounds."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} is {shown(value)}, expected an integer from {low} to {high}")
    return value


def number(value: Any, what: str) -> float:
    """`value` if it is a number."""
    if type(value) not in (int, float):
        raise ValueError(f"{what} is {shown(value)}, expected a number")
    return float(value)


def text(value: Any, what: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """`value` if it is a text of bounded length."""
    if not isinstance(value, str) or len(value) > max_chars:
        raise ValueError(f"{what} is {shown(value)}, expected a string of at most {max_chars:,} characters")
    return value


def sequence(value: Any, what: str, length: int | None = None) -> Sequence[Any]:
    """`value` if it is a list (of `length` items)."""
    if not isinstance(value, list) or length not in (None, len(value)):
        raise ValueError(f"{what} is {shown(value)}, expected a list" + (f" of {length}" if length is not None else ""))
    return value


def mapping(value: Any, what: str) -> dict[Any, Any]:
    """`value` if it is a map."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}, expected a map")  # noqa: TRY004 - one kind of error for a record
    return value


def raw(value: Any, what: str) -> bytes:
    """`value` if it is bytes."""
    if not isinstance(value, bytes):
        raise ValueError(f"{what} is {shown(value)}, expected bytes")  # noqa: TRY004 - as above
    return value


def shown(value: Any) -> str:
    """A value of foreign origin, short enough for an error."""
    if isinstance(value, list | dict | bytes):
        return f"a {type(value).__name__} of {len(value)}"
    short = ascii(value if not isinstance(value, str) else value[:40])
    return short if len(short) <= 60 else short[:57] + "..."
