"""Whatever order and kind the parameters of an objective have, each gets what its name says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbd.api.functions import function_job
from arbd.api.job import Job
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.objective.protocol import Trial
from arbd.objective.python import PythonEvaluator
from arbd.objective.signature import NAMES

FOLDS: dict[str, Any] = {"holdout": {"from": "2024-01-02T00:00Z"}}
# What each is when it is what its name says, as a number: 0 is nothing, 2 a window.
BODY = """
    found = {"value": params["x"]}
    given = dict(locals())
    if "trial" in given:
        found["trial"] = float(trial.iteration)
    if "budget" in given:
        found["budget"] = float(budget)
    if "window" in given:
        found["window"] = -1.0 if window is None else float(window) if isinstance(window, int) else float(window.to_ns > 0)
    return found
"""


def signatures() -> Iterator[str]:
    """Of every subset in every order, each by place or name, by place alone, or by name alone; the window with a default too."""
    for size in range(len(NAMES) + 1):
        for names in itertools.permutations(NAMES, size):
            for split, last in itertools.combinations_with_replacement(range(size + 1), 2):
                alone, either, named = names[:split], names[split:last], names[last:]
                yield ", ".join(["params", *alone, *["/"][: bool(alone)], *either, *["*"][: bool(named)], *named])
    yield from (
        "params, window=20",
        "params, *, window=20",
        "params, trial, window=20",
        "params, window=20, trial=None",
    )
    yield from ("params, window=20, *, trial, budget", "params, budget=1.0, window=20", "params, budget, window=20")


SIGNATURES = list(dict.fromkeys(signatures()))


def expected(signature: str, *, has_folds: bool) -> dict[str, float]:
    given = {"trial": 1.0, "budget": 1.0, "window": 1.0 if has_folds else 20.0 if "window=20" in signature else -1.0}
    return {"value": 0.5, **{name: value for name, value in given.items() if name in signature}}


def resolved(folder: Path, fields: dict[str, Any], *, has_folds: bool) -> JobSpec:
    job = {
        **fields, "metric": "value",
        "tuning": {"method": "random", "max_iterations": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
        **({"validation": FOLDS} if has_folds else {}),
    }  # fmt: skip
    return resolve_job(parse_job(yaml.safe_dump(job), "job"), base_dirs=(folder,), search_paths=(folder,))


def may_have_folds(signature: str) -> bool:
    return "window" in signature or "trial" in signature


@pytest.mark.parametrize("has_folds", [False, True], ids=["whole", "folds"])
def test_each_parameter_gets_what_its_name_says(tmp_path: Path, has_folds: bool) -> None:
    asked = [one for one in SIGNATURES if may_have_folds(one) or not has_folds]
    module = f"signed_{has_folds}".lower()
    (tmp_path / f"{module}.py").write_text("".join(f"def f{at}({one}):{BODY}\n" for at, one in enumerate(asked)))
    wrong = {}
    for at, signature in enumerate(asked):
        spec = resolved(tmp_path, {"objective": {"python": f"{module}:f{at}"}}, has_folds=has_folds)
        found = PythonEvaluator(spec, (tmp_path,), verify=True).evaluate({"x": 0.5}, Trial.of(spec, "s", 1)).metrics
        if dict(found) != expected(signature, has_folds=has_folds):
            wrong[signature] = dict(found)
    assert not wrong
    assert len(asked) > 50


@pytest.mark.parametrize("has_folds", [False, True], ids=["whole", "folds"])
def test_each_parameter_of_a_function_of_a_notebook_gets_what_its_name_says(tmp_path: Path, has_folds: bool) -> None:
    wrong = {}
    for at, signature in enumerate(SIGNATURES):
        if has_folds and not may_have_folds(signature):
            continue
        scope: dict[str, Any] = {}
        exec(f"def f({signature}):{BODY}", scope)
        job = Job(objective=scope["f"], search_space={"x": {"type": "float", "bounds": [0, 1]}}, method="random")
        path = function_job(job, f"signed-{has_folds}-{at}".lower(), tmp_path)
        fields = {"objective": yaml.safe_load(path.read_text())["objective"]}
        spec = resolved(path.parent, fields, has_folds=has_folds)
        found = PythonEvaluator(spec, (path.parent,), verify=True).evaluate({"x": 0.5}, Trial.of(spec, "s", 1)).metrics
        if dict(found) != expected(signature, has_folds=has_folds):
            wrong[signature] = dict(found)
    assert not wrong


def test_a_decorated_function_gets_its_trial_in_its_place(tmp_path: Path) -> None:
    text = "import functools\ndef places(f):\n    @functools.wraps(f)\n    def inner(*given):\n        return f(*given)\n    return inner\n"
    (tmp_path / "decorated.py").write_text(
        f"{text}@places\ndef f(params, trial):{BODY}\n@places\ndef g(params, t):\n    trial = t{BODY}"
    )
    for name, wanted in (("f", {"value": 0.5, "trial": 1.0}), ("g", {"value": 0.5, "trial": 1.0})):
        spec = resolved(tmp_path, {"objective": {"python": f"decorated:{name}"}}, has_folds=False)
        found = PythonEvaluator(spec, (tmp_path,), verify=True).evaluate({"x": 0.5}, Trial.of(spec, "s", 1)).metrics
        assert dict(found) == wanted
