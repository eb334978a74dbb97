"""Scenario files: small markets that people write by hand, with a risk profile and what should come of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from arbd import strict_yaml
from arbd.errors import DataError, JobError, Problem, UsageError
from arbd.named_file import NamedFile, opened
from arbd.near_names import nearest
from arbd.paper import params
from arbd.paper.market.quotes import Quotes, build_quotes
from arbd.strict_yaml import Document
from arbd.values import dataclass

START_NS = 1_704_067_200 * 10**9  # step times count from 2024-01-01T00:00:00Z
LATEST_S = 7_000_000_000  # where nanoseconds since 1970 still fit
EXPECTATIONS = ("min_trades", "max_trades", "min_pnl", "max_pnl", "circuit_breaker_triggered", "safety_violations")
_TOP = ("name", "description", "symbols", "steps", "risk_profile", "expected_outcomes")


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """A checked scenario: one market per symbol, parameters by the engine's names, expectations."""

    name: str
    description: str
    source: str
    venue_a: str
    venue_b: str
    symbols: tuple[str, ...]
    markets: tuple[Quotes, ...]
    risk_profile: Mapping[str, params.Value]
    expected: Mapping[str, float | bool]


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; JobError with all its problems and their lines, DataError when it is no file."""
    return read_scenario(path)[0]


def read_scenario(file: Path | NamedFile) -> tuple[Scenario, str]:
    """A scenario, and the SHA-256 of the bytes that it was read from."""
    with opened(file, strict_yaml.MAX_BYTES) as named:
        data = named.read(strict_yaml.MAX_BYTES)
        return parse_scenario(strict_yaml.parse(data, str(named.path))), hashlib.sha256(data).hexdigest()


def parse_scenario(document: Document) -> Scenario:
    """Check a scenario. Steps give `<venue>_bid` and `<venue>_ask`, and may give `<venue>_bid_size`, `_ask_size`.

    With several symbols each step names one (`symbol:`, the name on the first venue); with one it need not.
    """
    reader = _Reader(document)
    scenario = reader.read()
    if reader.problems:
        raise JobError(document.source, sorted(reader.problems, key=lambda p: (p.line, p.column)))
    assert scenario is not None
    return scenario


@dataclass(slots=True)
class _Symbol:
    name_a: str
    name_b: str
    fx: float
    steps: list[dict[str, float]] = field(default_factory=list)


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def wrong(self, message: str, *path: str | int) -> None:
        self.problems.append(Problem(message, ".".join(map(str, path)), *self._document.locate(path)))

    def read(self) -> Scenario | None:
        top = self._document.value
        if not isinstance(top, dict):
            self.wrong("a scenario is a mapping with name, symbols and steps; see etc/scenarios/")
            return None
        for key in top:
            if key not in _TOP:
                near = nearest(key, _TOP)
                self.wrong(
                    "unknown field" + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_TOP)}"),
                    key,
                )
        venues, symbols = self._symbols(top.get("symbols"))
        if symbols:
            self._steps(top.get("steps"), venues, symbols)
        profile = self._risk_profile(top.get("risk_profile") or {})
        expected = self._expected(top.get("expected_outcomes") or {})
        if self.problems:
            return None
        markets = [self._market(symbol, venues) for symbol in symbols.values()]
        if self.problems:
            return None
        return Scenario(
            str(top.get("name", self._document.source)),
            str(top.get("description", "")),
            self._document.source,
            venues[0],
            venues[1],
            tuple(symbols),
            tuple(market for market in markets if market is not None),
            profile,
            expected,
        )

    def _symbols(self, given: object) -> tuple[tuple[str, str], dict[str, _Symbol]]:
        symbols: dict[str, _Symbol] = {}
        venues: tuple[str, ...] = ()
        if not isinstance(given, list) or not given:
            self.wrong("needs a list such as [{upbit: KRW-BTC, binance: BTCUSDT, exchange_rate: 1300}]", "symbols")
            return ("", ""), {}
        for index, item in enumerate(given):
            names = [key for key in item if key != "exchange_rate"] if isinstance(item, dict) else []
            if len(names) != 2:
                self.wrong("needs two venues and perhaps an exchange_rate", "symbols", index)
                continue
            if venues and tuple(names) != venues:
                self.wrong(f"has other venues than the first symbol ({', '.join(venues)})", "symbols", index)
                continue
            venues = tuple(names)
            rate = item.get("exchange_rate", 1.0)
            if not _is_number(rate) or not 0 < rate < math.inf:
                self.wrong(f"is {rate!r}, not a positive number", "symbols", index, "exchange_rate")
                continue
            if str(item[names[0]]) in symbols:
                self.wrong(f"{item[names[0]]} stands twice; a step could not tell them apart", "symbols", index)
                continue
            symbols[str(item[names[0]])] = _Symbol(str(item[names[0]]), str(item[names[1]]), float(rate))
        return (venues[0], venues[1]) if venues else ("", ""), symbols

    def _steps(self, given: object, venues: tuple[str, str], symbols: dict[str, _Symbol]) -> None:
        if not isinstance(given, list) or not given:
            self.wrong("needs a list of quotes", "steps")
            return
        needed = ["t", *(f"{venue}_{side}" for venue in venues for side in ("bid", "ask"))]
        optional = [f"{venue}_{side}_size" for venue in venues for side in ("bid", "ask")]
        for index, step in enumerate(given):
            if not isinstance(step, dict):
                self.wrong(f"is {step!r}, not a mapping with {', '.join(needed)}", "steps", index)
                continue
            numbers = self._step_numbers(step, index, needed, optional)
            name = str(step.get("symbol", next(iter(symbols)) if len(symbols) == 1 else None))
            if name not in symbols:
                self.wrong(f"symbol is {name!r}; it can be {', '.join(symbols)}", "steps", index, "symbol")
            elif numbers is not None:
                symbols[name].steps.append({**numbers, "index": index})
        for name, symbol in symbols.items():
            if not symbol.steps and not self.problems:
                self.wrong(f"no step gives a quote of {name}", "steps")

    def _step_numbers(
        self, step: Mapping[str, Any], index: int, needed: Sequence[str], optional: Sequence[str]
    ) -> dict[str, float] | None:
        before = len(self.problems)
        for key in step:
            if key not in (*needed, *optional, "symbol", "description"):
                near = nearest(key, [*needed, *optional])
                self.wrong(
                    f"unknown field; {f'did you mean {near[0]!r}?' if near else 'known: ' + ', '.join(needed)}",
                    "steps",
                    index,
                    key,
                )
        for key in needed:
            if key not in step:
                self.wrong("is missing", "steps", index, key)
        for key in (*needed, *optional):
            if key in step and not _is_number(step[key]):
                self.wrong(f"is {step[key]!r}, not a number", "steps", index, key)
        if _is_number(step.get("t")) and not abs(step["t"]) <= LATEST_S:
            self.wrong(f"is {step['t']!r}; it can be seconds up to {LATEST_S:,}", "steps", index, "t")
        return {k: float(v) for k, v in step.items() if _is_number(v)} if len(self.problems) == before else None

    def _market(self, symbol: _Symbol, venues: tuple[str, str]) -> Quotes | None:
        columns: dict[str, Any] = {
            "ts_ns": np.array([START_NS + round(step["t"] * 1e9) for step in symbol.steps], dtype=np.int64),
            "fx": np.full(len(symbol.steps), symbol.fx),
        }
        for venue, letter in zip(venues, "ab", strict=True):
            for side in ("bid", "ask"):
                columns[f"{side}_{letter}"] = np.array([step[f"{venue}_{side}"] for step in symbol.steps])
                sizes = [step.get(f"{venue}_{side}_size", np.inf) for step in symbol.steps]
                columns[f"{side}_size_{letter}"] = np.array(sizes)
        try:
            return build_quotes(columns, self._document.source, remedy="correct the step")[0]
        except DataError as error:
            index = symbol.steps[error.row - 1]["index"] if error.row else 0
            self.wrong(error.reason, "steps", int(index))
            return None

    def _risk_profile(self, given: object) -> dict[str, params.Value]:
        if not isinstance(given, dict):
            self.wrong("is not a mapping of parameters", "risk_profile")
            return {}
        profile: dict[str, params.Value] = {}
        for name, value in given.items():
            try:
                profile[params.canonical(str(name))] = params.check(str(name), value)
            except UsageError as error:
                self.wrong(str(error), "risk_profile", name)
        return profile

    def _expected(self, given: object) -> dict[str, float | bool]:
        if not isinstance(given, dict):
            self.wrong("is not a mapping of expectations", "expected_outcomes")
            return {}
        for name, value in given.items():
            if name not in EXPECTATIONS:
                near = nearest(name, EXPECTATIONS)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(EXPECTATIONS)}"
                self.wrong(f"unknown expectation; {hint}", "expected_outcomes", name)
            elif name == "circuit_breaker_triggered":
                if not isinstance(value, bool):
                    self.wrong(f"is {value!r}, not true or false", "expected_outcomes", name)
            elif not _is_number(value):
                self.wrong(f"is {value!r}, not a number", "expected_outcomes", name)
        return dict(given)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
