"""Iterations of several evaluations come to what NumPy makes of the same evaluations one by one: every kind, over, use."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.errors import ObjectiveError
from arbd.job.aggregation import ONE_EVALUATION
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.job.validation import OPEN_FROM, OPEN_TO, Setting
from arbd.objective.aggregated import AggregatedEvaluator
from arbd.objective.load import load_evaluator
from arbd.objective.protocol import Evaluator, Outcome, Trial, innermost
from arbd.objective.randomness import seed_generators
from arbd.paper.metrics import METRICS
from arbd.search.neighbourhood import with_neighbours
from arbd.search.seeds import iteration_seed
from arbd.tuning.harness import TuningConfig, TuningHarness
from tests.paper.markets import random_quotes

# What every way of writing an objective computes: noise of the seed, the market's number, what the parameters say.
FORMULA = "(p['x'] - 0.3) ** 2 * 3 + p['k'] / 7 + (seed % 1009) / 1009 + market * 0.4"
OWN = f"""
import os, random
def formula(p, trial):
    seed = trial.seed
    market = sum(int(name.rpartition('/')[2][0]) for name in trial.data) + len(trial.data)
    return {FORMULA}
def f(params, trial):
    value = formula(params, trial)
    return {{"value": value, "cost": -2 * value, "drawn": random.random()}}
"""
BLOCKS = (
    OWN
    + """
from arbd.tuning import Outcome
def g(params, trial):
    value = formula(params, trial)
    parts = [value * share for share in (0.5, -0.25, 0.125, 0.3125, 0.3125)]
    blocks = [[part, part * part] for part in parts]
    return Outcome({"value": value, "cost": value}, blocks)
"""
)
BATCH = """
import numpy as np
from arbd.tuning import Outcome
def evaluate_batch(columns):
    value = np.asarray(columns["x"], float) * 3 + np.asarray(columns["k"], float) / 7
    parts = np.stack([value * 0.5, value * 0.25, value * 0.25], axis=1)
    return {"value": value, "cost": value * 2, "blocks": np.stack([parts, parts**2], axis=2)}
def objective(params):
    found = evaluate_batch({name: [value] for name, value in params.items()})
    return Outcome({name: float(found[name][0]) for name in ("value", "cost")}, found["blocks"][0])
"""
LINES = f"""#!{sys.executable} -S
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    p, seed, data = q["params"], q["seed"], q.get("data", [])
    market = sum(int(name.rpartition('/')[2][0]) for name in data) + len(data)
    value = {FORMULA}
    print(json.dumps({{"id": q["id"], "metrics": {{"value": value, "cost": -2 * value}}}}), flush=True)
