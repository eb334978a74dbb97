"""Job files: every fault at once with its line; good ones resolve to what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from arbd.errors import JobError, UsageError
from arbd.job.codec import read_job_spec
from arbd.job.file import apply_overrides, job_schema, load_job, parse_job
from arbd.job.policy import ObjectivePolicy
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from tests.conftest import REPOSITORY

SHIPPED = sorted(p for p in (REPOSITORY / "etc" / "jobs").glob("*.yaml") if not p.stem.startswith("recorded_"))
SCENARIOS = REPOSITORY / "etc" / "scenarios"

MINIMAL = f"""
tuning:
  method: random
  scenarios: [{SCENARIOS}/choppy_market.yaml]
  search_space:
    min_spread_pct: {{type: float, bounds: [0.05, 0.5]}}
  max_iterations: 7
"""


def resolved(text: str, **more: Any) -> JobSpec:
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=more.pop("base_dirs", [REPOSITORY]), **more)


def problems(text: str, **more: Any) -> list[str]:
    with pytest.raises(JobError) as caught:
        resolved(text, **more)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_job_is_good(path: Path, tmp_path: Path) -> None:
    from arbd.paper.market.synth import synth_profile
    from arbd.paper.market.writers import write_quotes

    write_quotes(synth_profile("kimchi", 1, 100), tmp_path / "quotes.parquet")
    spec = resolve_job(load_job(path), base_dirs=[path.parent, tmp_path], search_paths=[REPOSITORY / "etc/objectives"])
    assert spec.n > 0
    assert spec.digests
    assert read_job_spec(bytes(msgpack.packb(spec.to_plain()))) == spec


def test_a_lone_tuning_block_is_a_complete_job() -> None:
    spec = resolved(MINIMAL)
    assert (spec.objective.kind, spec.n, spec.seed, spec.metrics[0].name, spec.metrics[0].direction) == (
        "paper",
        7,
        0,
        "pnl",
        "maximize",
    )
    assert spec.execution.retries == 1


EVERYTHING_WRONG = """
session_id: ../etc
mode: live
objectve: paper
metric: pnl
data: [absent.parquet]
fixed: {min_spred_pct: 1, slippage_bps: -3}
tuning:
  method: gird
  seed: -1
  search_space:
    min_spread_pct: {type: float, bounds: [0.5, 0.05]}
    slippage_bps: {type: integer, bounds: [1, 30]}
    stop_loss_pct: {type: float, bound: [0, 1]}
  max_iterations: 0
