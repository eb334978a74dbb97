"""`arbctl submit --each`: one file, a session for every combination of values; all of them, or none."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arbd.cli.job_array import members
from arbd.job.file import apply_overrides, load_job
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl

JOB = {
    "objective": {"python": "samples:quick"}, "metric": "value", "labels": {"desk": "btc"},
    "tuning": {"method": "random", "max_iterations": 4, "seed": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
}  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    return path


def dropped(layout: SpoolLayout) -> dict[str, dict[str, Any]]:
    jobs = [yaml.safe_load(path.read_text()) for path in layout.incoming.iterdir() if path.is_file()]
    return {job["session_id"]: job for job in jobs}


def test_every_combination_is_a_session_with_a_number_and_the_arrays_label(
    arbctl: Arbctl, layout: SpoolLayout, job: Path
) -> None:
    each = ("--each", "tuning.seed=1, 2,3", "--each", "fixed.c=[0.5, fast]")
    code, out, err = arbctl("submit", job, "--session-id", "grid", *each, "--set", "tuning.max_iterations=5", "--json")
    assert code == 0, err
    names = [f"grid-{number}" for number in range(1, 7)]
    assert [told["session_id"] for told in json.loads(out)["sessions"]] == names
    found = dropped(layout)
    assert [(found[n]["tuning"]["seed"], found[n]["fixed"]["c"]) for n in names] == list(
        itertools.product((1, 2, 3), (0.5, "fast"))
    )
    assert all(found[n]["labels"] == {"desk": "btc", "array": "grid"} for n in names)
    assert all(found[n]["tuning"]["max_iterations"] == 5 for n in names)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--each", "tuning.seed"], "expected KEY=VALUE,VALUE"),
        (["--each", "tuning.seed="], "expected KEY=VALUE,VALUE"),
        (["--each", "=1,2"], "expected KEY=VALUE,VALUE"),
        (["--each", "tuning.seed=[1, 2"], "no list such as"),
        (["--each", "tuning.seed=[]"], "no list such as"),
        (["--each", "tuning.seed=1,1"], "1 stands there twice"),
        (["--each", "tuning.seed=1", "--each", "tuning.seed=2"], "names tuning.seed twice"),
        (["--each", "session_id=a,b"], "named by --session-id"),
        (["--each", "tuning.sed=1,2"], "did you mean 'seed'"),
        (["--each", "tuning.seed=1,x"], "tuning.seed"),
        (["--each", "tuning.seed=" + ",".join(map(str, range(1_001)))], "the maximum is 1,000"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_submitted(
    arbctl: Arbctl, layout: SpoolLayout, job: Path, options: list[str], told: str
) -> None:
    code, _, err = arbctl("submit", job, *options)
    assert (code, told in err, dropped(layout)) == (2, True, {}), err


def test_two_files_are_no_array(arbctl: Arbctl, layout: SpoolLayout, job: Path) -> None:
    code, _, err = arbctl("submit", job, job, "--each", "tuning.seed=1,2")
    assert (code, "one by one" in err, dropped(layout)) == (2, True, {})


def test_an_array_of_which_one_session_exists_is_not_submitted(arbctl: Arbctl, layout: SpoolLayout, job: Path) -> None:
    assert arbctl("submit", job, "--session-id", "grid-2")[0] == 0
    code, _, err = arbctl("submit", job, "--session-id", "grid", "--each", "tuning.seed=1,2")
    assert (code, "grid-2" in err, list(dropped(layout))) == (2, True, ["grid-2"])


@given(st.lists(st.lists(st.integers(-9, 9) | st.sampled_from([0.5, True, None, "a b", "x,y", "[z]", ""]), min_size=1, max_size=4,
                         unique_by=json.dumps), min_size=1, max_size=3))  # fmt: skip
def test_values_mean_what_they_mean_to_set(lists: list[list[Any]]) -> None:
    made = members("a", [f"fixed.p{k}={json.dumps(values)}" for k, values in enumerate(lists)])
    assert len({one.session_id for one in made}) == len(made)
    for one, expected in zip(made, itertools.product(*lists), strict=True):
        told = [yaml.safe_load(text.partition("=")[2]) for text in one.overrides[:-1]]
        assert told == list(expected)


def test_what_a_member_overrides_is_a_whole_job(job: Path) -> None:
    (one, _) = members("a", ["tuning.search_space={x: {type: int, bounds: [1, 2]}}, {y: {type: bool}}"])
    assert list(apply_overrides(load_job(job), one.overrides).job.tuning.search_space) == ["x"]


EACH = {**JOB, "session_id": "grid", "each": {"tuning.seed": [1, 2], "fixed.c": [0.5, "fast"]}}


@pytest.fixture
def each(tmp_path: Path) -> Path:
    path = tmp_path / "each.yaml"
    path.write_text(yaml.safe_dump(EACH, sort_keys=False))
    return path


def test_a_file_with_each_is_submitted_as_the_sessions_that_the_option_makes(
    arbctl: Arbctl, layout: SpoolLayout, each: Path, job: Path
) -> None:
    assert arbctl("submit", each, "--session-id", "other", "--set", "tuning.max_iterations=6")[0] == 0
    from_file = dropped(layout)
    assert sorted(from_file) == [f"other-{number}" for number in range(1, 5)]
    for path in layout.incoming.glob("*.yaml"):
        path.unlink()
    options = ("--each", "tuning.seed=1,2", "--each", "fixed.c=0.5,fast", "--set", "tuning.max_iterations=6")
    assert arbctl("submit", job, "--session-id", "other", *options)[0] == 0
    assert dropped(layout) == from_file


def test_validate_checks_and_names_all_of_them(arbctl: Arbctl, each: Path) -> None:
    code, out, _ = arbctl("validate", each)
    assert (code, "4 sessions, grid-1 to grid-4" in out) == (0, True)
    told = json.loads(arbctl("validate", each, "--json")[1])
    assert told["sessions"] == [f"grid-{number}" for number in range(1, 5)]


def test_a_value_that_is_wrong_is_told_with_its_session_and_nothing_is_submitted(
    arbctl: Arbctl, layout: SpoolLayout, each: Path
) -> None:
    each.write_text(yaml.safe_dump({**EACH, "each": {"tuning.seed": [1, "x"]}}))
    for verb in ("validate", "submit"):
        code, _, err = arbctl(verb, each)
        assert (code, "grid-2 (tuning.seed=x)" in err, dropped(layout)) == (2, True, {}), err


def test_who_makes_one_session_says_that_the_file_makes_several(
    arbctl: Arbctl, layout: SpoolLayout, each: Path
) -> None:
    code, _, err = arbctl("run", each)
    assert (code, "makes several sessions" in err, "--set each=null" in err) == (2, True, True)
    assert err.count("\n") == 1
    code, _, err = arbctl("submit", each, "--each", "tuning.seed=5,6")
    assert (code, "`each:` of its own" in err, dropped(layout)) == (2, True, {})
    assert arbctl("run", each, "--set", "each=null", "--workers", "1")[0] == 0
