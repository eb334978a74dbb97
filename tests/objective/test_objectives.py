"""The objective protocol: what is asked, what may be answered, what happens otherwise."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import CodeChangedError, ObjectiveError
from arbd.job.spec import JobSpec, ObjectiveSpec
from arbd.objective.load import load_evaluator
from arbd.objective.program import CommandError
from arbd.objective.protocol import Outcome, Trial, check_outcome
from arbd.search.problem import MetricGoal
from arbd.search.seeds import iteration_seed, iteration_seeds
from arbd.search.space import FloatDimension, SearchSpace
from arbd.tuning import __all__ as tuning_names
from arbd.tuning import build_tuning_key, load_tuning_config
from arbd.tuning.harness import TuningHarness
from tests.conftest import REPOSITORY

SPEC = JobSpec(
    ObjectiveSpec("python", ("m:f",)),
    "random",
    SearchSpace((FloatDimension("x", 0.0, 1.0),)),
    5,
    1,
    (MetricGoal("value", "maximize"),),
)
TRIAL = Trial(1, 2, "s")


def trial() -> Trial:
    return Trial(3, 99, "session", ("data",))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType None; expected a"),
        ([1.0], "returned list"),
        ({"a": "1"}, "returned str '1' as metric 'a'"),
        ({"a": None}, "as metric 'a'"),
        ({1: 2.0}, "a metric named int 1"),
        ({}, "no metric at all"),
        (Outcome({"a": 1.0}, np.zeros(4)), "blocks of shape (4,)"),
        ({"a": "x" * 500}, "..."),
    ],
)
def test_a_broken_contract_is_named(returned: Any, message: str) -> None:
    with pytest.raises(ObjectiveError, match=re.escape(message)):
        check_outcome(returned, trial())


@pytest.mark.parametrize("number", [1, 0.5, np.float32(0.5), np.int64(3), float("nan"), float("-inf")])
@pytest.mark.parametrize("takes", ["params", "params, trial"])
def test_a_number_alone_is_the_metric_of_a_job_that_has_one(tmp_path: Path, number: Any, takes: str) -> None:
    name = f"number_{abs(hash((repr(number), takes)))}"
    body = f"import numpy as np\nnan, inf = np.nan, np.inf\ndef f({takes}): return {number!r}\n"
    found = load(tmp_path, body, name).evaluate({"x": 1.0}, trial()).metrics
    assert list(found) == ["value"]
    assert np.array_equal(found["value"], float(number), equal_nan=True)
    two = (MetricGoal("value", "maximize"), MetricGoal("other", "minimize"))
    with pytest.raises(ObjectiveError, match="expected .*a mapping of metric names"):
        load(tmp_path, body, f"{name}_two", metrics=two).evaluate({"x": 1.0}, trial())


@pytest.mark.parametrize(
    "returned",
    [
        True,
        np.bool_(False),
        "0.5",
        None,
        [0.5],
        (0.5,),
        1j,
        np.array([0.5]),
        np.complex64(1),
        np.datetime64("NaT"),
        b"1",
    ],
)
def test_what_is_no_number_is_no_metric(returned: Any) -> None:
    with pytest.raises(ObjectiveError, match="expected .*a mapping of metric names"):
        check_outcome(returned, trial(), "value")


def test_what_is_no_plain_function_is_told() -> None:
    async def waits() -> float:
        return 1.0

    waiting = waits()
    for returned, hint in ((None, "lack a `return`"), (waiting, "neither `async`"), ((i for i in ()), "nor one that")):
        with pytest.raises(ObjectiveError, match=hint):
            check_outcome(returned, trial(), "value")
    waiting.close()


class Tensor:
    """A number of another library: one value, and a type that is not NumPy's."""

    ndim, dtype = 0, "float32"

    def __float__(self) -> float:
        return 0.5


HALVES = [0.5, np.float16(0.5), np.array(0.5), np.array(0.5, ">f4"), Decimal("0.5"), Fraction(1, 2), Tensor()]


@pytest.mark.parametrize("half", HALVES, ids=repr)
def test_one_number_is_a_number_of_whichever_kind(half: Any) -> None:
    for returned in (half, {"value": half}, Outcome({"value": half})):
        assert check_outcome(returned, trial(), "value").metrics == {"value": 0.5}


