"""The page of an iteration: nothing of the series' reach is lost, it stays light, and it holds no foreign markup."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.analysis.chart import nice_steps
from arbd.analysis.downsample import envelope
from arbd.analysis.plot import MAX_MARKS, grid_times, page, write_plot
from arbd.analysis.replay import Replay
from arbd.analysis.trades import MarketRun
from arbd.errors import UsageError
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.paper.engine import run
from arbd.paper.market.prepared import grid_rows, prepare
from arbd.paper.market.synth import synth_profile
from arbd.paper.params import resolve
from arbd.results.result import TuningResult
from arbd.search.space import SearchSpace

EVIL = '<script>alert(1)</script>&"'


def page_of(ticks: int, source: str = "day.parquet", **params: Any) -> str:
    quotes = synth_profile("kimchi", 3, ticks)
    resolved = resolve({"fee_a_bps": 1, "fee_b_bps": 1, "grid_s": 600, **params})
    market = prepare(quotes)
    done = run(market, resolved)
    spec = JobSpec(ObjectiveSpec("paper"), "random", SearchSpace(()), 1, 1, ())
    row = TuningResult("s", EVIL, 1, {"min_spread_pct": 0.1}, done.metrics, "2026-01-01T00:00:00Z")
    return page(Replay(spec, row, done.metrics, ()), [MarketRun(source, market, quotes.block, resolved, done)])


@given(
    steps=st.lists(st.integers(0, 50), min_size=1, max_size=200),
    stretches=st.integers(1, 40),
    seed=st.integers(0, 9),
)
@settings(max_examples=200, deadline=None)
def test_an_envelope_has_the_lowest_and_highest_value_of_every_stretch(
    steps: list[int], stretches: int, seed: int
) -> None:
    ts = 1_700_000_000 * 10**9 + np.cumsum(steps)
    values = np.random.default_rng(seed).normal(size=len(ts))
    start, end = int(ts[0]), int(ts[-1])
    found = envelope(ts, values, stretches, start, end)
    expected: dict[int, list[float]] = {}
    for t, value in zip(ts.tolist(), values.tolist(), strict=True):
        limits = [start + (end - start) * k // stretches for k in range(1, stretches)]
        expected.setdefault(sum(t >= limit for limit in limits), []).append(value)
    assert found.stretch.tolist() == sorted(expected)
    assert found.low.tolist() == [min(expected[k]) for k in sorted(expected)]
    assert found.high.tolist() == [max(expected[k]) for k in sorted(expected)]


def test_a_page_is_one_well_formed_file_that_asks_for_nothing() -> None:
    text = page_of(5_000, min_spread_pct=0.05)
    for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert ElementTree.fromstring(found).tag == "svg"
    assert "<script" not in text
    assert not re.search(r"(src|href)=|https?:|url\(|@import", text)
    assert 'class="entry"' in text
    assert 'class="exit"' in text
    assert "min_spread_pct 0.05" in text


def test_text_from_outside_is_escaped() -> None:
    text = page_of(500, source=f"/data/{EVIL}.parquet")
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;") == 2


def test_a_long_market_makes_no_larger_page() -> None:
    few = len(page_of(20_000, min_spread_pct=5))
    assert len(page_of(300_000, min_spread_pct=5)) < 1.5 * few
    busy = page_of(100_000, min_spread_pct=-0.2, exit_spread_pct=0.5)
    marks = len(re.findall('class="(?:entry|exit)"[^>]*><title>', busy))
    assert 0 < marks <= MAX_MARKS
    assert len(busy) < 1_000_000


def test_every_observation_of_equity_has_its_time() -> None:
    market = prepare(synth_profile("kimchi", 1, 1_000))
    start, end = int(market.ts_ns[0]), int(market.ts_ns[-1])
    times = grid_times(start, end, 3600.0, len(grid_rows(market.ts_ns, 3600.0)))
    assert times[0] == start + 3600 * 10**9
    assert times[-1] == end
    assert (np.diff(times) > 0).all()


def test_a_market_of_one_row_or_without_trades_is_drawn() -> None:
    assert "no equity over time" in page_of(1)
    assert "0 fills of entries" in page_of(50, min_spread_pct=50)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 0.7), (19_985, 20_011), (1e-9, 3e-9), (-5e8, 7e9)])
def test_axis_steps_are_round_and_few(low: float, high: float) -> None:
    steps = nice_steps(low, high, 6)
    assert 2 <= len(steps) <= 8
    room = 1e-12 * (high - low)
    assert all(low - room <= step <= high + room for step in steps)


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"):
        write_plot(None, [], tmp_path / "nowhere" / "p.html")  # type: ignore[arg-type]
