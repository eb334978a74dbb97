"""No search sees what its finalists are tested on: whatever stands in a test window, purge and embargo, its rows are the same."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbd.errors import JobError, ObjectiveError, UsageError
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.objective.markets import JobMarket, markets_of
from arbd.objective.paper import PaperEvaluator
from arbd.objective.protocol import Settings
from arbd.objective.python import PythonEvaluator
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes, build_quotes, quotes_of
from arbd.search.phases import Phase
from arbd.tuning import TuningHarness, load_tuning_config

STEP_NS = 60 * 10**9
N = 1_200
START_NS = 1_700_000_000 * 10**9
SCHEMES: dict[str, Any] = {
    "holdout share": {"holdout": "20%"},
    "holdout length": {"holdout": "3h"},
    "walk forward": {"walk_forward": {"train": "6h", "test": "2h"}},
    "anchored": {"walk_forward": {"train": "6h", "test": "2h", "anchored": True}},
    "cpcv": {"cpcv": {"groups": 5, "test_groups": 2}},
}
SETS = {"min_spread_pct": [0.01, 0.02, 0.05], "exit_spread_pct": [0.0, -0.02, 0.01]}


@cache
def quotes() -> Quotes:
    rng = np.random.default_rng(6)
    premium = np.zeros(N)
    for row in range(1, N):
        premium[row] = 0.9 * premium[row - 1] + 2e-4 * rng.standard_normal()
    mid = 100 * np.exp(np.cumsum(rng.standard_normal(N)) * 1e-4)
    return build_quotes(
        {
            "ts_ns": START_NS + np.arange(N) * STEP_NS, "bid_a": mid * 0.99999, "ask_a": mid * 1.00001,
            "bid_b": mid * np.exp(premium) * 0.99999, "ask_b": mid * np.exp(premium) * 1.00001,
        },
        "test",
    )[0]  # fmt: skip


def written(folder: Path, market: Quotes, name: str = "market.npz") -> Path:
    np.savez(folder / name, **market.told())  # type: ignore[arg-type]
    return folder / name


def resolved(folder: Path, market: Path, validation: dict[str, Any], **more: Any) -> JobSpec:
    job = {
        "objective": "paper", "data": [str(market)], "fixed": {"fee_a_bps": 0, "fee_b_bps": 0, "grid_s": 600},
        "tuning": {
            "method": "random", "max_iterations": 12,
            "search_space": {
                "min_spread_pct": {"type": "float", "bounds": [0.005, 0.1]},
                "exit_spread_pct": {"type": "float", "bounds": [-0.1, 0.1]},
                "max_hold_s": {"type": "int", "bounds": [60, 900]},
            },
        },
        "validation": validation, **more,
    }  # fmt: skip
    return resolve_job(parse_job(yaml.safe_dump(job), "job"), base_dirs=(folder,))


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_search_sees_no_row_of_its_test_window_nor_of_purge_and_embargo(
    tmp_path: Path, scheme: str, data: st.DataObject
) -> None:
    path = written(tmp_path, quotes())
    spec = resolved(tmp_path, path, SCHEMES[scheme])
    assert spec.validation is not None
    fold = data.draw(st.sampled_from([n for n, each in enumerate(spec.validation.folds) if each.test]))
    windows = spec.validation.folds[fold]
    seen = np.zeros(N, dtype=bool)
    for start, end in windows.train[0]:
        seen |= (quotes().ts_ns >= start) & (quotes().ts_ns < end)
    # Beside what is tested there is at least as much as positions may be held and orders take.
    for start, end in windows.test[0]:
        reach = (quotes().ts_ns >= start - 900 * 10**9) & (
            quotes().ts_ns < end + 900 * 10**9 * (len(windows.train[0]) > 1)
        )
        assert not (reach & seen & (quotes().ts_ns < end)).any()
    hidden = np.flatnonzero(~seen)
    changed = quotes().columns()
    rows = data.draw(st.lists(st.sampled_from(hidden.tolist()), min_size=1, max_size=20, unique=True))
    for venue in "ab":
        factor = data.draw(st.floats(0.5, 2.0))
        for name in (f"bid_{venue}", f"ask_{venue}"):
            changed[name] = changed[name].copy()
            changed[name][rows] *= factor
    other = written(tmp_path, quotes_of(changed), "other.npz")
    settings_ = Settings(spec)
    of_search = spec.layout.find(Phase.SEARCH, fold)
    assert of_search is not None
    found = []
    for each in (path, other):
        evaluator = PaperEvaluator(replace(spec, data=(str(each),)), None, verify=False)
        metrics, blocks = evaluator.evaluate_batch(SETS, 1.0, settings_.of(of_search.first))
        assert blocks is not None
        found.append({**{name: column.tobytes() for name, column in metrics.items()}, "blocks": blocks.tobytes()})
    assert found[0] == found[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_test_is_the_engine_on_that_window_alone(tmp_path: Path, scheme: str) -> None:
    path = written(tmp_path, quotes())
    spec = resolved(tmp_path, path, SCHEMES[scheme])
    stretch = next(s for s in spec.layout.stretches if s.phase is Phase.TEST)
    evaluator = PaperEvaluator(spec, None, verify=True)
    setting = Settings(spec).of(stretch.first)
    metrics, _ = evaluator.evaluate_batch(SETS, 1.0, setting)
    assert spec.validation is not None
    parts = []
    for start, end in spec.validation.folds[stretch.fold].test[0]:
        inside = (quotes().ts_ns >= start) & (quotes().ts_ns < end)
        parts.append(quotes_of({name: column[inside] for name, column in quotes().columns().items()}))
    from arbd.paper.objective import PaperObjective

    alone, _ = PaperObjective([prepare(part) for part in parts], spec.fixed).evaluate_batch(SETS)
    assert {name: column.tobytes() for name, column in metrics.items()} == {n: c.tobytes() for n, c in alone.items()}
    one = evaluator.evaluate({name: column[0] for name, column in SETS.items()}, _trial(stretch.first, setting)).metrics
    assert one == {name: float(column[0]) for name, column in metrics.items()}


def _trial(iteration: int, setting: Any) -> Any:
    from arbd.objective.protocol import Trial

    return Trial(iteration, 1, "s", setting=setting)


def test_stress_changes_searched_fixed_and_default_parameters_alike(tmp_path: Path) -> None:
    path = written(tmp_path, quotes())
    stress = [{"name": "worse", "min_spread_pct": "x2", "fee_a_bps": 3, "slippage_bps": "+1.5"}]
    spec = resolved(tmp_path, path, {"stress": stress})
    stretch = spec.layout.find(Phase.STRESS, 1)
    assert stretch is not None
    evaluator = PaperEvaluator(spec, None, verify=True)
    metrics, _ = evaluator.evaluate_batch(SETS, 1.0, Settings(spec).of(stretch.first))
    from arbd.paper.objective import PaperObjective

    fixed = {**spec.fixed, "fee_a_bps": 3.0, "slippage_bps": 2.5}
    wider = {**SETS, "min_spread_pct": [2 * value for value in SETS["min_spread_pct"]]}
    alone, _ = PaperObjective([prepare(quotes())], fixed).evaluate_batch(wider)
    assert {name: column.tobytes() for name, column in metrics.items()} == {n: c.tobytes() for n, c in alone.items()}


def test_a_market_without_an_edge_is_made_of_what_the_search_sees_and_is_the_same_everywhere(tmp_path: Path) -> None:
    spec = resolved(tmp_path, written(tmp_path, quotes()), {"holdout": "25%", "null_searches": 2})
    loaded = [JobMarket("m", quotes(), prepare(quotes()), {})]
    firsts = [s.first for s in spec.layout.stretches if s.phase is Phase.NULL]
    made = [markets_of(loaded, Settings(spec).of(first), spec.seed)[0][0] for first in firsts]
    search = markets_of(loaded, Settings(spec).of(1), spec.seed)[0][0]
    assert len(made[0]) == len(search) < N
    assert made[0].column("bid_a").tobytes() == search.column("bid_a").tobytes()
    assert made[0].column("bid_b").tobytes() != made[1].column("bid_b").tobytes() != search.column("bid_b").tobytes()
    again = markets_of(loaded, Settings(spec).of(firsts[0]), spec.seed)[0][0]
    assert again.book.tobytes() == made[0].book.tobytes()


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ({}, "asks for nothing"),
        ({"holdout": "20%", "walk_forward": {"train": "6h", "test": "2h"}}, "at a time"),
        ({"holdout": "200%"}, "no share of the data"),
        ({"holdout": "9d"}, "leaves nothing to search on"),
        ({"holdout": "soon"}, "validation.holdout"),
        ({"holdout": {"from": "yesterday"}}, "is no moment"),
        ({"walk_forward": {"train": "6d", "test": "2d"}}, "do not fit into the 0.83 days"),
        ({"cpcv": {"groups": 3, "test_groups": 3}}, "at least 1 left to train on"),
        ({"stress": [{"name": "odd", "no_such": "x2"}]}, "is no number that the objective takes"),
        ({"stress": [{"fee_a_bps": "much"}]}, "is not a number"),
        ({"stress": [{"name": "nothing"}]}, "changes no parameter"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_its_place(tmp_path: Path, validation: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as caught:
        resolved(tmp_path, written(tmp_path, quotes()), validation)
    assert any(said in str(problem) and "validation" in problem.field for problem in caught.value.problems), (
        caught.value
    )


def test_earlier_results_may_have_seen_what_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "past.csv").write_text("session_id,worker_id,iteration,status\n")
    with pytest.raises(JobError, match="may start from no earlier results"):
        resolved(
            tmp_path, written(tmp_path, quotes()), {"holdout": "20%"},
            tuning={
                "method": "tpe", "max_iterations": 12, "start_from": "past.csv",
                "search_space": {"min_spread_pct": {"type": "float", "bounds": [0.005, 0.1]}},
            },
        )  # fmt: skip


PYTHON = """
def plain(params):
    return {"value": params["x"]}
