"""A job's `repeats` and `robust:`: what they come to, and what is wrong with them, told with its place."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from arbd import schema
from arbd.errors import JobError
from arbd.job.aggregation import ONE_EVALUATION, Aggregation, RobustRule
from arbd.job.codec import read_job_spec
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.search.problem import MetricGoal
from tests.paper.markets import random_quotes

PYTHON = "{python: 'm:f'}"
SPACE = "{x: {type: float, bounds: [0, 1]}, k: {type: int, bounds: [1, 5]}, c: {type: choice, values: [a, b]}}"
OVERS, USES = ("blocks", "markets", "neighbourhood"), ("median", "worst", "quantile")
SUFFIX = {"blocks": "block", "markets": "market", "neighbourhood": "neighbour"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("markets")
    for number in range(2):
        np.savez(folder / f"{number}.npz", **random_quotes(number, 300).told())  # type: ignore[arg-type]
    return [str(folder / f"{number}.npz") for number in range(2)]


def resolved(
    tuning: str, objective: str = PYTHON, more: str = "metric: value\n", space: str = SPACE, folder: Path | None = None
) -> JobSpec:
    text = (
        f"objective: {objective}\n{more}tuning:\n  method: tpe\n  max_iterations: 40\n"
        f"  search_space: {space}\n  {tuning}\n"
    )
    folders = [folder or Path("/nowhere")]
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=folders, search_paths=folders)


@pytest.mark.parametrize(("over", "use", "repeats"), list(itertools.product(OVERS, USES, (1, 4))))
def test_rules_survive_the_file_and_name_their_metric(data: list[str], over: str, use: str, repeats: int) -> None:
    q = ", q: 0.25" if use == "quantile" else ""
    more = f"metric: [value, cost]\ndirection: [maximize, minimize]\ndata: {data}\n"
    spec = resolved(f"robust: {{over: {over}, use: {use}{q}}}\n  repeats: {repeats}", more=more)
    share = {"median": 0.5, "worst": 0.0, "quantile": 0.25}[use]
    rule = RobustRule(over, use, share, 8 if over == "blocks" else 0)
    suffix = f"_{use}{'_25' if use == 'quantile' else ''}_{SUFFIX[over]}"
    assert spec.aggregation == Aggregation(repeats, rule)
    assert spec.metrics == (MetricGoal(f"value{suffix}", "maximize"), MetricGoal(f"cost{suffix}", "minimize"))
    assert spec.each.metrics == (MetricGoal("value", "maximize"), MetricGoal("cost", "minimize"))
    plain = spec.to_plain()
    assert plain[schema.JOB.key] == schema.JOB.version
    assert read_job_spec(bytes(msgpack.packb(plain))) == spec


def test_a_job_that_says_nothing_of_them_reads_as_before() -> None:
    plain, said = resolved("seed: 1"), resolved("repeats: 1\n  robust: null\n  seed: 1")
    assert plain.aggregation == ONE_EVALUATION
    assert plain.to_plain() == said.to_plain()
    assert not {"repeats", "robust"} & plain.to_plain().keys()


@pytest.mark.parametrize(
    ("tuning", "fault"),
    [
        ("repeats: 0", "tuning.repeats: must be at least 1, not 0"),
        ("repeats: 2.5", "tuning.repeats: must be an integer"),
        ("repeats: 1001", "tuning.repeats: must be at most 1000"),
        ("robust: median", "tuning.robust: must be a mapping"),
        ("robust: {use: worst}", "tuning.robust.over: is missing"),
        ("robust: {over: block}", "did you mean 'blocks'?"),
        ("robust: {over: blocks, use: worse}", "did you mean 'worst'?"),
        ("robust: {over: blocks, uses: worst}", "tuning.robust.uses: unknown field; did you mean 'use'?"),
        ("robust: {over: blocks, use: quantile}", "tuning.robust.use: use: quantile needs a q"),
        ("robust: {over: blocks, q: 0.2}", "tuning.robust.q: is for use: quantile"),
        ("robust: {over: blocks, use: quantile, q: 1}", "tuning.robust.q: must be below 1"),
        ("robust: {over: neighbourhood, groups: 4}", "tuning.robust.groups: joins return blocks"),
        (
            "robust: {over: markets}",
            "tuning.robust.over: the job has no markets: name files under `data:`, two or more",
        ),
        ("repeats: 2\n  prune: {}", "tuning.prune: ends an iteration by what one evaluation reports, and `repeats`"),
        ("robust: {over: blocks}\n  prune: {}", "tuning.prune: ends an iteration by what one evaluation reports"),
        ("rebeats: 3", "did you mean 'repeats'?"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tuning: str, fault: str) -> None:
    with pytest.raises(JobError) as caught:
        resolved(tuning)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "over", "fault"),
    [
        ("{command: [/bin/true]}", "blocks", "a program returns no return blocks"),
        ("{command: [/bin/true], protocol: lines}", "blocks", "a program returns no return blocks"),
        ("{command: [/bin/true]}", "markets", "is not told the data: use `protocol: lines`"),
        ("{command: [/bin/true], protocol: lines}", "markets", ""),
        ("{command: [/bin/true]}", "neighbourhood", ""),
    ],
)
def test_programs_have_no_blocks_and_only_kept_ones_know_their_data(
    data: list[str], objective: str, over: str, fault: str
) -> None:
    def resolve() -> JobSpec:
        return resolved(f"robust: {{over: {over}}}", objective, f"metric: value\ndata: {data}\n")

    if not fault:
        assert resolve().aggregation.over == over
        return
    with pytest.raises(JobError) as caught:
        resolve()
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("tuning", "more", "fault"),
    [
        ("repeats: 3", "", "the paper engine gives the same each time"),
        ("repeats: 3", "fixed: {reject_pct_a: 5}", ""),
        ("repeats: 3", "fixed: {latency_jitter: 0.5}", ""),
        ("robust: {over: blocks}", "metric: sharpe", "sharpe has no return blocks: the engine's are of pnl"),
        ("robust: {over: blocks}", "metric: pnl", ""),
        ("robust: {over: markets, use: worst}", "metric: [pnl, max_drawdown]", ""),
    ],
)
def test_the_engine_repeats_what_it_draws_and_has_blocks_of_pnl(
    data: list[str], tuning: str, more: str, fault: str
) -> None:
    space = "{min_spread_pct: {type: float, bounds: [0, 1]}}"
    more = f"data: {data}\n{more}\n"
    if not fault:
        assert not resolved(tuning, "paper", more, space).aggregation.is_plain
        return
    with pytest.raises(JobError) as caught:
        resolved(tuning, "paper", more, space)
    assert fault in str(caught.value)


def test_choices_have_no_neighbours() -> None:
    with pytest.raises(JobError, match=r"tuning\.robust\.over: no number is searched"):
        resolved("robust: {over: neighbourhood}", space="{c: {type: choice, values: [a, b]}}")


def test_a_function_without_a_trial_is_told_no_market(tmp_path: Path, data: list[str]) -> None:
    (tmp_path / "own.py").write_text("def f(params):\n    return 1.0\n")
    with pytest.raises(JobError, match=r"takes no trial, which `robust over markets` needs: .* read trial\.data"):
        resolved("robust: {over: markets}", "{python: 'own:f'}", f"metric: value\ndata: {data}\n", folder=tmp_path)


def test_constraints_know_the_metrics_that_are_made(data: list[str]) -> None:
    tuning = (
        "robust: {over: markets}\n  repeats: 2\n  constraints: ['value > 0', 'value_se < 1', 'value_median_market > 0']"
    )
    assert not resolved(tuning, more=f"metric: value\ndata: {data}\n").notices


EVALUATIONS: list[tuple[Aggregation, int, Any]] = [
    (Aggregation(), 3, (1, 1)),
    (Aggregation(5), 3, (5, 5)),
    (Aggregation(5, RobustRule("blocks", "worst", 0.0, 8)), 3, (5, 5)),
    (Aggregation(5, RobustRule("markets", "worst", 0.0)), 3, (20, 5)),
    (Aggregation(2, RobustRule("neighbourhood", "worst", 0.0)), 3, (10, 10)),
]


@pytest.mark.parametrize(("aggregation", "markets", "counts"), EVALUATIONS)
def test_what_it_costs_is_counted(aggregation: Aggregation, markets: int, counts: tuple[int, int]) -> None:
    space = resolved("seed: 1").space
    found = tuple(aggregation.evaluations(space, markets, one_pass=one_pass) for one_pass in (False, True))
    assert found == counts


RULES = [
    *(RobustRule(over, "quantile", q, 8 if over == "blocks" else 0) for over in OVERS for q in (0.1, 0.01, 0.125, 0.9, 1e-9, 1 / 3)),
    *(RobustRule("blocks", use, 0.0, groups) for use in ("worst", "median") for groups in (1, 8, 30)),
]  # fmt: skip


def test_other_rules_have_other_names_which_are_identifiers() -> None:
    goal = MetricGoal("pnl", "maximize")
    names = [rule.robust(goal).name for rule in RULES]
    assert len(set(names)) == len(RULES)
    assert all(name.isidentifier() for name in names)
    assert [rule.raw(rule.robust(goal)) for rule in RULES] == [goal] * len(RULES)
    assert "pnl_quantile_12p5_market" in names
    assert {"pnl_worst_block", "pnl_worst_block_of_30"} <= set(names)


@pytest.mark.parametrize(
    ("grid_s", "method", "told"),
    [
        (1_000, "random", ()),
        (1_000_000, "random", ("the quotes have at most 0 whole grid steps (grid_s 1e+06)", "the metric is nan")),
        (1_000, "successive_halving\n  min_budget: 0.01", ("at a budget of 0.0", "returns to 8 groups", "no more groups than steps")),
    ],
)  # fmt: skip
def test_too_few_grid_steps_for_the_groups_are_told(
    data: list[str], grid_s: float, method: str, told: tuple[str, ...]
) -> None:
    text = (
        f"objective: paper\ndata: {data}\nfixed: {{grid_s: {grid_s}}}\ntuning:\n  method: {method}\n  max_iterations: 40\n"
        "  search_space: {min_spread_pct: {type: float, bounds: [0, 1]}}\n  robust: {over: blocks}\n"
    )
    notices = resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")]).notices
    found = [note for note in notices if "whole grid" in note]
    assert bool(found) == bool(told), notices
    assert all(part in found[0] for part in told), found