execution: {timeout: 5}
"""


def test_every_fault_of_the_form_is_told_at_once_with_line_and_field() -> None:
    told = problems(EVERYTHING_WRONG)
    for expected in (
        "line 2: session_id: '../etc' is not usable",
        "line 4: objectve: unknown field; did you mean 'objective'?",
        "line 9: tuning.method: unknown method 'gird'; did you mean 'grid'? available are bayesian, cmaes, grid, halton, lhs",
        "line 10: tuning.seed: ",
        "line 13: tuning.search_space.slippage_bps: type must be float, int, choice or bool, not 'integer'",
        "line 14: tuning.search_space.stop_loss_pct.bound: unknown field; did you mean 'bounds'?",
        "line 14: tuning.search_space.stop_loss_pct.bounds: is missing",
        "line 15: tuning.max_iterations: ",
        "line 16: execution.timeout: unknown field; did you mean 'timeout_s'?",
        # and what is wrong with the contents, in the same breath
        "line 3: mode: 'live' is refused",
        "line 6: data.0: no such file",
        "line 7: fixed.min_spred_pct: unknown parameter",
        "line 12: tuning.search_space.min_spread_pct.bounds: bounds are reversed",
    ):
        assert any(problem.startswith(expected) for problem in told), (expected, told)
    assert told == sorted(told, key=lambda p: int(p.split(":")[0].removeprefix("line ")))


def test_every_fault_of_the_contents_is_told_at_once() -> None:
    told = problems(
        "mode: live\nmetric: profit\ndata: [absent.parquet]\nfixed: {min_spred_pct: 1, slippage_bps: -3, fee_a_bps: 1}\n"
        "tuning:\n  method: grid\n  grid_points: {nothing: 3}\n  scenarios: [absent.yaml]\n  search_space:\n"
        "    min_spread_pct: {type: float, bounds: [0.5, 0.05]}\n    fee_a_bps: {type: int, bounds: [0, 5]}\n"
        "    strategy: {type: choice, values: [convergence, martingale]}\n    speed: {type: bool}\n"
        "    max_trades_per_hour: {type: float, bounds: [1, 5]}\n    latency_a_ms: {type: float, bounds: [0, 5], log: true}\n"
        "    lot_step: {type: float, bounds: [0, 1], step: 7}\n    cooldown_s: {type: choice, values: [1, 1]}\n"
    )
    for expected in (
        "line 1: mode: 'live' is refused",
        "line 2: metric: unknown metric 'profit'; known are pnl",
        "line 3: data.0: no such file",
        "line 4: fixed.min_spred_pct: unknown parameter",
        "line 4: fixed.slippage_bps: slippage_bps is -3",
        "line 4: fixed.fee_a_bps: fee_a_bps is both fixed and searched",
        "line 7: tuning.grid_points.nothing: 'nothing' is not searched",
        "line 8: tuning.scenarios.0: no such file",
        "line 10: tuning.search_space.min_spread_pct.bounds: bounds are reversed",
        "line 12: tuning.search_space.strategy: strategy is 'martingale'",
        "line 13: tuning.search_space.speed: unknown parameter 'speed'",
        "line 14: tuning.search_space.max_trades_per_hour.type: max_trades_per_hour is an integer",
        "line 15: tuning.search_space.latency_a_ms.bounds: log needs positive bounds",
        "line 16: tuning.search_space.lot_step.step: step 7.0 is larger than the range",
        "line 17: tuning.search_space.cooldown_s.values: a value stands twice",
    ):
        assert any(problem.startswith(expected) for problem in told), (expected, told)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("method: random", "method: tpee"), "unknown method 'tpee'; did you mean 'tpe'?"),
        (("  max_iterations: 7\n", ""), "max_iterations: is missing: method random needs to know"),
        (("max_iterations: 7", "max_iterations: 7.5"), "max_iterations"),
        (("bounds: [0.05, 0.5]", "bounds: [0.05]"), "bounds"),
        (("bounds: [0.05, 0.5]", "bounds: [0.05, .inf]"), "must be finite"),
        (("bounds: [0.05, 0.5]", "bounds: [0.05, 200]"), "min_spread_pct is 200.0; it can be -100 to 100"),
        (
            ("type: float, bounds: [0.05, 0.5]", "type: float, bounds: [0.1, 0.5], log: true, step: 0.1"),
            "exclude each other",
        ),
        (("method: random", "method: sobol\n  max_iterations: 2000000000 #"), "stands twice|Sobol sequence ends"),
        (("min_spread_pct:", "strategy:"), "strategy is"),
    ],
)
def test_a_single_fault_is_named(changed: tuple[str, str], message: str) -> None:
    with pytest.raises(JobError, match=message):
        resolved(MINIMAL.replace(*changed))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "a job is a mapping"),
        ("{}", "tuning: is missing"),
        (
            "tuning: {method: random, max_iterations: 5, search_space: {slippage_bps: {type: int, bounds: [1, 2]}}}",
            "needs quotes",
        ),
        ("tuning: {method: random, max_iterations: 5, search_space: {}}", "search_space"),
        ("objective: {python: nonsense}\n" + MINIMAL, "objective"),
        ("objective: {python: 'a:b'}\n" + MINIMAL, "only the paper objective reads scenarios"),
        ("direction: [maximize, minimize]\n" + MINIMAL, "gives 2 directions for 1 metrics"),
        ("metric: []\n" + MINIMAL, "names no metric"),
    ],
)
def test_a_job_without_what_it_needs_is_refused(text: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        resolved(text)


def test_a_command_that_is_not_there_is_refused() -> None:
    text = "objective: {command: [./nowhere.sh]}\ntuning: {method: random, max_iterations: 1, search_space: {x: {type: bool}}}\n"
    assert "no program on this host" in problems(text)[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MINIMAL.replace("[0.05, 0.5]", "[0.05]"), "bounds: must have 2 or more values, not [0.05]"),
        (MINIMAL.replace("[0.05, 0.5]", "[]"), "bounds: must have 1 or more values, not []"),
        ("metric: {name: pnl}\n" + MINIMAL, "line 1: metric: must be a string or a list, not {'name': 'pnl'}"),
        (
            "data: [{folder: /nowhere, from: tomorrow}]\n" + MINIMAL,
            "data.0.from: must be a date, such as 2027-01-31, not 'tomorrow'",
        ),
    ],
)
def test_a_value_of_another_form_is_told_by_its_field_and_in_plain_words(text: str, told: str) -> None:
    assert any(problem.endswith(told) for problem in problems(text)), problems(text)


def test_a_bad_scenario_or_suffix_is_told_with_the_job() -> None:
    bad = REPOSITORY / "pyproject.toml"
    assert "cannot be told apart by its suffix" in problems(f"data: [{bad}]\n" + MINIMAL)[0]
    job = REPOSITORY / "etc/jobs/grid.yaml"
    told = problems(MINIMAL.replace(f"{SCENARIOS}/choppy_market.yaml", str(job)))
    assert any("unknown field" in problem for problem in told)


def test_aliases_of_parameters_are_made_canonical_and_never_doubled() -> None:
    text = MINIMAL.replace("min_spread_pct", "max_position_krw").replace("[0.05, 0.5]", "[1, 5]")
    assert resolved(text).space.names == ("max_position",)
    assert resolved("fixed: {max_daily_loss_krw: 5}\n" + MINIMAL).fixed == {"max_daily_loss": 5.0}
    told = problems("fixed: {max_position_krw: 5, max_position: 6}\n" + MINIMAL)
    assert "fixed twice" in told[0]


def test_grids_say_what_rounding_left_out_and_what_a_limit_cuts() -> None:
    text = MINIMAL.replace("random", "grid").replace(
        "min_spread_pct: {type: float, bounds: [0.05, 0.5]}", "slippage_bps: {type: int, bounds: [1, 3]}"
    )
    spec = resolved(text.replace("  max_iterations: 7\n", "  grid_points: 9\n"))
    assert spec.n == 3
    assert spec.notices == ("slippage_bps: 9 grid points asked for, 3 are distinct; duplicates are left out",)
    assert resolved(text).notices == ("the grid has 3 points, fewer than max_iterations",)
    assert "the first 2 of the grid's 3 points" in resolved(text.replace("7", "2")).notices[0]
    many = text.replace("  max_iterations: 7\n", "  grid_points: 2000000\n")
    assert "more than 1,000,000 points" in problems(many)[0]


def test_options_without_effect_are_said() -> None:
    spec = resolved(MINIMAL + "  acquisition_fn: ucb\n  grid_points: 3\n")
    assert spec.notices == (
        "acquisition_fn has no effect with method random",
        "grid_points has no effect with method random",
    )


def test_overrides_change_single_fields() -> None:
    document = parse_job(MINIMAL, "job.yaml")
    changed = apply_overrides(document, ["tuning.seed=9", "execution.timeout_s=1e1", "fixed={fee_a_bps: 3}"])
    spec = resolve_job(changed, base_dirs=[REPOSITORY])
    assert (spec.seed, spec.execution.timeout_s, spec.fixed) == (9, 10.0, {"fee_a_bps": 3.0})
    for bad, message in (("tuning.seed", "expected key=value"), ("tuning.method.x=1", "nothing below")):
        with pytest.raises(UsageError, match=message):
            apply_overrides(document, [bad])
    with pytest.raises(JobError, match="tuning.sed: unknown field"):
        resolve_job(apply_overrides(document, ["tuning.sed=9"]), base_dirs=[REPOSITORY])


def test_the_schema_names_every_field_and_refuses_others() -> None:
    schema = job_schema()
    assert schema["additionalProperties"] is False
    assert {"session_id", "objective", "data", "fixed", "metric", "tuning", "execution", "results"} <= set(
        schema["properties"]
    )
    assert "tuning" in schema["required"]


@pytest.mark.parametrize(
    ("allow", "kind", "target", "allowed"),
    [
        (("paper",), "paper", (), True),
        (("paper",), "python", ("m:f",), False),
        (("python:m:*",), "python", ("m:f",), True),
        (("python:m:*",), "python", ("mm:f",), False),
        (("command:/usr/bin/true",), "command", ("/usr/bin/true", "-x"), True),
        (("command:/usr/bin/true",), "command", ("/usr/bin/false",), False),
        ((), "paper", (), False),
    ],
)
def test_only_what_is_on_the_list_may_run(
    allow: tuple[str, ...], kind: str, target: tuple[str, ...], allowed: bool
) -> None:
    from arbd.job.spec import ObjectiveSpec

    assert (ObjectivePolicy(allow).check(ObjectiveSpec(kind, target)) is None) == allowed


def test_bad_quotes_are_told_with_the_job(tmp_path: Path) -> None:
    quotes = tmp_path / "crossed.csv"
    quotes.write_text("ts_ns,bid_a,ask_a,bid_b,ask_b\n1,10,11,10,11\n2,12,11,10,11\n")
    for cache in (None, tmp_path / "cache"):
        told = problems(f"data: [{quotes}]\n" + MINIMAL, cache_dir=cache)
        assert len(told) == 1
        assert told[0].startswith(
            f"line 1: data.0: {quotes}, row 2: the book of venue A is crossed: bid 12.0 above ask 11.0"
        )
    spec = resolved(f"data: [{quotes}]\non_bad_rows: drop\n" + MINIMAL)
    assert spec.notices[0] == f"1 bad rows of {quotes} are dropped"
    assert "are taken as a clock of their own" in spec.notices[1]
    assert spec.on_bad_rows == "drop"


def test_scenarios_that_cannot_be_pooled_are_refused_unless_the_job_decides(tmp_path: Path) -> None:
    text = (SCENARIOS / "choppy_market.yaml").read_text()
    for name, grid_s in (("one", 10), ("two", 60)):
        (tmp_path / f"{name}.yaml").write_text(text.replace("risk_profile:", f"risk_profile:\n  grid_s: {grid_s}"))
    job = MINIMAL.replace(f"{SCENARIOS}/choppy_market.yaml", f"{tmp_path}/one.yaml, {tmp_path}/two.yaml")
    (told,) = problems(job)
    assert f"grid_s is 10.0 for {tmp_path}/one.yaml and 60.0 for {tmp_path}/two.yaml" in told
    assert resolved("fixed: {grid_s: 10}\n" + job).fixed == {"grid_s": 10.0}
    searched = job.replace("  search_space:", "  search_space:\n    grid_s: {type: choice, values: [10, 60]}")
    assert resolved(searched).space.names == ("grid_s", "min_spread_pct")


def test_a_grid_of_more_points_than_a_slot_has_room_for_is_refused(tmp_path: Path) -> None:
    quotes = tmp_path / "day.csv"
    quotes.write_text("ts_s,bid_a,ask_a,bid_b,ask_b\n0,10,11,10,11\n86400,10,11,10,11\n")
    job = f"data: [{quotes}]\n" + MINIMAL
    (told,) = problems("fixed: {grid_s: 0.001}\n" + job)
    assert "fixed.grid_s" in told
    assert "grid_s is 0.001, which makes 86,400,000 grid points of 86,400 s of quotes; the maximum is 5,000,000" in told
    (told,) = problems(job.replace("  search_space:", "  search_space:\n    grid_s: {type: float, bounds: [0.01, 60]}"))
    assert "tuning.search_space.grid_s" in told
    assert resolved("fixed: {grid_s: 1}\n" + job).fixed == {"grid_s": 1.0}
