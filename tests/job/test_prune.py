"""A job's `prune:` block: what it comes to, and what is wrong with it, told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from arbd import schema
from arbd.errors import JobError
from arbd.job.codec import read_job_spec
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.search.pruning import PruneRules

PYTHON = "{python: 'm:f'}"


def resolved(
    prune: str, method: str = "tpe", objective: str = PYTHON, more: str = "", folder: str = "/nowhere"
) -> JobSpec:
    text = (
        f"objective: {objective}\nmetric: value\n{more}tuning:\n  method: {method}\n  max_iterations: 40\n"
        f"  search_space: {{x: {{type: float, bounds: [0, 1]}}}}\n  prune: {prune}\n"
    )
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path(folder)], search_paths=[Path(folder)])


RULES: dict[str, PruneRules] = {
    "{}": PruneRules(),
    "{rule: median, startup_trials: 0, warmup_steps: 3, min_trials: 2}": PruneRules(
        startup_trials=0, warmup_steps=3, min_trials=2
    ),
    "{rule: percentile, percentile: 25}": PruneRules("percentile", 25.0),
    "{rule: patient, patience: 4, min_delta: 0.5}": PruneRules("patient", patience=4, min_delta=0.5),
    "{rule: median, patience: 4}": PruneRules("median", patience=4),
}


@pytest.mark.parametrize("given", RULES)
@pytest.mark.parametrize("method", ["tpe", "random", "auto"])
def test_rules_survive_the_file_and_a_job_without_any_reads_as_before(given: str, method: str) -> None:
    spec = resolved(given, method)
    assert spec.prune == RULES[given]
    # What is compared with is published; a fixed plan that compares nothing needs none of that.
    assert bool(spec.generation_size) == (RULES[given].compares or method != "random")
    plain = spec.to_plain()
    assert plain[schema.JOB.key] == schema.JOB.version
    assert read_job_spec(bytes(msgpack.packb(plain))) == spec
    assert "prune" not in resolved("null", method).to_plain()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("{rule: patient}", "tuning.prune.rule: rule patient needs a patience"),
        (
            "{rule: patient, patience: 2, percentile: 5}",
            "tuning.prune.percentile: compares with others, which patient does not",
        ),
        ("{rule: patient, patience: 2, startup_trials: 5}", "tuning.prune.startup_trials: compares with"),
        ("{rule: percentile}", "tuning.prune.rule: rule percentile needs a percentile"),
        ("{rule: median, percentile: 20}", "tuning.prune.percentile: is for rule percentile"),
        ("{min_delta: 0.1}", "tuning.prune.min_delta: says what counts as no improvement"),
        ("{rule: meridian}", "tuning.prune.rule"),
        ("{rule: percentile, percentile: 0}", "tuning.prune.percentile"),
        ("{patience: 0}", "tuning.prune.patience"),
        ("{warmup: 3}", "tuning.prune.warmup"),
    ],
)
def test_a_rule_that_is_none_is_told_at_its_field(given: str, fault: str) -> None:
    with pytest.raises(JobError) as error:
        resolved(given)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"objective": "{command: [/bin/cat]}"}, "cannot report intermediate values: use `protocol: lines`"),
        ({"method": "successive_halving"}, "successive_halving chooses what goes on by its budgets"),
        ({"objective": "paper"}, "`execution: give_up` ends its hopeless runs"),
    ],
)
def test_what_cannot_report_is_refused_with_what_to_do_instead(changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(JobError) as error:
        resolved("{}", **changed)
    assert f"tuning.prune: {fault}" in str(error.value) or fault in str(error.value)


def test_several_metrics_are_refused() -> None:
    with pytest.raises(JobError, match=r"tuning\.prune: intermediate values are of one metric, and 2 are optimised"):
        resolve_job(
            parse_job(
                "objective: {python: 'm:f'}\nmetric: [a, b]\ntuning:\n  method: tpe\n  max_iterations: 9\n"
                "  search_space: {x: {type: float, bounds: [0, 1]}}\n  prune: {}\n",
                "job.yaml",
            ),
            base_dirs=[Path("/nowhere")],
        )


def test_a_function_without_a_trial_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def f(params):\n    return {'value': 1.0}\n")
    with pytest.raises(JobError, match="f takes no trial, which `prune` needs"):
        resolved("{}", folder=str(tmp_path))
    (tmp_path / "m.py").write_text("def f(params, trial):\n    return {'value': 1.0}\n")
    assert resolved("{}", folder=str(tmp_path)).prune == PruneRules()


@pytest.mark.parametrize("changed", [{"rule": "other"}, {"percentile": 0.0}, {"patience": -1}, {"new": 1}])
def test_rules_of_another_host_are_checked(changed: dict[str, Any]) -> None:
    plain = resolved("{}").to_plain()
    plain["prune"] |= changed
    with pytest.raises(ValueError, match="prune"):
        read_job_spec(bytes(msgpack.packb(plain)))
