"""Scenario files: the shipped ones hold, bad ones are told with every fault at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd import strict_yaml
from arbd.errors import JobError
from arbd.paper.scenario import load_scenario, parse_scenario
from arbd.paper.scenario_run import run_scenario
from tests.conftest import REPOSITORY

SHIPPED = sorted((REPOSITORY / "etc" / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_what_a_shipped_scenario_expects_holds(path: Path) -> None:
    report = run_scenario(load_scenario(path))
    assert report.checks
    assert [check for check in report.checks if not check.holds] == []


def test_overrides_go_before_the_risk_profile() -> None:
    scenario = load_scenario(REPOSITORY / "etc/scenarios/profitable_spread.yaml")
    report = run_scenario(scenario, {"min_spread_pct": 50})
    assert report.metrics["trades"] == 0
    assert not report.ok


TWO_SYMBOLS = """
name: two
symbols: [{kraken: BTC, okx: BTC-EUR, exchange_rate: 2}, {kraken: ETH, okx: ETH-EUR}]
steps:
  - {t: 0, symbol: BTC, kraken_bid: 200, kraken_ask: 200, okx_bid: 100, okx_ask: 100, okx_bid_size: 3}
  - {t: 1, symbol: ETH, kraken_bid: 10, kraken_ask: 10, okx_bid: 10, okx_ask: 10}
"""


def test_any_venues_and_several_symbols_work() -> None:
    scenario = parse_scenario(strict_yaml.parse(TWO_SYMBOLS, "two"))
    assert (scenario.venue_a, scenario.venue_b, scenario.symbols) == ("kraken", "okx", ("BTC", "ETH"))
    assert [market.fx[0] for market in scenario.markets] == [2.0, 1.0]
    assert scenario.markets[0].bid_size_b[0] == 3


BAD = """
name: bad
sybols: []
symbols: [{upbit: KRW-BTC, binance: BTCUSDT, exchange_rate: -1}]
risk_profile: {min_spred_pct: 1, slippage_bps: -5}
expected_outcomes: {min_trade: 1, circuit_breaker_triggered: 1, min_pnl: much}
"""


def test_every_fault_is_told_with_its_line() -> None:
    with pytest.raises(JobError) as caught:
        parse_scenario(strict_yaml.parse(BAD, "bad.yaml"))
    told = [(problem.line, problem.field) for problem in caught.value.problems]
    assert told == [
        (3, "sybols"), (4, "symbols.0.exchange_rate"), (5, "risk_profile.min_spred_pct"), (5, "risk_profile.slippage_bps"),
        (6, "expected_outcomes.min_trade"), (6, "expected_outcomes.circuit_breaker_triggered"), (6, "expected_outcomes.min_pnl"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[{t: 0, a_bid: 1, a_ask: 1, b_bid: 1}]", "b_ask: is missing"),
        ("[{t: 0, a_bid: 2, a_ask: 1, b_bid: 1, b_ask: 1}]", "steps.0: the book of venue A is crossed"),
        ("[{t: 0, a_bid: x, a_ask: 1, b_bid: 1, b_ask: 1}]", "a_bid: is 'x', not a number"),
        ("[{t: 0, a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1, b_aks: 1}]", "did you mean 'b_ask'"),
        ("[{t: 0, symbol: Q, a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1}]", "symbol is 'Q'; it can be X"),
        ("[7]", "steps.0: is 7, not a mapping"),
        ("[]", "needs a list of quotes"),
        ("[{t: .nan, a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1}]", "steps.0.t: is nan; it can be seconds up to 7,000"),
        ("[{t: .inf, a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1}]", "steps.0.t: is inf; it can be seconds up to 7,000"),
        ("[{t: 1e30, a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1}]", "steps.0.t: is 1e.30; it can be seconds up to 7,000"),
        ("[{t: 0, symbol: [q], a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1}]", "steps.0.symbol: symbol is"),
        (
            "[{t: 0, a_bid: .nan, a_ask: 1, b_bid: 1, b_ask: 1}]",
            "bid_a is nan, not a positive number; correct the step$",
        ),
    ],
)
def test_a_bad_step_is_told(steps: str, message: str) -> None:
    text = f"symbols: [{{a: X, b: Y}}]\nsteps: {steps}\n"
    with pytest.raises(JobError, match=message):
        parse_scenario(strict_yaml.parse(text, "s"))


@pytest.mark.parametrize("text", ["7", "symbols: []", "symbols: [{a: X}]", "symbols: [{a: X, b: Y}, {c: Z, d: W}]"])
def test_what_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(JobError):
        parse_scenario(strict_yaml.parse(text, "s"))


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ("[{a: X, b: Y}, {a: X, b: Z}]", "symbols.1: X stands twice"),
        ("[{a: X, b: Y, exchange_rate: .nan}]", "exchange_rate: is nan, not a positive number"),
        ("[{a: X, b: Y, exchange_rate: .inf}]", "exchange_rate: is inf, not a positive number"),
    ],
)
def test_a_bad_symbol_is_told(symbols: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        parse_scenario(
            strict_yaml.parse(f"symbols: {symbols}\nsteps: [{{t: 0, a_bid: 1, a_ask: 1, b_bid: 1, b_ask: 1}}]\n", "s")
        )
