"""`when:` in a job file: read, checked, and written for other hosts."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from arbd.errors import JobError
from arbd.job.codec import read_job_spec
from arbd.job.file import parse_job
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec
from arbd.search.space import Condition

SPACE = """
    strategy: {type: choice, values: [plain, mean, band]}
    window: {type: float, bounds: [0, 1], when: {strategy: [mean, band]}}
    fast: {type: bool, when: {strategy: band}}
    depth: {type: int, bounds: [1, 3], when: {fast: true, strategy: band}}
"""


def resolved(space: str = SPACE, *, method: str = "random", more: str = "", top: str = "") -> JobSpec:
    text = f"objective: {{python: 'm:f'}}\n{top}tuning:\n  method: {method}\n  search_space:{space}{more}"
    text += "" if method == "grid" else "  max_iterations: 20\n"
    return resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path("/nowhere")])


def test_one_form_for_one_value_and_for_several_and_all_of_them_must_hold() -> None:
    assert resolved().space.conditions == (
        Condition("window", "strategy", ("mean", "band")),
        Condition("fast", "strategy", ("band",)),
        Condition("depth", "fast", (True,)),
        Condition("depth", "strategy", ("band",)),
    )


def test_a_grid_counts_what_exists() -> None:
    # plain; mean beside 3 windows; band beside 3 windows, slow or fast with one of 3 depths.
    assert resolved(method="grid").n == 1 + 3 + 3 * (1 + 3)


def test_it_goes_to_other_hosts_and_only_jobs_with_conditions_are_new_to_them() -> None:
    spec = resolved()
    assert read_job_spec(msgpack.packb(spec.to_plain())) == spec
    assert spec.to_plain()["version"] == 2
    plain = resolved("\n    x: {type: float, bounds: [0, 1]}\n").to_plain()
    assert plain["version"] == 1
    assert "when" not in plain["space"][0]


@pytest.mark.parametrize(
    "when", [{"strategy": ["nothing"]}, {"nobody": [1]}, {"window": [0.5]}, {"fast": [True]}, {"depth": [1]}]
)
def test_conditions_of_a_hostile_job_that_cannot_be_followed_are_refused(when: dict[str, list[object]]) -> None:
    plain = resolved().to_plain()
    plain["space"][2]["when"] = when
    with pytest.raises(ValueError, match="fast: "):
        read_job_spec(msgpack.packb(plain))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("a: {type: bool, when: {strategi: band}}", "search_space.a.when: 'strategi' is not searched; did you mean 'strategy'"),
        ("a: {type: bool, when: {strategy: bnd}}", "a.when: strategy: 'bnd' is not one of .*; did you mean 'band'"),
        ("a: {type: bool, when: {strategy: []}}", "must have 1 or more values"),
        ("a: {type: bool, when: {strategy: {b: 1}}}", "must be a number, a string, true, false or null"),
        ("a: {type: bool, when: {a: true}}", "a.when: conditions go round in a circle: a needs a"),
        ("a: {type: bool, when: {b: true}}\n    b: {type: bool, when: {a: true}}", "circle: a needs b needs a"),
        ("a: {type: bool, when: {x: 1}}\n    x: {type: float, bounds: [0, 1]}", "x is a real number: a condition is on a"),
        ("a: {type: bool, whn: {strategy: band}}", "did you mean 'when'"),
        ("a: {type: bool, when: {n: 4}}\n    n: {type: int, bounds: [1, 3]}", "4 is not in"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_error_with_its_place_and_its_remedy(space: str, said: str) -> None:
    with pytest.raises(JobError, match=said) as raised:
        resolved(f"\n    strategy: {{type: choice, values: [plain, band]}}\n    {space}\n")
    assert len(raised.value.problems) == 1


def test_what_is_said_of_a_parameter_that_is_wrong_itself_is_no_second_mistake() -> None:
    with pytest.raises(JobError) as raised:
        resolved("\n    n: {type: int, bounds: [3, 1]}\n    a: {type: bool, when: {n: 2}}\n")
    assert [problem.field for problem in raised.value.problems] == ["tuning.search_space.n.bounds"]


def test_a_condition_on_a_fixed_parameter_always_holds_or_is_a_mistake() -> None:
    space = "\n    a: {type: bool, when: {strategy: band}}\n"
    assert resolved(space, top="fixed: {strategy: band}\n").space.conditions == ()
    with pytest.raises(JobError, match="strategy is fixed to 'plain': a would never exist, leave it out"):
        resolved(space, top="fixed: {strategy: plain}\n")


def test_a_point_to_try_first_has_nothing_that_does_not_exist() -> None:
    resolved(more="  enqueue: [{strategy: band, window: 0.5}, {window: 0.5}]\n")
    with pytest.raises(JobError, match="window does not exist where strategy is 'plain': leave it out"):
        resolved(more="  enqueue: [{strategy: plain, window: 0.5}]\n")


def test_the_engines_parameters_are_known_by_their_earlier_names_too() -> None:
    text = (
        "tuning:\n  method: random\n  max_iterations: 5\n  scenarios: [etc/scenarios/basic.yaml]\n  search_space:\n"
        "    strategy: {type: choice, values: [convergence, inventory]}\n"
        "    min_spread_pct: {type: float, bounds: [0.05, 0.5]}\n"
        "    inventory_skew: {type: float, bounds: [0, 1], when: {strategy: inventry}}\n"
    )
    with pytest.raises(JobError, match="inventry"):
        resolve_job(parse_job(text, "job.yaml"), base_dirs=[Path.cwd()])
