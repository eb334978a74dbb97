"""Many sets at once give what each gives alone, to the bit; several markets are pooled."""

from __future__ import annotations

import numpy as np
import pytest

from arbd.errors import UsageError
from arbd.paper.objective import PaperObjective
from arbd.paper.synth import synth_profile

SETS = {
    "min_spread_pct": np.linspace(0.02, 0.4, 97),
    "exit_spread_pct": np.tile([0.0, 0.05, -0.05], 33)[:97],
    "strategy": ["convergence", "inventory"] * 48 + ["convergence"],
}


def bits(values: object) -> bytes:
    found = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(found), np.nan, found).tobytes()


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