@pytest.mark.parametrize("value", [np.timedelta64(3, "s"), np.array(np.datetime64("2025")), Decimal("sNaN")], ids=repr)
def test_a_number_in_name_alone_breaks_the_contract_and_nothing_else(value: Any) -> None:
    for returned in (value, {"value": value}):
        with pytest.raises(ObjectiveError, match="expected a"):
            check_outcome(returned, trial(), "value")


@pytest.mark.parametrize("takes", ["*a", "*a, **k", "*, budget=1, **k", "params, *a", "params, trial=None, *a"])
def test_a_wrapper_that_hands_on_what_it_gets_is_an_objective(tmp_path: Path, takes: str) -> None:
    gets = "a[0]" if takes.startswith("*a") else "params"
    body = f"def w(g):\n    def f({takes}): return {{'v': {gets}['x']}}\n    return f\n@w\ndef f(params): pass\n"
    name = f"wrapper{abs(hash(takes))}"
    if not takes.startswith(("*a", "params")):
        with pytest.raises(ObjectiveError, match="takes 0 parameters"):
            load(tmp_path, body, name)
        return
    assert load(tmp_path, body, name).evaluate({"x": 1.5}, trial()).metrics == {"v": 1.5}


def test_numbers_of_every_kind_are_numbers() -> None:
    found = check_outcome(
        {"a": 1, "b": np.float32(0.5), "c": True, "d": np.int64(3), "e": float("nan"), "f": np.bool_(False)}, trial()
    )
    assert list(found.metrics.values())[:4] == [1.0, 0.5, 1.0, 3.0]
    assert all(type(value) is float for value in found.metrics.values())


def load(folder: Path, body: str, name: str, **changed: Any) -> Any:
    (folder / f"{name}.py").write_text(body)
    spec = replace(SPEC, objective=ObjectiveSpec("python", (f"{name}:f",)), **changed)
    return load_evaluator(spec, "s", None, [folder])


def test_a_function_gets_its_parameters_the_fixed_ones_and_the_trial(tmp_path: Path) -> None:
    body = "def f(params, trial):\n    trial.report(1, 0.5)\n    return {'v': params['x'] + params['c'] + trial.iteration + trial.seed}\n"
    evaluator = load(tmp_path, body, "with_trial", fixed={"c": 10})
    found = evaluator.evaluate({"x": 1.0}, trial())
    assert found.metrics == {"v": 113.0}
    assert found.reports == ((1, 0.5),)
    with pytest.raises(ObjectiveError, match="no evaluate_batch"):
        evaluator.evaluate_batch({"x": [1.0]})


def test_a_module_with_a_batch_evaluates_columns_with_the_fixed_ones(tmp_path: Path) -> None:
    body = "def f(params): return {'v': 1.0}\ndef evaluate_batch(c): return {'v': c['x'] * c['c'], 'n': [len(k) for k in c['k']]}\n"
    evaluator = load(tmp_path, body, "with_batch", fixed={"c": 3, "k": "abc"})
    assert evaluator.batch
    metrics, blocks = evaluator.evaluate_batch({"x": np.array([1.0, 2.0])})
    assert (metrics["v"].tolist(), metrics["n"], blocks) == ([3.0, 6.0], [3, 3], None)
    broken = load(tmp_path, body.replace("return {'v': c", "return 7 #"), "broken_batch")
    with pytest.raises(ObjectiveError, match="evaluate_batch returned int"):
        broken.evaluate_batch({"x": np.array([1.0])})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import no_such_module_at_all", "cannot be imported on this host"),
        ("g = 1", "has no function 'f'"),
        ("f = 7", "has no function 'f'"),
        ("def f(): pass", "takes 0 parameters"),
        ("def f(a, b, c): pass", "takes 3 parameters"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        load(tmp_path, body, f"bad{abs(hash(body))}")


def test_code_that_differs_from_the_accepted_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match="is not the file that the job was accepted with"):
        load(tmp_path, "def f(p): return {'v': 1.0}", "changed_code", digests={"python:changed_code": "0" * 64})


def command(tmp_path: Path, script: str, **changed: Any) -> Any:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program), "one", "two words")), **changed)
    return load_evaluator(spec, "s", None, [])


