"""Many sets at once give what each gives alone, to the bit; several markets are pooled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from arbd.errors import UsageError
from arbd.paper.market.synth import synth_profile
from arbd.paper.objective import PaperObjective
from arbd.paper.scenario import load_scenario
from tests.conftest import REPOSITORY

SETS = {
    "min_spread_pct": np.random.default_rng(1).permutation(np.linspace(0.02, 0.4, 97)),
    "give_up_trades_per_day": np.tile([0, 0, 0, 5], 25)[:97],
    "exit_spread_pct": np.tile([0.0, 0.05, -0.05], 33)[:97],
    "strategy": ["convergence", "inventory"] * 48 + ["convergence"],
}


def bits(values: object) -> bytes:
    found = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(found), np.nan, found).tobytes()


def test_a_batch_of_more_grid_points_than_are_held_at_a_time_is_cut_without_changing_a_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = PaperObjective([synth_profile("kimchi", seed, 2_000) for seed in (1, 2)], {"grid_s": 60.0})
    whole, blocks = objective.evaluate_batch(SETS)
    monkeypatch.setattr("arbd.paper.objective.MOST_CELLS", 700)
    cut, cut_blocks = objective.evaluate_batch(SETS)
    assert {name: bits(column) for name, column in cut.items()} == {n: bits(column) for n, column in whole.items()}
    assert bits(cut_blocks) == bits(blocks)


def test_a_grid_of_too_many_points_is_refused_before_anything_is_allocated() -> None:
    objective = PaperObjective([synth_profile("kimchi", 1, 30_000)], {})
    with pytest.raises(UsageError, match="the maximum is 5,000,000"):
        objective.evaluate({"grid_s": 0.001})


@pytest.mark.parametrize("grid_s", [3600.0, 60.0, 7.0])
def test_a_batch_however_cut_gives_what_single_sets_give(grid_s: float) -> None:
    markets = [synth_profile("kimchi", seed, 5_000) for seed in (1, 2)]
    objective = PaperObjective(markets, {"fee_a_bps": 1, "fee_b_bps": 1, "grid_s": grid_s})
    whole, blocks = objective.evaluate_batch(SETS)
    assert len(set(whole["pnl"].tolist())) > 20
    for cut in (slice(0, 1), slice(1, 30), slice(30, 97)):
        part, part_blocks = objective.evaluate_batch({name: values[cut] for name, values in SETS.items()})
        for name, column in part.items():
            assert bits(column) == bits(whole[name][cut]), name
        assert bits(part_blocks) == bits(blocks[cut])
    single, _ = objective.evaluate({name: values[50] for name, values in SETS.items()})
    assert {n: bits(v) for n, v in single.items()} == {n: bits(whole[n][50]) for n in single}


def test_counts_of_several_markets_add_up() -> None:
    one, two = (synth_profile("kimchi", seed, 5_000) for seed in (1, 2))
    params = {"min_spread_pct": 0.1, "fee_a_bps": 1}
    separate = [PaperObjective([market], {}).evaluate(params)[0] for market in (one, two)]
    together = PaperObjective([one, two], {}).evaluate(params)[0]
    for name in ("pnl", "trades", "total_fees", "signals"):
        assert together[name] == pytest.approx(separate[0][name] + separate[1][name])
    assert together["max_drawdown"] == max(m["max_drawdown"] for m in separate)


def test_sets_that_see_the_market_differently_are_told_apart_within_a_batch() -> None:
    objective = PaperObjective([synth_profile("kimchi", 1, 3_000)], {"min_spread_pct": 0.05, "fee_a_bps": 1})
    columns = {
        "grid_s": [60.0, 3600.0, 60.0, 3600.0],
        "max_quote_age_s": [0.0, 60.0, 60.0, 0.0],
        "carry_over_gaps": ["no", "no", "yes", "yes"],
    }
    whole, blocks = objective.evaluate_batch(columns)
    for at in range(4):
        single, own = objective.evaluate({name: values[at] for name, values in columns.items()})
        assert {n: bits(v) for n, v in single.items()} == {n: bits(whole[n][at]) for n in single}
        assert bits(own) == bits(blocks[at])
    assert len(set(whole["sharpe"].tolist())) > 1


def test_a_value_out_of_range_is_refused() -> None:
    objective = PaperObjective([synth_profile("kimchi", 1, 100)], {})
    with pytest.raises(UsageError, match="slippage_bps is -1"):
        objective.evaluate_batch({"slippage_bps": [1.0, -1.0]})
    assert objective.evaluate({})[0]["trades"] >= 0


SCENARIOS = REPOSITORY / "etc" / "scenarios"
IN_SHARES = ("sharpe", "sortino", "turnover")


def pooled(names: Sequence[str], fixed: dict[str, float]) -> tuple[dict[str, float], object]:
    scenarios = [load_scenario(SCENARIOS / f"{name}.yaml") for name in names]
    markets = [scenario.markets[0] for scenario in scenarios]
    return PaperObjective(markets, fixed, [scenario.risk_profile for scenario in scenarios], names).evaluate({})


def test_each_market_is_measured_by_its_own_capital_in_whatever_order_they_stand() -> None:
    names = ("profitable_spread", "stop_loss_circuit_breaker")
    one, two = (pooled([name], {"grid_s": 10.0}) for name in names)
    forward, backward = pooled(names, {"grid_s": 10.0}), pooled(names[::-1], {"grid_s": 10.0})
    assert forward[0]["turnover"] == pytest.approx(one[0]["turnover"] + two[0]["turnover"])
    for name in IN_SHARES:
        assert forward[0][name] == pytest.approx(backward[0][name]), name
    sums = [float(np.asarray(blocks)[:, 0].sum()) for _, blocks in (one, two, forward, backward)]
    assert sums[2] == pytest.approx(sums[0] + sums[1])
    assert sums[3] == pytest.approx(sums[2])


@pytest.mark.parametrize(("name", "values"), [("grid_s", [10.0, 60.0]), ("strategy", ["convergence", "inventory"])])
def test_markets_that_cannot_be_pooled_are_refused_by_name(name: str, values: list[object]) -> None:
    markets = [synth_profile("kimchi", seed, 100) for seed in (1, 2)]
    objective = PaperObjective(markets, {}, [{name: value} for value in values], ["one.yaml", "two.yaml"])
    with pytest.raises(UsageError, match=f"{name} is {values[0]} for one.yaml and {values[1]} for two.yaml"):
        objective.evaluate({})
    assert objective.evaluate({name: values[0]})[0]["trades"] >= 0
