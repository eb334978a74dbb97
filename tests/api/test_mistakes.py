"""What people give by mistake from Python ends in one line that says what is wanted, and harms no session."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import arbd
from arbd.errors import ArbdError, NotFoundError, SpoolError, UsageError
from arbd.spool.layout import SpoolLayout

pytestmark = pytest.mark.bed
SPACE = {"x": {"type": "float", "bounds": [0, 1]}}
FIELDS: dict[str, Any] = {
    "search_space": SPACE,
    "method": "random",
    "max_iterations": 3,
    "metric": "loss",
    "direction": "minimize",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def data_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    return home


def tuned(objective: object, **changed: Any) -> arbd.Session:
    return arbd.tune(**(FIELDS | {"objective": objective, "workers": 1, "progress": False} | changed))


@pytest.fixture(scope="module")
def session(home: Path) -> arbd.Session:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(home))
        with warnings.catch_warnings():
            # A whole search says nothing.
            warnings.simplefilter("error")
            return tuned(lambda params: params["x"], session_id="whole")


NOT_NUMBERS = st.none() | st.booleans() | st.text(max_size=4) | st.floats() | st.lists(st.integers(), max_size=2)
WRONG_COUNTS = (
    NOT_NUMBERS | st.integers(max_value=0) | st.just(Decimal(3)) | st.just(np.float64(2.0)) | st.builds(object)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=st.sampled_from(["extend", "rank", "replay"]), given_count=WRONG_COUNTS)
def test_a_count_that_is_none_is_refused_and_the_session_stays_whole(
    session: arbd.Session, call: str, given_count: object
) -> None:
    if call == "replay" and given_count == "best":
        return
    calls: dict[str, Callable[[Any], object]] = {
        "extend": session.extend,
        "rank": lambda top_n: session.rank(top_n=top_n),
        "replay": session.replay,
    }
    with pytest.raises(UsageError, match=r"takes an integer from 1; given was "):
        calls[call](given_count)
    assert session.status()["done"] == 3
    assert session.best.iteration in (1, 2, 3)


@pytest.mark.parametrize("timeout_s", ["a", -1, float("nan"), True, [1]], ids=repr)
def test_a_wait_takes_seconds(session: arbd.Session, timeout_s: Any) -> None:
    with pytest.raises(UsageError, match="wait takes seconds"):
        session.wait(timeout_s)


def test_the_best_iteration_is_replayed_by_that_name(session: arbd.Session) -> None:
    assert session.replay("best").equal


def test_a_session_of_ones_own_spool_is_named_by_its_id_alone(session: arbd.Session) -> None:
    assert arbd.Session(session_id="whole").best == session.best
    for wrong in (lambda: arbd.Session("whole"), arbd.Session):
        with pytest.raises(UsageError, match=r"arbd.Session\(session_id='here'\)"):
            wrong()
    for spool in (5, object(), ["a"]):
        with pytest.raises(UsageError, match="the spool of arbd.Session takes a path"):
            arbd.Session(spool, "whole")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes a string; given was 5"):
        arbd.Session(session.spool, 5)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="did you mean 'whole'") as told:
        arbd.Session(session_id="whloe")
    assert told.value.__cause__ is None
    with pytest.raises(SpoolError, match="does not exist"):
        arbd.Session("whole", str(session.spool.name))


def test_a_column_is_had_by_its_name(session: arbd.Session) -> None:
    assert len(session.results["x"]) == 3
    with pytest.raises(UsageError, match="no column 'los'; did you mean 'loss'"):
        session.results["los"]


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [(lambda p: 1.0, r"arbd.tune\(objective=f\)"), ({"objective": "paper"}, r"\*\*fields"), ("job.yaml", r"Job.load"), (5, r"arbd.Job\(")],
    ids=["function", "mapping", "path", "number"],
)  # fmt: skip
def test_what_is_no_job_says_how_it_is_given(wrong: Any, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy):
        arbd.tune(wrong, **FIELDS)


@pytest.mark.parametrize("objective", ["f", 5, None, [1]], ids=repr)
def test_what_is_no_objective_says_which_there_are(objective: Any) -> None:
    with pytest.raises(UsageError, match="objective is a function, 'paper'"):
        arbd.Job(objective=objective, **FIELDS)


@pytest.mark.parametrize("workers", [0, -1, 2.5, "a", True, 1025], ids=repr)
def test_workers_are_an_integer(workers: Any) -> None:
    with pytest.raises(UsageError, match="workers takes an integer from 1 to 1,024"):
        tuned(lambda params: 1.0, workers=workers)


class Scaled:
    def __init__(self, by: float) -> None:
        self.by = by

    def method(self, params: dict[str, float]) -> float:
        return params["x"] * self.by

    def __call__(self, params: dict[str, float]) -> float:
        return self.method(params)


def _of_partial(by: float, params: dict[str, float]) -> float:
    return params["x"] * by


@pytest.mark.parametrize(
    "objective", [functools.partial(_of_partial, 2.0), Scaled(2.0), Scaled(2.0).method, len], ids=["partial", "object", "method", "builtin"]
)  # fmt: skip
def test_every_callable_is_carried(objective: Callable[..., float]) -> None:
    found = tuned(objective)
    assert found.best.metrics["loss"] == (1.0 if objective is len else found.best.params["x"] * 2.0)


def plain(params):
    return params["x"]


def with_trial(params, trial):
    return params["x"] + 0 * trial.iteration


def with_budget(params, budget):
    return params["x"] * budget


def budget_first(params, budget, trial):
    return params["x"] * budget + 0 * trial.iteration


def by_name_alone(params, *, trial, budget=1.0):
    return params["x"] * budget + 0 * trial.iteration


def of_another_name(params, t, /, *, budget):
    return params["x"] * budget + 0 * t.iteration


def anything(*args, **more):
    return args[0]["x"]


def defaulted(params, scale=1.0):
    return params["x"] * scale


def with_window(params, window):
    return params["x"] + (0 if window is None else 1)


def window_by_name_alone(params, *, window):
    return params["x"] + (0 if window is None else 1)


def window_of_its_own(params, trial, window=20):
    return params["x"] * window / 20 + 0 * trial.iteration


CALLED = [
    plain, with_trial, with_budget, budget_first, by_name_alone, of_another_name, anything, defaulted, with_window,
    window_by_name_alone, window_of_its_own,
]  # fmt: skip


def test_trial_budget_and_window_come_however_a_function_takes_them() -> None:
    points = {f.__name__: [r.metrics["loss"] for r in tuned(f, session_id=f.__name__).rank()] for f in CALLED}
    assert len(points["plain"]) == 3
    assert all(found == points["plain"] for found in points.values()), points


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: 1, "takes 0 parameters"),
        (lambda params, trial, more: 1, "takes 3 parameters"),
        (lambda params, *, more: 1, "missing a required (keyword-only )?argument: 'more'"),
        (lambda params, budget, trial, other: 1, "takes 3 parameters"),
        (lambda params, other, *, trial: 1, "takes 3 parameters"),
    ],
)
def test_a_function_that_cannot_be_called_as_an_objective_is_refused_before_anything_runs(
    home: Path, function: Callable[..., float], why: str
) -> None:
    with pytest.raises(UsageError, match=rf"cannot be an objective \({why}\): it must accept a mapping of parameters"):
        tuned(function, session_id="refused")
    with pytest.raises(NotFoundError):
        arbd.Session(session_id="refused")


def test_what_cannot_be_carried_says_why_and_what_to_do() -> None:
    lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be carried to other processes: .*lock.*; make what cannot be carried"):
        tuned(lambda params: float(lock.locked()))


def _of_nothing(params: dict[str, float]) -> float:
    return params["nothing"]


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (_of_nothing, r"3 of 3 iterations did not complete: KeyError: 'nothing' \(line \d+ of _of_nothing\) \(3 times\)"),
        (lambda params: "5", r"3 of 3 iterations did not complete: the objective returned str '5'; expected a number, or"),
        (lambda params: None, r"does its end lack a `return`\?"),
        (lambda params: {"los": 1.0}, r"no result has the metric loss, .*did you mean los\?"),
        (lambda params: float("nan"), r"no result has a number for loss"),
    ],
    ids=["raises", "text", "none", "another metric", "nan"],
)  # fmt: skip
def test_a_search_that_gave_nothing_warns_and_says_why_where_the_best_is_asked_for(
    objective: Callable[..., Any], told: str
) -> None:
    with pytest.warns(UserWarning, match=told):
        found = tuned(objective)
    with pytest.raises(NotFoundError, match=told):
        _ = found.best


def test_some_that_fail_are_told() -> None:
    with pytest.warns(UserWarning, match="iterations did not complete: ZeroDivisionError"):
        some = tuned(lambda params, trial: 1 / (trial.iteration - 2))
    assert some.status()["statuses"] == {"completed": 2, "failed": 1, "timeout": 0, "crashed": 0}


SCRIPT = """
import arbd, beside

def objective(params):
    return beside.doubled(params["x"])

if __name__ == "__main__":
    session = arbd.tune(objective=objective, search_space={"x": {"type": "float", "bounds": [0, 1]}}, method="random",
                        max_iterations=3, metric="loss", direction="minimize", workers=1, progress=False)
    print(session.best.metrics["loss"] == 2 * session.best.params["x"])
"""


def test_modules_beside_a_script_are_found_from_whichever_folder_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "beside.py").write_text("def doubled(x):\n    return 2 * x\n")
    (tmp_path / "code" / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "code/script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_a_session_of_the_same_name_and_another_job_names_arguments_not_options(
    session: arbd.Session, layout: SpoolLayout
) -> None:
    def objective(params: dict[str, float]) -> float:
        return params["x"]

    tuned(objective, spool=layout.root, session_id="s")
    with pytest.raises(ArbdError, match="choose another session_id") as told:
        tuned(objective, spool=layout.root, session_id="s", seed=5)
    assert "--" not in str(told.value)
