"""What is made of the columns of evaluations: of blocks with and without grid steps, of metrics that are not there."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from arbd.errors import ObjectiveError
from arbd.job.aggregation import Aggregation, RobustRule
from arbd.objective.aggregates import GridReturns, Runs, assembled
from arbd.objective.protocol import MAX_METRICS
from arbd.paper.metrics import return_blocks
from arbd.paper.objective import PaperObjective
from arbd.search.problem import MetricGoal
from tests.paper.markets import random_quotes

MIN_SHARE = {"worst": 0.0, "median": 0.5}


@pytest.mark.parametrize(
    ("steps", "groups", "use"), list(itertools.product((0, 1, 2, 5, 8, 9, 63, 64, 65, 200), (1, 8, 30), MIN_SHARE))
)
def test_only_blocks_with_a_grid_step_are_values_of_the_engine(steps: int, groups: int, use: str) -> None:
    returns = np.random.default_rng(steps).uniform(0.1, 1.0, (3, steps))
    rule, goal = RobustRule("blocks", use, MIN_SHARE[use], groups), MetricGoal("pnl", "maximize")
    capital = np.array([1.0, 10.0, 100.0])
    metrics = {"pnl": returns.sum(axis=1) * capital}
    found, _ = assembled(
        Aggregation(1, rule), (rule.robust(goal),), [Runs([metrics], return_blocks(returns))], np.arange(3), 3,
        GridReturns(capital, np.full(3, steps)),
    )  # fmt: skip
    values = found[rule.robust(goal).name]
    if not steps:
        assert np.isnan(values).all()
        return
    # Of returns that are all gains no group is without one, and as many groups as can be have a share of them.
    assert (values > 0).all()
    if steps <= min(groups, 64):
        whole = np.sort(returns, axis=1) * capital[:, None]
        assert values == pytest.approx(np.quantile(whole, MIN_SHARE[use], axis=1))


def test_sets_with_other_grids_are_each_of_their_own_steps() -> None:
    rule, goal = RobustRule("blocks", "worst", 0.0, 8), MetricGoal("pnl", "maximize")
    gains = [np.full((1, steps), 1.0) for steps in (0, 3, 16, 64)]
    blocks = np.concatenate([return_blocks(each) for each in gains])
    found, _ = assembled(
        Aggregation(1, rule), (rule.robust(goal),), [Runs([{"pnl": np.array([0.0, 3, 16, 64])}], blocks)], np.arange(4), 4,
        GridReturns(np.ones(4), np.array([0, 3, 16, 64])),
    )  # fmt: skip
    np.testing.assert_array_equal(found["pnl_worst_block"], [np.nan, 1.0, 2.0, 8.0])


@pytest.mark.parametrize("grid_s", [1.0, 7.0, 60.0, 5_000.0, 1e6])
def test_the_engine_tells_how_many_steps_its_blocks_are_of(grid_s: float) -> None:
    markets = [random_quotes(seed, 400) for seed in (1, 2)]
    objective = PaperObjective(markets, {})
    whole = sum(int(each.ts_ns[-1] - each.ts_ns[0]) // int(grid_s * 1e9) for each in markets)
    assert objective.steps({"grid_s": [grid_s, 1e6]}).tolist() == [whole, 0]
    assert PaperObjective(markets, {"grid_s": grid_s}).steps({"min_spread_pct": [0.1]}).tolist() == [whole]


@pytest.mark.parametrize("lacking", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_a_metric_that_a_repeat_lacks_is_nan_and_so_is_its_error(lacking: tuple[int, ...]) -> None:
    runs = [Runs([{"other": np.ones(1)} | ({} if at in lacking else {"value": np.ones(1)})]) for at in range(3)]
    found, _ = assembled(Aggregation(3), (MetricGoal("value", "maximize"),), runs, np.arange(1), 1)
    assert found["other"] == [1.0]
    assert all(math.isnan(column[0]) for name, column in found.items() if name.startswith("value"))
    assert ("value_se" in found) == (len(lacking) < 3)


def test_no_market_with_quotes_makes_nan() -> None:
    rule = RobustRule("markets", "worst", 0.0)
    goals = (rule.robust(MetricGoal("pnl", "maximize")),)
    found, _ = assembled(Aggregation(1, rule), goals, [Runs([{"pnl": np.zeros(2)}])], np.arange(2), 2)
    assert np.isnan(found["pnl_worst_market"]).all()


@pytest.mark.parametrize("more", [0, 1])
def test_with_what_arbd_adds_there_are_no_more_metrics_than_a_session_may_have(more: int) -> None:
    metrics = {f"m{number}": np.zeros(1) for number in range(MAX_METRICS - 1 + more)}

    def made() -> int:
        return len(
            assembled(Aggregation(2), (MetricGoal("m0", "maximize"),), [Runs([metrics])] * 2, np.arange(1), 1)[0]
        )

    if not more:
        assert made() == MAX_METRICS
        return
    with pytest.raises(ObjectiveError, match="returned 1,000 metrics, and arbd adds 1; the maximum is 1,000"):
        made()
