"""Judged markets, kept in a file line by line, so that a calibration of hours runs in parts.

A record is good for the rules that it was judged by: a digest of `arbd.validation`, of what makes the markets and of the
settings stands in each, and the version of the sampler. Records of other rules stay in the file and count for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import arbd.validation
from arbd.search.versions import sampler_versions
from arbd.validation.claim import Beyond
from arbd.validation.judgement import Judgement

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

    def __init__(self, path: Path | None, settings: Any) -> None:
        self._path = path
        self._rules = rules(settings)
        self._known: dict[str, tuple[Found, float]] = {}
        for text in path.read_text().splitlines() if path is not None and path.exists() else ():
            record = json.loads(text)
            found, cpu_s = Found(**record.pop("found")), record.pop("cpu_s")
            self._known[_key(record)] = found, cpu_s

    def get(self, case: Case, judge: Callable[[], tuple[Found, float]]) -> tuple[Found, float]:
        """What is known of a market, or what `judge` finds and how much CPU time that took, in seconds, which is kept."""
        case = {**case, "sampler": sampler_versions(case["method"]), "rules": self._rules}
        key = _key(case)
        if key not in self._known:
            found, cpu_s = self._known[key] = judge()
            if self._path is not None:
                line = {**case, "found": asdict(found), "cpu_s": round(cpu_s, 3)}
                with self._path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        return self._known[key]


def _key(case: Case) -> str:
    return json.dumps(case, sort_keys=True)


def rules(settings: Any) -> str:
    """What judged markets depend on, as far as it may change: the statistics, the markets, and the settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted(Path(arbd.validation.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    digest.update(Path(__file__).with_name("verdict_markets.py").read_bytes())
    return digest.hexdigest()[:12]