def test_a_command_gets_json_arguments_and_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    script = (
        'read line\necho noise\n[ "$line" = \'{"c": 2, "x": 0.5}\' ] || exit 9\n[ "$2" = "two words" ] || exit 8\n[ -z "$SECRET" ] || exit 7\n'
        'echo "{\\"v\\": $ARBD_ITERATION, \\"s\\": $ARBD_SEED, \\"u\\": NaN}"\n'
    )
    found = command(tmp_path, script, fixed={"c": 2}).evaluate({"x": 0.5}, trial())
    assert (found.metrics["v"], found.metrics["s"]) == (3.0, 99.0)
    assert found.metrics["u"] != found.metrics["u"]


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("echo '{\"v\": 1'", ObjectiveError, "last line is not JSON"),
        ('echo \'{"v": 1, "v": 2}\'', ObjectiveError, "has 'v' twice: which one counts"),
        ("python3 -c 'print(\"[\" * 200_000)'", ObjectiveError, "last line is not JSON"),
        (
            'python3 -c \'print("9" * 400, end="}")\' | sed \'s/^/{"v": /\'',
            ObjectiveError,
            "more than 308 digits as metric 'v'",
        ),
        ("true", ObjectiveError, "printed nothing"),
        ("echo oops >&2; exit 3", CommandError, "exited with status 3; its final output: oops"),
        ("kill -9 $$", CommandError, "was killed by SIGKILL"),
        ("echo '[1]'", ObjectiveError, "returned list"),
        ("yes | head -c 30000000", ObjectiveError, "printed more than 16 MiB"),
    ],
)
def test_a_command_that_fails_is_told_as_it_failed(
    tmp_path: Path, script: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        command(tmp_path, script).evaluate({"x": 0.5}, trial())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("#!/no/such/interpreter\n", "its first line names an interpreter that is not there"),
        ("#!/bin/sh\r\necho '{}'\r\n", "where lines end as on Windows"),
        ("echo '{}'\n", "a script's first line is one such as #!/bin/sh"),
        ("", "is no program of this host"),
        ("\x7fELF" + "\0" * 100, "is no program of this host"),
    ],
)
def test_a_program_that_cannot_be_started_is_told_by_its_name(tmp_path: Path, content: str, told: str) -> None:
    program = tmp_path / "program"
    program.write_text(content, newline="")
    program.chmod(0o755)
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program),)))
    with pytest.raises(ObjectiveError, match=re.escape(told)) as raised:
        load_evaluator(spec, "s", None, []).evaluate({"x": 0.5}, trial())
    assert str(program) in str(raised.value)


def test_a_command_that_reads_nothing_is_fine(tmp_path: Path) -> None:
    big = {"x" * 200_000: 1.0}
    assert command(tmp_path, "echo '{\"v\": 1}'").evaluate(big, trial()).metrics == {"v": 1.0}


def compiled(tmp_path: Path) -> Path:
    """A shell, as a program that is no script."""
    program = tmp_path / "program"
    shutil.copy(os.path.realpath(shutil.which("sh") or "/bin/sh"), program)
    program.chmod(0o755)
    return program


def test_a_compiled_program_runs_from_the_file_that_was_checked(tmp_path: Path) -> None:
    program = compiled(tmp_path)
    digests = {f"command:{program}": hashlib.sha256(program.read_bytes()).hexdigest()}
    script = "echo '{\"v\": 1}'"
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program), "-c", script)), digests=digests)
    evaluator = load_evaluator(spec, "s", None, [])
    assert [evaluator.evaluate({"x": 0.5}, trial()).metrics for _ in range(3)] == [{"v": 1.0}] * 3
    with pytest.raises(ObjectiveError, match="is not the file that the job was accepted with"):
        load_evaluator(replace(spec, digests={f"command:{program}": "0" * 64}), "s", None, [])


def test_what_takes_the_place_of_a_compiled_program_while_it_is_started_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, other, marker = compiled(tmp_path), tmp_path / "other", tmp_path / "ran"
    other.write_text(f"#!/bin/sh\ntouch {marker}\necho '{{\"v\": 2}}'\n")
    other.chmod(0o755)
    spec = replace(SPEC, objective=ObjectiveSpec("command", (str(program), "-c", "echo '{\"v\": 1}'")))
    evaluator = load_evaluator(spec, "s", None, [])
    # Between the look at the file and its start.
    monkeypatch.setattr("arbd.objective.program.adopt_orphans", lambda: other.rename(program))
    with pytest.raises(CodeChangedError, match="was changed while the session ran"):
        evaluator.evaluate({"x": 0.5}, trial())
    assert not marker.exists()


