"""`each:` of a job file: which sessions it makes, how they are named, and what it cannot be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arbd import strict_yaml
from arbd.errors import JobError
from arbd.job.each import MAX_NAME_CHARS, array_of
from arbd.job.file import JobDocument, parse_job

JOB: dict[str, Any] = {
    "objective": {"python": "samples:quick"}, "metric": "value", "session_id": "grid", "labels": {"desk": "btc"},
    "tuning": {"method": "random", "max_iterations": 4, "seed": 3, "search_space": {"x": {"type": "float", "bounds": [0, 1]}}},
}  # fmt: skip
values = st.integers(-9, 9) | st.sampled_from([0.5, True, False, None, "a b", "x,y", "[z]", "", "inf", "1e3"])


def document(**more: Any) -> JobDocument:
    return parse_job(strict_yaml.dump({**JOB, **more}), "job.yaml")


@given(
    st.dictionaries(
        st.sampled_from(["fixed.a", "fixed.b", "tuning.options.c", "notes"]),
        st.lists(values, min_size=1, max_size=4, unique_by=repr),
        min_size=1,
        max_size=3,
    ).filter(lambda each: all(not (1 in v and True in v) for v in each.values()))
)
def test_there_is_a_session_for_every_combination_and_its_job_says_so_and_nothing_else(
    each: dict[str, list[Any]],
) -> None:
    found = array_of(document(each=each), "grid")
    assert found is not None
    expected = list(itertools.product(*each.values()))
    digits = len(str(len(expected)))
    assert [name for name, _ in found] == [f"grid-{number:0{digits}}" for number in range(1, len(expected) + 1)]
    for (name, member), chosen in zip(found, expected, strict=True):
        told = strict_yaml.parse(strict_yaml.dump(member.value), "s").value
        job = yaml.safe_load(yaml.safe_dump(JOB))
        for key, value in zip(each, chosen, strict=True):
            place = job
            *way, last = key.split(".")
            for part in way:
                place = place.setdefault(part, {})
            place[last] = value
        assert told == {**job, "session_id": name, "labels": {"desk": "btc", "array": "grid"}}


def test_a_job_without_it_is_no_array_and_null_leaves_it_out() -> None:
    assert array_of(document(), "grid") is None
    assert array_of(document(each=None), "grid") is None


@pytest.mark.parametrize(
    ("each", "more", "told"),
    [
        ({}, {}, "each: has no field"),
        ({"fixed.a": []}, {}, "each.fixed.a: has no value"),
        ({"fixed.a": [1, 2, 1]}, {}, "each.fixed.a: 1 stands there twice"),
        ({"fixed.a": [1, 1.0]}, {}, "stands there twice"),
        ({"fixed..a": [1]}, {}, "is no field"),
        ({"session_id": ["a"]}, {}, "session_id is the same for all"),
        ({"each": [{}]}, {}, "each is the same for all"),
        ({"schedule": [None]}, {}, "schedule is the same for all"),
        ({"labels.array": ["a"]}, {}, "labels.array is the same for all"),
        ({"fixed.a": list(range(1_001))}, {}, "makes 1,001 sessions; the maximum is 1,000"),
        ({"metric.a": [1]}, {}, "metric.a: there is nothing below"),
        ({"fixed.a": [1]}, {"schedule": {"at": "03:00"}}, "a standing job makes one each time"),
    ],
)
def test_what_it_cannot_be_is_told_with_its_line(each: dict[str, Any], more: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError) as caught:
        array_of(document(each=each, **more), "grid")
    assert told in str(caught.value)
    assert "line " in str(caught.value)


def test_sessions_need_a_name_that_leaves_room_for_a_number() -> None:
    with pytest.raises(JobError, match="session_id: is missing"):
        array_of(document(each={"fixed.a": [1]}), None)
    assert array_of(document(each={"fixed.a": [1]}), "g" * (MAX_NAME_CHARS - 2))
    with pytest.raises(JobError, match="the maximum is 64"):
        array_of(document(each={"fixed.a": [1]}), "g" * (MAX_NAME_CHARS - 1))


def test_what_is_wrong_with_one_of_them_names_it() -> None:
    found = array_of(document(each={"tuning.seed": [1, "x"]}), "grid")
    assert found is not None
    (_, good), (_, bad) = found
    assert good.faults == ()
    assert "tuning.seed" in str(bad.faults[0])
    assert bad.document.source == "job.yaml: grid-2 (tuning.seed=x)"
