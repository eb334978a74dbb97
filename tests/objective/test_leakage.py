"""No search sees what its finalists are tested on, of whatever markets, rules and objectives; nor do those who judge it.

`ARBD_LEAKAGE_EXAMPLES` is how many jobs are drawn, by default a few.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.job.spec import JobSpec
from arbd.objective.paper import PaperEvaluator
from arbd.objective.protocol import Settings
from arbd.paper.market.quotes import Quotes, quotes_of
from arbd.search.phases import Phase, Stretch
from tests.objective.test_windows import SETS, quotes, resolved

DAY_NS = 86_400 * 10**9
EXAMPLES = int(os.environ.get("ARBD_LEAKAGE_EXAMPLES", "8"))
SCHEMES: dict[str, Any] = {
    "share": {"holdout": "20%"},
    "length": {"holdout": "3h"},
    "moment": {"holdout": {"from": "2023-11-15T12:00Z"}},
    "walk forward": {"walk_forward": {"train": "6h", "test": "2h"}},
    "overlapping": {"walk_forward": {"train": "5h", "test": "3h", "step": "1h"}},
    "anchored": {"walk_forward": {"train": "6h", "test": "2h", "anchored": True}},
    "cpcv": {"cpcv": {"groups": 5, "test_groups": 2}},
    "cpcv of halves": {"cpcv": {"groups": 4, "test_groups": 2}},
}
PURGES: tuple[dict[str, str], ...] = ({}, {"purge": "1s"}, {"purge": "17m"}, {"purge": "1h"})
# What of a market's prices is carried along it, or looked at before and after an order.
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"center": "ewma", "center_half_life_s": 600, "entry_sigma": 0.5},
    {"max_quote_age_s": 90, "gap": "close_before"},
    {"latency_a_ms": 90_000, "latency_b_ms": 30_000, "feed_latency_a_ms": 70_000, "latency_jitter": 0.5},
    {"strategy": "inventory"},
)
JUDGES = {"neighbours": 2, "stress": [{"name": "dear", "fee_a_bps": "+1"}], "null_searches": 2}


def _markets(layout: str) -> list[Quotes]:
    if layout != "list":
        return [quotes()]
    columns = quotes().columns()
    moved = {name: column[::-1].copy() if name != "ts_ns" else column + 7 * 10**9 for name, column in columns.items()}
    return [quotes(), quotes_of(moved)]


def _written(folder: Path, layout: str, markets: list[Quotes]) -> Path:
    """The files of a job, by the same names in every folder."""
    folder.mkdir()
    for number, market in enumerate(markets):
        parts = [("", np.ones(len(market.ts_ns), dtype=bool))]
        if layout == "folder":
            days = market.ts_ns // DAY_NS
            parts = [(str(np.datetime64(int(day), "D")), days == day) for day in np.unique(days).tolist()]
        for name, rows in parts:
            told = quotes_of({key: column[rows] for key, column in market.columns().items()}).told()
            np.savez(folder / f"m{number}-{name}.npz", **told)  # type: ignore[arg-type]
    return folder


def _job(folder: Path, layout: str, validation: dict[str, Any], fixed: dict[str, Any], metric: object) -> JobSpec:
    data: list[Any] = [str(folder / f"m{number}-.npz") for number in range(2 if layout == "list" else 1)]
    if layout == "folder":
        data = [{"folder": str(folder), "pattern": "m0-*.npz", "from": "2023-11-14", "to": "2023-11-15"}]
    return resolved(
        folder, folder, validation, data=data, metric=metric,
        fixed={"fee_a_bps": 0, "fee_b_bps": 0, "grid_s": 600, **fixed},
    )  # fmt: skip


def _hidden(spec: JobSpec, fold: int, markets: list[Quotes]) -> list[np.ndarray[Any, Any]]:
    """The rows of each market that are in no training window of a fold."""
    assert spec.validation is not None
    found = []
    for market, windows in zip(markets, spec.validation.folds[fold].train, strict=True):
        seen = np.zeros(len(market.ts_ns), dtype=bool)
        for start, end in windows:
            seen |= (market.ts_ns >= start) & (market.ts_ns < end)
        found.append(np.flatnonzero(~seen))
    return found


def _changed(data: st.DataObject, market: Quotes, hidden: np.ndarray[Any, Any]) -> Quotes:
    """Some hidden rows have other prices, some are not there."""
    columns = {name: column.copy() for name, column in market.columns().items()}
    some = st.lists(st.sampled_from(hidden.tolist()), min_size=1, max_size=60, unique=True)
    rows = data.draw(some)
    for venue in "ab":
        factor = data.draw(st.floats(0.5, 2.0))
        for name in (f"bid_{venue}", f"ask_{venue}"):
            columns[name][rows] *= factor
    # The job's windows are of its first and its last quote.
    gone = [row for row in data.draw(some) if 0 < row < len(market.ts_ns) - 1]
    return quotes_of({name: np.delete(column, gone) for name, column in columns.items()})


def _rows(evaluator: PaperEvaluator, spec: JobSpec, stretch: Stretch) -> dict[str, bytes]:
    """What the iterations of a stretch come to, to the bit."""
    metrics, blocks = evaluator.evaluate_batch(SETS, 1.0, Settings(spec).of(stretch.first))
    assert blocks is not None
    return {**{name: column.tobytes() for name, column in metrics.items()}, "blocks": blocks.tobytes()}


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_whatever_stands_where_a_search_may_not_look_changes_no_bit_of_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder, layout = tmp_path_factory.mktemp("quotes"), data.draw(st.sampled_from(["single", "list", "folder"]))
    schemes = [name for name in SCHEMES if layout != "list" or not name.startswith("cpcv")]
    scheme = SCHEMES[data.draw(st.sampled_from(schemes))]
    validation = {**scheme, **data.draw(st.sampled_from(PURGES)), **JUDGES}
    markets = _markets(layout)
    metric = data.draw(st.sampled_from(["pnl", "sharpe", ["pnl", "max_drawdown"]]))
    spec = _job(_written(folder / "as", layout, markets), layout, validation, data.draw(st.sampled_from(RULES)), metric)
    assert spec.validation is not None
    fold = data.draw(st.sampled_from([n for n, each in enumerate(spec.validation.folds) if each.test]))
    hidden = _hidden(spec, fold, markets)
    assert all(len(rows) for rows in hidden)
    which = data.draw(st.sets(st.integers(0, len(markets) - 1), min_size=1))
    others = [_changed(data, market, hidden[n]) if n in which else market for n, market in enumerate(markets)]
    other = _written(folder / "is", layout, others)
    moved = replace(spec, data=tuple(name.replace(str(folder / "as"), str(other)) for name in spec.data))
    assert moved.data != spec.data
    of_fold = [stretch for stretch in spec.layout.stretches if stretch.phase is Phase.SEARCH and stretch.fold == fold]
    if fold == 0:
        # Those who judge the session's own winner see what its search saw.
        of_fold += [s for s in spec.layout.stretches if s.phase in (Phase.NEIGHBOUR, Phase.STRESS, Phase.NULL)]
        assert len(of_fold) == 1 + 1 + 1 + 2
    one, two = (PaperEvaluator(each, None, verify=False) for each in (spec, moved))
    for stretch in of_fold:
        assert _rows(one, spec, stretch) == _rows(two, moved, stretch), stretch
    tests = [stretch for stretch in spec.layout.stretches if stretch.phase is Phase.TEST and stretch.fold == fold]
    assert len(tests) == 1


def test_a_change_of_what_a_search_sees_is_seen(tmp_path: Path) -> None:
    """The comparison above finds what it is to find."""
    spec = _job(_written(tmp_path / "as", "single", [quotes()]), "single", {"holdout": "20%"}, {}, "pnl")
    columns = {name: column.copy() for name, column in quotes().columns().items()}
    for name in ("bid_a", "ask_a"):
        columns[name][5:200] *= 1.001
    _written(tmp_path / "is", "single", [quotes_of(columns)])
    moved = replace(spec, data=(str(tmp_path / "is" / "m0-.npz"),))
    one, two = (PaperEvaluator(each, None, verify=False) for each in (spec, moved))
    assert _rows(one, spec, spec.layout.stretches[0]) != _rows(two, moved, spec.layout.stretches[0])
