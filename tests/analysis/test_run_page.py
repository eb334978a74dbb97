"""The page of an iteration: nothing of the series' reach is lost, it stays light, and it holds no foreign markup."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.analysis.downsample import envelope
from arbd.analysis.replay import Replay
from arbd.analysis.run_page import run_page, write_run_page
from arbd.analysis.run_series import MAX_MARKS, RunSeries, grid_times, run_series
from arbd.analysis.trades import MarketRun
from arbd.errors import UsageError
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.paper.engine import run
from arbd.paper.market.prepared import grid_rows, prepare
from arbd.paper.market.synth import synth_profile
from arbd.paper.params import resolve
from arbd.results.result import TuningResult
from arbd.search.space import SearchSpace
from tests.browser import PHONE, WIDE, appear, asked_urls, chromium, complaints, is_wider_than_window, violations
from tests.conftest import brought_up

EVIL = '<script>alert(1)</script>&"'


def page_of(ticks: int, source: str = "day.parquet", **params: Any) -> str:
    quotes = synth_profile("kimchi", 3, ticks)
    resolved = resolve({"fee_a_bps": 1, "fee_b_bps": 1, "grid_s": 600, **params})
    market = prepare(quotes)
    done = run(market, resolved)
    spec = JobSpec(ObjectiveSpec("paper"), "random", SearchSpace(()), 1, 1, ())
    row = TuningResult("s", EVIL, 1, {"min_spread_pct": 0.1}, done.metrics, "2026-01-01T00:00:00Z")
    return run_page(Replay(spec, row, done.metrics, ()), [MarketRun(source, market, quotes.block, resolved, done)])


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


def content(page: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    return data


def test_a_page_asks_for_nothing_and_says_what_happened() -> None:
    text = page_of(5_000, min_spread_pct=0.05)
    assert not re.search(r"https?:|url\(|@import", text)
    (market,) = content(text)["markets"]
    kinds = {fill["kind"] for fill in market["fills"]}
    assert kinds == {"entry", "exit"}
    assert [level["text"] for level in market["levels"]] == ["min_spread_pct", "-exit_spread_pct"]
    assert market["levels"][0]["value"] == 0.05
    assert market["entries"] == sum(fill["kind"] == "entry" for fill in market["fills"])
    assert max(market["drawdown"]["high"]) <= 0


def test_text_from_outside_stays_data() -> None:
    text = page_of(500, source=f"/data/{EVIL}.parquet")
    assert (text.count("<script"), text.count("</script>")) == (2, 2)
    assert content(text)["worker"] == EVIL
    assert content(text)["markets"][0]["source"] == f"/data/{EVIL}.parquet"


def test_a_long_market_makes_no_larger_page() -> None:
    few = len(page_of(20_000, min_spread_pct=5))
    assert len(page_of(300_000, min_spread_pct=5)) < 1.5 * few
    busy = page_of(100_000, min_spread_pct=-0.2, exit_spread_pct=0.5)
    (market,) = content(busy)["markets"]
    assert 0 < len(market["fills"]) <= MAX_MARKS < market["fills_in_all"]
    assert len(busy) < 1_500_000


def series_of(ticks: int, **params: Any) -> RunSeries:
    quotes = synth_profile("kimchi", 3, ticks)
    resolved = resolve({"fee_a_bps": 1, "fee_b_bps": 1, "grid_s": 60, **params})
    market = prepare(quotes)
    return run_series(MarketRun("day", market, quotes.block, resolved, run(market, resolved)))


@functools.cache
def usual_series() -> RunSeries:
    return series_of(3_000, min_spread_pct=0.05)


@given(share=st.floats(0, 1), width=st.floats(0, 1), stretches=st.integers(2, 200))
@settings(max_examples=60, deadline=None)
def test_a_window_holds_every_extreme_and_every_fill_in_it(share: float, width: float, stretches: int) -> None:
    series = usual_series()
    first, last = series.ts_ns[0] / 1e6, series.ts_ns[-1] / 1e6
    start = first + share * (last - first)
    end = start + width * (last - start)
    cut = series.cut(start, end, stretches)
    inside = (series.ts_ns >= int(start * 1e6)) & (series.ts_ns <= int(end * 1e6))
    for name, whole in (("ab", series.edge_ab), ("ba", series.edge_ba)):
        low = [value for value in cut[name]["low"] if value is not None]
        high = [value for value in cut[name]["high"] if value is not None]
        if inside.any():
            assert min(low) <= whole[inside].min() + 1e-7 * abs(whole[inside].min())
            assert max(high) >= whole[inside].max() - 1e-7 * abs(whole[inside].max())
        assert len(low) <= 2 * stretches + 2
    assert cut["fills_in_window"] == sum(int(start * 1e6) <= fill["ns"] <= int(end * 1e6) for fill in series.fills)


def test_series_come_back_from_where_they_were_kept(tmp_path: Path) -> None:
    series = usual_series()
    series.save(tmp_path / "kept")
    again = RunSeries.load(tmp_path / "kept")
    assert again.cut() == series.cut()
    assert again.cut(1.7e12, 1.8e12, 7) == series.cut(1.7e12, 1.8e12, 7)


@pytest.mark.bed
def test_a_browser_shows_it_zooms_it_and_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(page_of(5_000, source=f"/data/{EVIL}.parquet", min_spread_pct=0.05))
    with brought_up(chromium()) as browser:
        for size, dark in ((WIDE, False), (PHONE, True)):
            appear(browser, size, dark=dark)
            browser.get(file.as_uri())
            assert not is_wider_than_window(browser)
            assert violations(browser) == []
        picture = "return document.querySelector('canvas').toDataURL()"
        whole = browser.execute_script(picture)
        browser.execute_script("document.querySelector('td button').click()")
        assert browser.execute_script(picture) != whole
        browser.execute_script("document.querySelector('.zoom button:last-child').click()")
        assert browser.execute_script(picture) == whole
        assert browser.execute_script(
            "return [document.querySelectorAll('canvas').length, document.querySelectorAll('img').length]"
        ) == [3, 0]
        assert complaints(browser) == []
        assert {url.partition(":")[0] for url in asked_urls(browser)} <= {"file", "data"}


def test_every_observation_of_equity_has_its_time() -> None:
    market = prepare(synth_profile("kimchi", 1, 1_000))
    start, end = int(market.ts_ns[0]), int(market.ts_ns[-1])
    times = grid_times(start, end, 3600.0, len(grid_rows(market.ts_ns, 3600.0)))
    assert times[0] == start + 3600 * 10**9
    assert times[-1] == end
    assert (np.diff(times) > 0).all()


def test_a_market_of_one_row_or_without_trades_is_shown() -> None:
    assert content(page_of(1))["markets"][0]["equity"]["t"] == []
    assert content(page_of(50, min_spread_pct=50))["markets"][0]["entries"] == 0


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"):
        write_run_page(None, [], tmp_path / "nowhere" / "p.html")  # type: ignore[arg-type]
