"""Judged markets, kept in a file line by line, so that a calibration of hours runs in parts.

Records are good as long as the code says the same: of each case one is judged again, and has to come out as it did.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arbd.validation.claim import Beyond
from arbd.validation.evidence import Judgement

# What a market that is judged is called by.
Case = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A judged search: what was said of its winner, what that earned, and what it is worth on a market like that one.

    `p` is the winner's among all trials of its search, `p_test` that of what was held out, `null` that of null searches.
    """

    verdict: str
    best: float
    fresh_sharpe: float
    psr: float | None = None
    p: float | None = None
    p_test: float | None = None
    null: float | None = None

    @classmethod
    def of(cls, judgement: Judgement, best: float, fresh_sharpe: float, beyond: Beyond) -> Found:
        """From a judgement."""
        p = None if judgement.winner is None else judgement.winner.p_consistent
        p_test = None if beyond.test is None else beyond.test.p
        return cls(str(judgement.verdict), best, fresh_sharpe, judgement.psr, p, p_test, beyond.null)


class Judged:
    """What is judged already, by case; in a file where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, tuple[Found, float]] = {}
        for text in path.read_text().splitlines() if path is not None and path.exists() else ():
            record = json.loads(text)
            found, cpu_s = Found(**record.pop("found")), record.pop("cpu_s")
            self._known[_key(record)] = found, cpu_s

    def all(self, cases: list[Case], judge: Callable[[Case], tuple[Found, float]]) -> list[tuple[Found, float]]:
        """What is known of markets, or what `judge` finds and in how much CPU time, in seconds, which is kept."""
        known = [case for case in cases if _key(case) in self._known]
        for case in random.sample(known, min(1, len(known))):
            if (again := judge(case)[0]) != (before := self._known[_key(case)][0]):
                raise SystemExit(f"{self._path} is of other code: {_key(case)} was {before}, and is {again} now")
        return [self._one(case, judge) for case in cases]

    def counts(self) -> Counter[tuple[str, str | None, str, float, float]]:
        """How many markets are judged, by method, validation, kind of market, days and edge."""
        cases = (json.loads(key) for key in self._known)
        return Counter((c["method"], c["validation"], c["market"], c["days"], c["edge_bps"]) for c in cases)

    def _one(self, case: Case, judge: Callable[[Case], tuple[Found, float]]) -> tuple[Found, float]:
        key = _key(case)
        if key not in self._known:
            found, cpu_s = self._known[key] = judge(case)
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps({**case, "found": asdict(found), "cpu_s": round(cpu_s, 3)}) + "\n")
        return self._known[key]


def _key(case: Case) -> str:
    return json.dumps(case, sort_keys=True)
