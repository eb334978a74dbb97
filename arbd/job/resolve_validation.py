"""A job's `validation:` block made into windows in nanoseconds and conditions: every fold is fixed before a host starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from arbd.errors import NotComputableError, UsageError
from arbd.job.model_validation import HoldoutFrom, ValidationModel
from arbd.job.spec import JobSpec
from arbd.job.validation import (
    MAX_STRESSES,
    MAX_WINDOWS,
    OPEN_FROM,
    OPEN_TO,
    Change,
    FoldWindows,
    Stress,
    ValidationSpec,
    Window,
    Windows,
)
from arbd.paper.market.quotes import IntArray
from arbd.paper.params import ALIASES, PARAMETERS
from arbd.search.phases import AT_ONCE
from arbd.search.space import ChoiceDimension, SearchSpace, Value
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.validation.folds import Fold

FINALISTS = 20
UNITS_NS = {"d": 86_400 * 10**9, "h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9}
MAX_NULL_ITERATIONS = 10**9
DEFAULT_STRESSES = (
    Stress("fees x1.25", (Change("fee_a_bps", "x", 1.25), Change("fee_b_bps", "x", 1.25))),
    Stress("fees x1.5", (Change("fee_a_bps", "x", 1.5), Change("fee_b_bps", "x", 1.5))),
    Stress("fees x2", (Change("fee_a_bps", "x", 2.0), Change("fee_b_bps", "x", 2.0))),
    Stress("slippage +1 bps", (Change("slippage_bps", "+", 1.0),)),
    Stress("latency x2", (Change("latency_a_ms", "x", 2.0), Change("latency_b_ms", "x", 2.0))),
)


def with_validation(spec: JobSpec, validation: ValidationSpec) -> JobSpec:
    """The job with its validation: all of its iterations count, and all are published."""
    size = spec.generation_size or min(spec.n, AT_ONCE)
    spec = replace(spec, validation=validation, generation_size=size)
    return replace(spec, n=spec.layout.n)


@dataclass(slots=True)
class ValidationOptions:
    """The block resolved, what is wrong with it, and what is worth a notice.

    `moments` begin and end with the first and the last of every market, in the order in which they are traded on.
    """

    kind: str
    space: SearchSpace
    fixed: Mapping[str, Value]
    moments: Sequence[IntArray]
    wrong: Callable[..., None]
    notices: list[str]
    given: ValidationModel
    purge_ns: int = 0

    @property
    def times(self) -> list[tuple[int, int]]:
        """The first and the last moment of every market."""
        return [(int(each[0]), int(each[-1])) for each in self.moments]

    def resolve(self, n: int, *, past: bool, takes_window: bool) -> ValidationSpec | None:
        """For a search of `n` iterations; None where something is wrong, which was told."""
        given = self.given
        schemes = given.schemes
        if len(schemes) > 1:
            self._wrong(f"one of {', '.join(schemes)} at a time", schemes[1])
            return None
        scheme = schemes[0] if schemes else ""
        if not (scheme or given.neighbours or given.stress or given.null_searches):
            self._wrong("asks for nothing: name holdout, walk_forward, cpcv, neighbours, stress or null_searches")
            return None
        if past and (scheme or given.null_searches):
            self._wrong(
                "the search may start from no earlier results (tuning.start_from): these may have seen what it is tested on",
                scheme or "null_searches",
            )
        if given.null_searches and self.kind != "paper":
            self._wrong("markets without an edge are made for the paper objective only", "null_searches")
        if given.null_searches and given.null_searches * n > MAX_NULL_ITERATIONS:
            self._wrong(f"{given.null_searches:,} searches of {n:,} iterations are too many", "null_searches")
        if scheme and not takes_window:
            return None
        self.purge_ns = self._purge() if scheme else 0
        folds = tuple(self._folds(scheme)) if scheme else (FoldWindows(()),)
        if sum(len(market) for fold in folds for market in (*fold.train, *fold.test)) > MAX_WINDOWS:
            self._wrong(f"{len(folds):,} folds of {len(self.times):,} markets are too many", scheme)
        stresses = tuple(self._stresses())
        finalists = given.finalists if given.finalists is not None else FINALISTS
        if given.finalists is not None and not (scheme or stresses):
            self.notices.append("validation.finalists has no effect without a test or a stress")
        return ValidationSpec(
            n, scheme, folds, min(n, finalists) if scheme or stresses else 0, given.neighbours or 0, stresses,
            given.null_searches or 0,
        )  # fmt: skip

    def _wrong(self, message: str, *path: str | int) -> None:
        self.wrong(message, "validation", *path)

    def _purge(self) -> int:
        """Training ends so long before a test: no position that began in it may reach the test."""
        if self.given.purge is not None:
            return span_ns(self.given.purge)
        if self.kind != "paper":
            return 0
        hold_s = self._range("max_hold_s")
        held = math.nan if hold_s[0] == 0 else hold_s[1]
        if math.isnan(held):
            self.notices.append(
                "max_hold_s may be 0 (no limit): training ends right before a test; name validation.purge to leave room"
            )
            held = 0.0
        latency_ms = self._range("latency_a_ms")[1] + self._range("latency_b_ms")[1]
        return int(held * 1e9) + int(latency_ms * 1e6)

    def _range(self, name: str) -> tuple[float, float]:
        """The lowest and the highest value that a parameter of the engine may have."""
        for dimension in self.space.dimensions:
            if dimension.name == name:
                if isinstance(dimension, ChoiceDimension):
                    ends = [float(value) for value in dimension.values if value is not None]
                else:
                    ends = [float(dimension.low), float(dimension.high)]
                # Where it does not exist it is the engine's own.
                ends += [float(PARAMETERS[name].default)] if name in self.space.conditional else []
                return min(ends), max(ends)
        value = float(self.fixed.get(name, PARAMETERS[name].default) or 0.0)
        return value, value

    def _folds(self, scheme: str) -> Iterator[FoldWindows]:
        """The windows of the session's own search, and of each fold."""
        if scheme != "holdout" and not self.times:
            self._wrong("which times there are is known of `data:` and scenarios only: name files", scheme)
            return
        if scheme == "cpcv" and len(self.times) > 1:
            self._wrong(
                f"is for one market, and there are {len(self.times)}: use walk_forward, or a job for each", scheme
            )
            return
        if scheme == "cpcv" and self.kind != "paper":
            self._wrong("trains on several windows, which only the paper objective takes: use walk_forward", scheme)
            return
        try:
            found = [self._holdout()] if scheme == "holdout" else self._all_folds(scheme)
        except (UsageError, NotComputableError) as error:
            self._wrong(str(error), scheme)
        else:
            yield from found

    def _all_folds(self, scheme: str) -> list[FoldWindows]:
        """The session's own search, which sees everything, and the folds."""
        per_market = [self._market_folds(scheme, start, end + 1) for start, end in self.times]
        counts = {len(folds) for folds in per_market}
        if len(counts) > 1:
            raise UsageError(f"markets of different lengths have {sorted(counts)} folds; use a job for each")
        whole = FoldWindows(tuple(((start, end + 1),) for start, end in self.times))
        folds = zip(*per_market, strict=True)
        return [
            whole,
            *(FoldWindows(tuple(_plain(f.train) for f in of), tuple(_plain(f.test) for f in of)) for of in folds),
        ]

    def _market_folds(self, scheme: str, start: int, end: int) -> Sequence[Fold]:
        from arbd.validation.folds import (  # noqa: PLC0415 - statistics, which jobs without folds do without
            combinatorial_purged,
            walk_forward,
        )

        given = self.given
        if scheme == "cpcv":
            assert given.cpcv is not None
            return combinatorial_purged(
                start, end, given.cpcv.groups, given.cpcv.test_groups, purge=self.purge_ns
            ).folds
        assert given.walk_forward is not None
        walk = given.walk_forward
        step = None if walk.step is None else span_ns(walk.step)
        try:
            return walk_forward(
                start, end, span_ns(walk.train), span_ns(walk.test), step, anchored=walk.anchored, purge=self.purge_ns
            )
        except NotComputableError as error:
            days = (end - start) / UNITS_NS["d"]
            raise NotComputableError(
                f"training {walk.train} and test {walk.test} do not fit into the {days:.2f} days of the data"
            ) from error

    def _holdout(self) -> FoldWindows:
        """Training up to the purge before the end that is held out, market by market."""
        train: list[tuple[Window, ...]] = []
        test: list[tuple[Window, ...]] = []
        given = self.given.holdout
        if not self.times and not isinstance(given, HoldoutFrom):
            raise UsageError(
                "how long the data are is known of `data:` and scenarios only: name the moment, {from: ...}"
            )
        for first, last in self.times or ((OPEN_FROM, OPEN_TO - 1),):
            at = self._held_out_from(first, last)
            end = at - self.purge_ns
            if end <= first or at > last:
                raise UsageError(
                    f"leaves nothing to search on or nothing to test on: the data are from {iso(first)} to {iso(last)}, "
                    f"held out from {iso(at)}, and training ends {self.purge_ns / 1e9:g} s before"
                )
            train.append(((first, end),))
            test.append(((at, last + 1),))
        return FoldWindows(tuple(train), tuple(test))

    def _held_out_from(self, first: int, last: int) -> int:
        given = self.given.holdout
        if isinstance(given, HoldoutFrom):
            return moment_ns(given.from_)
        assert given is not None
        if given.endswith("%"):
            share = float(given[:-1]) / 100
            if not 0 < share < 1:
                raise UsageError(f"{given} is no share of the data between 0 and 100%")
            return last + 1 - int((last + 1 - first) * share)
        return last + 1 - span_ns(given)

    def _stresses(self) -> Iterator[Stress]:
        given = self.given.stress
        if given is None:
            return
        if given == "default":
            if self.kind != "paper":
                self._wrong("default conditions are those of the paper objective: give a list", "stress")
                return
            yield from (stress for stress in DEFAULT_STRESSES if self._bites(stress))
            return
        if len(given) > MAX_STRESSES:
            self._wrong(f"more than {MAX_STRESSES} conditions", "stress")
            return
        for index, case in enumerate(given):
            changes = tuple(self._changes(case, index))
            if not changes:
                self._wrong("changes no parameter", "stress", index)
            yield Stress(str(case.get("name") or ", ".join(map(str, changes)))[:200], changes)

    def _bites(self, stress: Stress) -> bool:
        """Whether a multiplied value can differ at all; what is 0 everywhere stays 0."""
        return any(change.how != "x" or self._range(change.name) != (0.0, 0.0) for change in stress.changes)

    def _changes(self, case: Mapping[str, Any], index: int) -> Iterator[Change]:
        for name, value in case.items():
            if name == "name":
                continue
            key = ALIASES.get(name, name) if self.kind == "paper" else name
            numeric = (
                PARAMETERS[key].kind != "choice" if self.kind == "paper" and key in PARAMETERS else self._is_number(key)
            )
            if not numeric:
                self._wrong(f"{name!r} is no number that the objective takes", "stress", index, name)
                continue
            text = str(value).strip()
            how = text[0] if text[:1] in ("x", "+") and isinstance(value, str) else "="
            try:
                by = float(text[1:] if how != "=" else text)
            except ValueError:
                by = math.nan
            if not math.isfinite(by) or isinstance(value, bool):
                self._wrong(f"{value!r} is not a number, x and a factor, or + and what is added", "stress", index, name)
                continue
            yield Change(key, how, by)

    def _is_number(self, name: str) -> bool:
        """True for a parameter of which every value is a number."""
        for dimension in self.space.dimensions:
            if dimension.name == name:
                values = dimension.values if isinstance(dimension, ChoiceDimension) else (dimension.low,)
                return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        value = self.fixed.get(name)
        return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(windows: Sequence[Any]) -> tuple[Window, ...]:
    return tuple((window.start, window.end) for window in windows)


def span_ns(text: str) -> int:
    """Nanoseconds of a length such as 10d, 12h, 30m or 90s."""
    return int(float(text[:-1]) * UNITS_NS[text[-1]])


def moment_ns(value: Any) -> int:
    """Nanoseconds UTC of a moment; UsageError when it is none."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"{value!r} is no moment such as 2024-08-08T12:00Z") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def iso(ns: int) -> str:
    """A moment for people."""
    if not -(10**18) * 5 < ns < 10**18 * 9:
        return "the beginning" if ns < 0 else "the end"
    return datetime.fromtimestamp(ns / 1e9, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


__all__ = ["ValidationOptions", "Windows", "iso", "moment_ns", "span_ns"]
