"""What a perpetual paid over time: files of funding rates, and what an importer of them declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from arbd.errors import DataError
from arbd.paper.market.quotes import FloatArray, IntArray
from arbd.paper.market.times import clock_note, iso
from arbd.values import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Funding:
    """Payments in order of time: at `ts_ns` who is long pays `rate` of the notional to who is short."""

    ts_ns: IntArray
    rate: FloatArray

    def between(self, start_ns: int, end_ns: int) -> Funding:
        """The payments of a span, its ends included."""
        inside = (self.ts_ns >= start_ns) & (self.ts_ns <= end_ns)
        return Funding(self.ts_ns[inside], self.rate[inside])


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingImporter:
    """`read`: times and rates of one file, of one symbol where it holds several, in any order; DataError when no good."""

    summary: str
    read: Callable[[Path, str | None], Funding]


def read_funding(importer: FundingImporter, paths: Sequence[Path], symbol: str | None = None) -> Funding:
    """All payments of several files; DataError when two of one time differ or a rate is none."""
    parts = [(path, importer.read(path, symbol)) for path in paths]
    for path, part in parts:
        _check(path, part)
    ts_ns = np.concatenate([part.ts_ns for _, part in parts])
    rate = np.concatenate([part.rate for _, part in parts])
    order = np.argsort(ts_ns, kind="stable")
    ts_ns, rate = ts_ns[order], rate[order]
    again = np.flatnonzero(np.diff(ts_ns) == 0)
    for row in again:
        if rate[row] != rate[row + 1]:
            raise DataError(
                paths[-1], f"funding of {iso(int(ts_ns[row]))} is told twice, as {rate[row]} and as {rate[row + 1]}"
            )
    once = np.concatenate([[True], np.diff(ts_ns) > 0])
    return Funding(ts_ns[once], rate[once])


def _check(path: Path, part: Funding) -> None:
    if not len(part.ts_ns):
        raise DataError(path, "holds no funding rates")
    bad = np.flatnonzero(~(np.abs(part.rate) < 1))
    if len(bad):
        row = int(bad[0])
        raise DataError(path, f"the funding rate is {part.rate[row]}, not a share of the notional", row + 1)
    first = part.ts_ns[:1] if (part.ts_ns >= part.ts_ns[0]).all() else np.sort(part.ts_ns)[:1]
    if clock_note(first) is not None:
        raise DataError(path, f"its times begin at {iso(int(first[0]))}, when no such market was: is it whole?")
