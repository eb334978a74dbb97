"""Times in market data: their units, ISO 8601 with zones, and what a file of another unit or order is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arbd.errors import DataError

IntArray = npt.NDArray[np.int64]

# Other names and units in which files give the time: how many nanoseconds one is.
TIME_UNITS = {"ts_ns": 1, "ts_us": 1_000, "ts_ms": 1_000_000, "ts_s": 1_000_000_000}
TIME_NAMES = (*TIME_UNITS, "ts")
_CALLED = {"ts_ns": "nanoseconds", "ts_us": "microseconds", "ts_ms": "milliseconds", "ts_s": "seconds"}
# Between the first block of Bitcoin, before which no such market was, and 2100: in each unit, numbers of no other.
EARLIEST_NS, LATEST_NS = 1_230_940_800 * 10**9, 4_102_444_800 * 10**9
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
NEWEST_FIRST = "is newest first: sort its rows by time, oldest first"
ONE_TIME = (
    "has one time in all of its {rows:,} rows, {time} ns: nothing happens in such a market; does its time column hold dates "
    "alone, or was it rounded on the way?"
)


def nanoseconds(values: npt.NDArray[Any], name: str, path: Path, *, begins: bool = True) -> IntArray:
    """A column of times, called `name`, in nanoseconds since 1970; DataError for what is no time or of another unit.

    Whether the unit is another is told from where a file `begins`: a clock of its own comes by other units' times later.
    """
    if name == "ts":
        return _parsed_times(values, path)
    if values.dtype.kind not in "iu":
        raise DataError(path, f"{name} holds {values.dtype}, not integers")
    unit = TIME_UNITS[name]
    if begins:
        _check_unit(values, name, path)
    limit = np.iinfo(np.int64).max // unit
    beyond = np.flatnonzero((values > limit) | (values < -limit))
    if len(beyond):
        row = int(beyond[0])
        raise DataError(path, f"{name} is {int(values[row])}: {name} holds times beyond the year 2262", row + 1)
    return values.astype(np.int64) * unit


def _check_unit(values: npt.NDArray[Any], name: str, path: Path) -> None:
    """DataError when nearly all values are times of markets in another unit, and none in this one."""
    if not len(values) or _plausible(values, TIME_UNITS[name]) > 0:
        return
    for other, unit in TIME_UNITS.items():
        if _plausible(values, unit) >= 0.9:
            row = int(np.argmax((values >= EARLIEST_NS // unit) & (values <= LATEST_NS // unit)))
            shown = int(values[row])
            meant = iso(shown * unit)
            raise DataError(
                path,
                f"{name} is {shown}, which is no time of a market in {_CALLED[name]}, but {meant} in {_CALLED[other]}: "
                f"call the column {other}",
                row + 1,
            )


def _plausible(values: npt.NDArray[Any], unit: int) -> float:
    """The share of values that are times of markets in a unit."""
    return float(((values >= EARLIEST_NS // unit) & (values <= LATEST_NS // unit)).mean())


def clock_note(ts_ns: IntArray) -> str | None:
    """What to say of times that are no dates of markets; None of those that are."""
    if not len(ts_ns) or EARLIEST_NS <= int(ts_ns[0]) <= LATEST_NS:
        return None
    return f"times begin at {iso(int(ts_ns[0]))}, outside of 2009 to 2100: they are taken as a clock of their own"


def iso(ts_ns: int) -> str:
    """A time to the second, for messages."""
    return str(np.datetime64(ts_ns, "ns"))[:19] + "Z"


def is_newest_first(ts_ns: IntArray) -> bool:
    """Whether the rows of a whole file stand the wrong way round."""
    return len(ts_ns) > 1 and bool(ts_ns[0] > ts_ns[-1]) and bool((ts_ns[1:] <= ts_ns[:-1]).all())


def _parsed_times(values: npt.NDArray[Any], path: Path) -> IntArray:
    if values.dtype.kind == "M":
        times = values.astype("datetime64[ns]")
        # A time out of range comes back as another one, NaT as none.
        lost = np.flatnonzero(np.isnat(values) | (times.astype(values.dtype) != values))
        if len(lost):
            raise DataError(path, _no_time(values[lost[0]]), int(lost[0]) + 1)
        return times.astype(np.int64)
    return parsed_texts(values.tolist(), "ts", path)


def parsed_texts(texts: list[Any], name: str, path: Path) -> IntArray:
    """Texts in ISO 8601 as nanoseconds; without a zone they are UTC. DataError with the first row that is no time."""
    plain: list[str] = []
    offset_s = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        found = _ISO.fullmatch(str(text).strip()) if text is not None else None
        if found is None or not "1678" <= found[1][:4] <= "2261":
            raise DataError(path, _no_time(text, name), row + 1)
        plain.append(f"{found[1]}T{found[2]}" if found[2] else found[1])
        if found[3] and found[3][0] in "+-":
            digits = found[3][1:].replace(":", "").ljust(4, "0")
            seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
            offset_s[row] = seconds if found[3][0] == "+" else -seconds
    try:
        times = np.array(plain, dtype="datetime64[ns]")
    except ValueError:
        for row, text in enumerate(plain):
            try:
                np.datetime64(text)
            except ValueError:
                raise DataError(path, _no_time(texts[row], name), row + 1) from None
        raise
    utc: IntArray = times.astype(np.int64) - offset_s * 10**9
    return utc


def _no_time(value: object, name: str = "ts") -> str:
    shown = "empty" if value is None else repr(str(value)[:100])
    said = f"{name} is {shown}, not a UTC time in ISO 8601 to the nanosecond, from 1678 to 2262"
    text = str(value).strip()
    if name != "ts" or value is None:
        return said
    if not (text.isascii() and text.isdecimal()):
        return f"{said}: write it as in 2025-01-31 13:45:00.5"
    for other, unit in TIME_UNITS.items():
        if EARLIEST_NS <= int(text[:30]) * unit <= LATEST_NS:
            return f"{said}; in {_CALLED[other]} it is {iso(int(text[:30]) * unit)}: call the column {other}"
    return f"{said}; integers are called ts_s, ts_ms, ts_us or ts_ns by their unit"