def with_window(params, window):
    return {"value": params["x"], "from": float(window[0]), "to": float(window[1])}
def with_trial(params, trial):
    return {"value": params["x"], "from": float(trial.window[0]), "to": float(trial.window[1])}
def with_names(params, window):
    return {"value": params["x"], "from": float(window.from_ns), "to": float(window.to_ns)}
def with_names_of_trial(params, trial):
    return {"value": params["x"], "from": float(trial.window.from_ns), "to": float(trial.window.to_ns)}
"""


def _python(folder: Path, function: str, validation: dict[str, Any]) -> JobSpec:
    (folder / "windowed.py").write_text(PYTHON)
    job = {
        "objective": {"python": f"windowed:{function}"},
        "tuning": {"method": "random", "max_iterations": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
        "validation": validation,
    }
    return resolve_job(parse_job(yaml.safe_dump(job), "job"), base_dirs=(folder,), search_paths=(folder,))


@pytest.mark.parametrize("function", ["with_window", "with_trial", "with_names", "with_names_of_trial"])
def test_a_python_objective_is_told_its_window(tmp_path: Path, function: str) -> None:
    spec = _python(tmp_path, function, {"holdout": {"from": "2024-01-02T00:00Z"}, "purge": "1h"})
    moment = 1_704_153_600 * 10**9
    evaluator = PythonEvaluator(spec, (tmp_path,), verify=True)
    from arbd.objective.protocol import Trial

    found = [evaluator.evaluate({"x": 0.5}, Trial.of(spec, "s", at)).metrics for at in (1, 4)]
    assert found[0]["to"] == moment - 3_600 * 10**9
    assert found[1]["from"] == moment


def test_an_objective_in_another_interpreter_has_its_window_by_the_same_names() -> None:
    from arbd.objective.foreign import Trial

    window = Trial({"iteration": 1, "seed": 1, "id": 1, "window": [3, 5]}, "s", lambda said: False).window
    assert window == (window.from_ns, window.to_ns) == (3, 5)


def test_a_python_objective_that_takes_no_window_is_refused_folds_and_not_the_rest(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="takes no window"):
        _python(tmp_path, "plain", {"holdout": {"from": "2024-01-02T00:00Z"}})
    spec = _python(tmp_path, "plain", {"neighbours": 4, "stress": [{"x": "x0.5"}]})
    assert spec.n == 3 + 4 + 3
    with pytest.raises(ObjectiveError, match="takes no window"):
        folds = replace(spec, validation=replace(spec.validation, scheme="holdout"))  # type: ignore[type-var]
        PythonEvaluator(folds, (tmp_path,), verify=True)


def test_the_harness_runs_the_search_of_a_job_and_refuses_one_that_holds_data_out(tmp_path: Path) -> None:
    job = {
        "objective": {"python": "elsewhere:f"},
        "tuning": {"method": "random", "max_iterations": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
        "validation": {"neighbours": 4},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    config = load_tuning_config(tmp_path / "job.yaml")
    assert config.iterations == 3
    assert TuningHarness(config).run_iteration(3, lambda params: {"value": 1.0}).status == "completed"
    with pytest.raises(IndexError):
        TuningHarness(config).params(4)
    job["validation"] = {"holdout": {"from": "2024-01-02T00:00Z"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    with pytest.raises(UsageError, match="holds data out"):
        load_tuning_config(tmp_path / "job.yaml")