def test_a_command_that_is_not_there_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="is not on this host"):
        load_evaluator(replace(SPEC, objective=ObjectiveSpec("command", ("/no/such/program",))), "s", None, [])
    with pytest.raises(ObjectiveError, match="unknown kind"):
        load_evaluator(replace(SPEC, objective=ObjectiveSpec("oracle")), "s", None, [])


def test_paper_evaluates_batches_and_single_sets_alike(tmp_path: Path) -> None:
    config = load_tuning_config(REPOSITORY / "etc/jobs/baseline_tuning.yaml")
    evaluator = load_evaluator(config.spec, "s", tmp_path, [])
    metrics, blocks = evaluator.evaluate_batch({"min_spread_pct": [0.1, 1.1], "slippage_bps": [1, 2]})
    single = evaluator.evaluate({"min_spread_pct": 1.1, "slippage_bps": 2}, trial())
    assert {n: c[1] for n, c in metrics.items() if c[1] == c[1]} == {n: v for n, v in single.metrics.items() if v == v}
    assert blocks is not None
    assert np.array_equal(blocks[1], single.blocks)
    changed = replace(config.spec, digests=dict.fromkeys(config.spec.digests, "0" * 64))
    with pytest.raises(ObjectiveError, match="is not the file"):
        load_evaluator(changed, "s", tmp_path, [])


def test_the_harness_evaluates_any_function_at_the_same_parameters() -> None:
    harness = TuningHarness(load_tuning_config(REPOSITORY / "etc/jobs/baseline_tuning.yaml"))
    first = harness.run_iteration(7, lambda params: {"value": params["slippage_bps"]})
    again = harness.run_iteration(7, lambda params: {"value": params["slippage_bps"]})
    assert (first.status, first.params, first.metrics) == ("completed", again.params, again.metrics)
    assert harness.config.iterations == 200
    failed = harness.run_iteration(8, lambda params: params["nothing"])
    place = r"\(tests/objective/test_objectives\.py:\d+\)"
    assert failed.error is not None
    assert re.fullmatch(rf"KeyError: 'nothing' {place}", failed.error)
    assert (failed.status, failed.metrics) == ("failed", {})
    assert harness.run_iteration(8, lambda params: "5").error.startswith("the objective returned str '5'")
    for number in (0, 201):
        with pytest.raises(IndexError):
            harness.params(number)


def test_a_harness_does_not_run_what_breaks_a_constraint(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(
        "objective: {python: 'm:f'}\nmetric: value\ntuning:\n  method: grid\n  grid_points: 20\n"
        "  constraints: ['x < 0.5']\n  search_space: {x: {type: float, bounds: [0, 1]}}\n"
    )
    harness = TuningHarness(load_tuning_config(job))
    called: list[float] = []

    def objective(params: Any) -> dict[str, float]:
        called.append(params["x"])
        return {"value": 1.0}

    statuses = [harness.run_iteration(iteration, objective).status for iteration in range(1, 21)]
    assert set(statuses) == {"completed", "infeasible"}
    assert len(called) == statuses.count("completed")
    assert max(called) < 0.5


def test_seeds_of_iterations_differ_and_never_change() -> None:
    seeds = {iteration_seed(s, i) for s in range(50) for i in range(1, 51)}
    assert len(seeds) == 2_500
    assert iteration_seed(42, 1) == 2032470721678874334
    assert all(0 <= seed < 2**63 for seed in seeds)


@given(st.integers(-(2**70), 2**70), st.integers(1, 2**50), st.integers(0, 20))
def test_seeds_of_many_iterations_are_those_of_each(seed: int, first: int, count: int) -> None:
    assert iteration_seeds(seed, first, count) == [iteration_seed(seed, first + i) for i in range(count)]


def test_keys_and_names_of_the_interface() -> None:
    assert build_tuning_key("s", "w", 3) == "tuning_session:s:worker:w:iteration:3"
    assert build_tuning_key("s", "w", 3, "metrics") == "tuning_session:s:worker:w:iteration:3:metrics"
    assert tuning_names == sorted(tuning_names)
    assert {"build_tuning_key", "load_tuning_config", "TuningConfig", "TuningHarness"} <= set(tuning_names)