"""
ONCE = f"""#!{sys.executable} -S
import json, os, sys
p, seed, market = json.load(sys.stdin), int(os.environ["ARBD_SEED"]), 0
value = {FORMULA}
print(json.dumps({{"value": value, "cost": -2 * value}}))
"""
SPACE = {
    "x": {"type": "float", "bounds": [0, 1]},
    "k": {"type": "int", "bounds": [1, 60], "log": True},
    "c": {"type": "choice", "values": ["a", "b"]},
    "y": {"type": "float", "bounds": [0, 1], "step": 0.25, "when": {"c": "b"}},
}
PAPER_SPACE = {
    "min_spread_pct": {"type": "float", "bounds": [0.0, 0.4]},
    "max_hold_s": {"type": "float", "bounds": [10, 900], "log": True},
    "strategy": {"type": "choice", "values": ["convergence", "inventory"]},
}
SETS: list[dict[str, Any]] = [
    {"x": 0.37, "k": 5, "c": "a"}, {"x": 1.0, "k": 1, "c": "b", "y": 0.5}, {"x": 0.02, "k": 60, "c": "b", "y": 0.0},
]  # fmt: skip
PAPER_SETS: list[dict[str, Any]] = [
    {"min_spread_pct": 0.0, "max_hold_s": 60.0, "strategy": "convergence"},
    {"min_spread_pct": 0.11, "max_hold_s": 900.0, "strategy": "convergence"},
    {"min_spread_pct": 0.05, "max_hold_s": 30.0, "strategy": "inventory"},
]
OVERS: tuple[str | None, ...] = (None, "blocks", "markets", "neighbourhood")
USES = ({"use": "median"}, {"use": "worst"}, {"use": "quantile", "q": 0.3})
REPEATS = (1, 3)
# What each kind has no meaning for is refused with the job (tests/job/test_aggregation.py).
WITHOUT = {
    ("lines", "blocks"), ("once", "blocks"), ("once", "markets"), ("batch", "markets"), ("interpreter", "blocks"),
}  # fmt: skip
KINDS = ("function", "batch", "lines", "once", "interpreter", "paper")
# Of those that start programs, which is dear, one `use` and some repeats are enough: the rest is the same code.
DEAR = ("lines", "once", "interpreter")
CASES = [
    (kind, over, use, repeats)
    for kind, over, use, repeats in itertools.product(KINDS, OVERS, USES, REPEATS)
    if (kind, over) not in WITHOUT
    and (over or (repeats > 1 and use == USES[0]))
    and not (kind == "batch" and repeats > 1)
    and not (
        (kind in DEAR or (kind, over) == ("paper", "neighbourhood")) and (repeats == 1 or (over and use != USES[2]))
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("aggregated")
    for number in range(3):
        np.savez(found / f"{number}.npz", **random_quotes(number, 400).told())  # type: ignore[arg-type]
    for name, text in (("own", OWN), ("with_blocks", BLOCKS), ("batches", BATCH)):
        (found / f"{name}.py").write_text(text)
    for name, text in (("lines", LINES), ("once", ONCE)):
        (found / name).write_text(text)
        (found / name).chmod(0o755)
    return found


def job_of(folder: Path, kind: str, over: str | None, use: Mapping[str, Any], repeats: int) -> JobSpec:
    """Two metrics, of which one is minimised, where the kind has two that can be aggregated."""
    objectives: dict[str, Any] = {
        "function": {"python": "with_blocks:g" if over == "blocks" else "own:f"},
        "batch": {"python": "batches:objective"},
        "interpreter": {"python": "own:f", "interpreter": sys.executable},
        "lines": {"command": [str(folder / "lines")], "protocol": "lines"},
        "once": {"command": [str(folder / "once")]},
        "paper": "paper",
    }
    paper = kind == "paper"
    goals = (
        (["pnl"] if over == "blocks" else ["pnl", "total_fees"])
        if paper
        else ["value"]
        if over == "blocks"
        else ["value", "cost"]
    )
    tuning: dict[str, Any] = {
        "method": "random", "max_iterations": 9, "search_space": PAPER_SPACE if paper else SPACE, "repeats": repeats,
        "constraints": [] if paper else ["x <= 1"],
    }  # fmt: skip
    if over is not None:
        tuning["robust"] = {"over": over, **use}
    job = {
        "objective": objectives[kind], "metric": goals, "tuning": tuning,
        "direction": ["maximize", "minimize"][: len(goals)], "data": [str(folder / f"{n}.npz") for n in range(3)],
        "fixed": {"reject_pct_a": 20, "latency_jitter": 0.5, "latency_a_ms": 300, "latency_b_ms": 50, "grid_s": 1.0, "initial_capital": 1000} if paper else {},
    }  # fmt: skip
    return resolve_job(parse_job(json.dumps(job), "job.yaml"), base_dirs=[folder], search_paths=[folder])


def single(evaluator: Evaluator, params: Mapping[str, Any], seed: int, data: Sequence[str]) -> Outcome:
    """One evaluation by itself."""
    seed_generators(seed)
    return evaluator.evaluate(params, Trial(4, seed, "s", tuple(data)))


def seeds_of(repeats: int) -> list[int]:
    first = iteration_seed(0, 4)
    return [first, *(iteration_seed(first, repeat) for repeat in range(1, repeats))]


def mean_of(outcomes: Sequence[Outcome], name: str) -> float:
    return float(np.mean([outcome.metrics[name] for outcome in outcomes]))


def expected(
    folder: Path, spec: JobSpec, kind: str, params: dict[str, Any], others: Evaluator
) -> tuple[dict[str, float], Any]:
    """What the row is to hold, from evaluations without any aggregation: by `others`, or by the engine on some markets."""
    plain = replace(spec, metrics=spec.each.metrics, aggregation=ONE_EVALUATION)
    seeds, paper = seeds_of(spec.aggregation.repeats), kind == "paper"

    def runs(given: Mapping[str, Any], data: Sequence[str]) -> list[Outcome]:
        if not paper:
            return [single(others, given, seed, data) for seed in seeds]
        with closing(load_evaluator(replace(plain, data=tuple(data)), "s", None, [folder])) as evaluator:
            drawn = [None, *(iteration_seed(1, repeat) & (2**53 - 1) for repeat in range(1, len(seeds)))]
            return [
                single(evaluator, given if seed is None else {**given, "execution_seed": seed}, 1, data)
                for seed in drawn
            ]

    whole = runs(params, spec.data)
    found = {name: mean_of(whole, name) for name in whole[0].metrics}
    blocks = None if whole[0].blocks is None else np.mean([outcome.blocks for outcome in whole], axis=0)
    rule = spec.aggregation.robust
    for raw, goal in zip(spec.each.metrics, spec.metrics, strict=True):
        if len(seeds) > 1:
            values = [outcome.metrics[raw.name] for outcome in whole]
            found[f"{raw.name}_se"] = float(np.std(values, ddof=1) / np.sqrt(len(values)))
        if rule is None:
            continue
        if rule.over == "blocks":
            sums = blocks[:, 0] * (1000 if paper else 1)
            groups = min(rule.groups, len(sums))
            starts = [at * len(sums) // groups for at in range(groups + 1)]
            values = [float(sums[a:b].sum()) for a, b in itertools.pairwise(starts)]
        elif rule.over == "markets":
            values = [mean_of(runs(params, [name]), raw.name) for name in spec.data]
        else:
            near, _ = with_neighbours(spec.space, spec.space.encode([params]), lambda _, n: np.ones(n, dtype=bool))
            values = [mean_of(runs(each, spec.data), raw.name) for each in spec.space.rows(near)]
        q = rule.q if goal.direction == "maximize" else 1 - rule.q
        found[goal.name] = float(np.quantile(values, q))
    return found, blocks


@pytest.mark.parametrize(("kind", "over", "use", "repeats"), CASES)
def test_a_row_is_what_numpy_makes_of_single_evaluations(
    folder: Path, kind: str, over: str | None, use: dict[str, Any], repeats: int
) -> None:
    spec = job_of(folder, kind, over, use, repeats)
    sets = PAPER_SETS if kind == "paper" else SETS[1:] if kind in DEAR else SETS
    with closing(load_evaluator(spec, "s", None, [folder])) as evaluator:
        rows = []
        for params in sets:
            seed = iteration_seed(0, 4)
            seed_generators(seed)
            rows.append(evaluator.evaluate(params, Trial(4, seed, "s", spec.data)))
        for params, outcome in zip(sets, rows, strict=True):
            metrics, blocks = expected(folder, spec, kind, params, innermost(evaluator))
            assert outcome.metrics.keys() == metrics.keys()
            for name, value in metrics.items():
                assert outcome.metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
            assert (outcome.blocks is None) == (blocks is None)
            assert blocks is None or np.allclose(outcome.blocks, blocks)
        if evaluator.batch:
            # Many at once give what each by itself gives, to the bit.
            together, parts = evaluator.evaluate_batch(spec.space.decode(spec.space.encode(sets)))
            for name, column in together.items():
                assert np.array_equal(column, [outcome.metrics[name] for outcome in rows], equal_nan=True), name
            assert parts is None or np.array_equal(parts, np.array([outcome.blocks for outcome in rows]))


def own(tmp_path: Path, text: str, **tuning: Any) -> tuple[JobSpec, Evaluator]:
    """A job of a module of its own, loaded."""
    name = re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{name}.py").write_text(text)
    job = {
        "objective": {"python": f"{name}:f"}, "metric": "value",
        "tuning": {"method": "random", "max_iterations": 9, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}, **tuning},
    }  # fmt: skip
    spec = resolve_job(parse_job(json.dumps(job), "job.yaml"), base_dirs=[tmp_path], search_paths=[tmp_path])
    return spec, load_evaluator(spec, "s", None, [tmp_path])


FAULTS = {
    "no blocks": ("return 1.0", {"over": "blocks"}, "returned no return blocks"),
    "no sum": ("return Outcome({'value': 2.0}, [[1.0, 1.0]])", {"over": "blocks"}, "value is 2, and its return blocks sum up to 1"),
    "a name of arbd's": ("return {'value': 1.0, 'value_worst_neighbour': 2.0}", {"over": "neighbourhood", "use": "worst"}, "a name that arbd gives itself"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_aggregated_is_told(tmp_path: Path, fault: str) -> None:
    body, robust, message = FAULTS[fault]
    _, evaluator = own(tmp_path, f"from arbd.tuning import Outcome\ndef f(params):\n    {body}\n", robust=robust)
    with pytest.raises(ObjectiveError, match=re.escape(message)):
        evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("'value': x[:1]", r"evaluate_batch returned \(1,\) values of 'value' for 5 parameter sets"),
        ("'value': np.append(x, x)", r"evaluate_batch returned \(10,\) values of 'value' for 5 parameter sets"),
        ("'value': x, 'blocks': np.zeros((3, 2, 2))", r"evaluate_batch returned blocks of shape \(3, 2, 2\); expected \(5, n_blocks, 2\)"),
    ],
)  # fmt: skip
def test_a_batch_that_is_not_one_value_for_each_set_and_neighbour_is_told(
    tmp_path: Path, extra: str, message: str
) -> None:
    text = f"import numpy as np\ndef evaluate_batch(columns):\n    x = columns['x']\n    return {{{extra}}}\ndef f(params):\n    return 1.0\n"
    _, evaluator = own(tmp_path, text, robust={"over": "neighbourhood"})
    with pytest.raises(ObjectiveError, match=message):
        evaluator.evaluate_batch({"x": np.array([0.5, 0.0])})


def test_repeats_with_blocks_of_different_shapes_are_told(tmp_path: Path) -> None:
    text = (
        "from arbd.tuning import Outcome\n"
        "def f(params, trial):\n    n = 1 + trial.seed % 7\n    return Outcome({'value': 1.0}, [[1.0 / n, 1.0]] * n)\n"
    )
    _, evaluator = own(tmp_path, text, repeats=20)
    with pytest.raises(ObjectiveError, match="blocks of different shapes"):
        evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))


def test_a_repeat_that_fails_fails_the_iteration_and_one_that_is_pruned_prunes_it(tmp_path: Path) -> None:
    text = (
        "import arbd\ncalls = []\n"
        "def f(params, trial):\n"
        "    calls.append(trial.seed)\n    trial.report(len(calls), 0.5)\n"
        "    if len(calls) == 3:\n        raise (ValueError if params['x'] < 0.5 else arbd.TrialPruned)('third')\n"
        "    return float(len(calls))\n"
    )
    _, evaluator = own(tmp_path, text, repeats=5)
    module = sys.modules[re.sub(r"\W", "_", tmp_path.name)]
    with pytest.raises(ValueError, match="third"):
        evaluator.evaluate({"x": 0.1}, Trial(1, 7, "s"))
    assert len(set(module.calls)) == 3  # type: ignore[attr-defined]
    module.calls.clear()  # type: ignore[attr-defined]
    outcome = evaluator.evaluate({"x": 0.9}, Trial(1, 7, "s"))
    assert outcome.pruned == "pruned by the objective: third"
    # What is stored is what the first evaluation reported.
    assert outcome.reports == ((1, 0.5),)


def test_a_nan_among_the_values_makes_nan_and_an_infinite_one_counts(tmp_path: Path) -> None:
    text = "def f(params):\n    return {0.5: float('nan'), 0.55: 1.0, 0.45: 2.0}.get(round(params['x'], 6), float('-inf'))\n"
    _, evaluator = own(tmp_path, text, robust={"over": "neighbourhood"})
    assert np.isnan(evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s")).metrics["value_median_neighbour"])
    assert evaluator.evaluate({"x": 0.1}, Trial(1, 7, "s")).metrics["value_median_neighbour"] == -np.inf


def test_a_child_that_an_evaluation_forks_runs_no_other(tmp_path: Path) -> None:
    text = (
        "import os\n"
        "def f(params, trial):\n"
        "    with open(os.environ['CALLS'], 'a') as file:\n        file.write(f'{os.getpid()}\\n')\n"
        "    return {'value': float(os.fork() == 0)}\n"
    )
    _, evaluator = own(tmp_path, text, repeats=3)
    calls, parent = tmp_path / "calls", os.getpid()
    os.environ["CALLS"] = str(calls)
    try:
        evaluator.evaluate({"x": 0.5}, Trial(1, 7, "s"))
        if os.getpid() != parent:
            os._exit(0)
        for _ in range(3):
            os.wait()
    finally:
        del os.environ["CALLS"]
    assert set(calls.read_text().split()) == {str(parent)}


def test_the_harness_gives_the_row_that_a_slot_gives(folder: Path) -> None:
    spec = job_of(folder, "function", "neighbourhood", {"use": "worst"}, 3)
    with closing(load_evaluator(spec, "s", None, [folder])) as evaluator:
        objective = innermost(evaluator)._function  # type: ignore[attr-defined]
        result = TuningHarness(TuningConfig(spec, "s")).run_iteration(2, objective)
        assert result.status == "completed", result.error
        trial = Trial.of(spec, "s", 2)
        seed_generators(trial.seed)
        row = dict(evaluator.evaluate(result.params, trial).metrics)
    # Here the caller's own generators are left alone.
    assert {name: value for name, value in result.metrics.items() if name != "drawn"} == {
        name: value for name, value in row.items() if name != "drawn"
    }
    assert set(METRICS).isdisjoint(row)


@pytest.mark.parametrize("seen", [(True, True, False), (False, True, False), (False, False, False)])
def test_a_market_without_a_quote_in_the_window_is_no_value(folder: Path, seen: tuple[bool, ...]) -> None:
    spec = job_of(folder, "paper", "markets", {"use": "worst"}, 1)
    windows = tuple(((OPEN_FROM, OPEN_TO),) if here else ((0, 1),) for here in seen)
    columns = spec.space.decode(spec.space.encode(PAPER_SETS))
    with closing(load_evaluator(spec, "s", None, [folder])) as evaluator:
        found, _ = evaluator.evaluate_batch(columns, 1.0, Setting(windows))
        alone = [
            innermost(evaluator).evaluate_batch(
                columns, 1.0, Setting(tuple(window if at == own else ((0, 1),) for at, window in enumerate(windows)))
            )[0]["pnl"]
            for own, here in enumerate(seen)
            if here
        ]
    expected = np.min(alone, axis=0) if alone else np.full(len(PAPER_SETS), np.nan)
    np.testing.assert_allclose(found["pnl_worst_market"], expected, rtol=1e-9)


def test_reports_are_those_of_the_evaluation_that_returned(tmp_path: Path) -> None:
    text = "def f(params, trial):\n    trial.report(1, 0.25)\n    return 1.0\n"
    spec, evaluator = own(tmp_path, text, repeats=2)
    inner = innermost(evaluator)

    class BegunAnew:
        """Reports, dies, and returns what a second attempt does, as a program that is started again."""

        plain, batch, kept = None, False, frozenset[int]()

        def evaluate(self, params: Mapping[str, Any], trial: Trial) -> Outcome:
            trial.report(1, 99.0)
            return inner.evaluate(params, replace(trial, _reported=None))

        def evaluate_batch(self, *_: Any) -> Any:
            raise AssertionError

        def close(self) -> None:
            inner.close()

    outcome = AggregatedEvaluator(spec, BegunAnew()).evaluate({"x": 0.5}, Trial(1, 7, "s"))
    assert outcome.reports == ((1, 0.25),)
