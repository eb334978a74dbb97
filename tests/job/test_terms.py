"""Where and when a session may be worked on, as a job file says it: what cannot be meant is told with its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd import schema
from arbd.errors import JobError
from arbd.job.codec import read_job_spec
from arbd.job.file import parse_job
from arbd.job.limits import MAX_MOMENT_NS
from arbd.job.resolve import resolve_job
from arbd.job.spec import JobSpec

JOB = """objective: {command: [/bin/echo]}
tuning: {method: random, max_iterations: 3, search_space: {x: {type: float, bounds: [0, 1]}}}
"""
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.one_of(
    st.datetimes(timezones=ZONES),
    st.sampled_from((datetime.min, datetime.max, datetime(2116, 2, 20), datetime(1970, 1, 1))).map(
        lambda naive: naive.replace(tzinfo=UTC)
    ),
)


def resolved(*lines: str, session_id: str | None = None) -> JobSpec:
    document = parse_job(JOB + "".join(f"{line}\n" for line in lines), "job.yaml")
    return resolve_job(document, base_dirs=[], session_id=session_id)


@given(MOMENTS)
def test_a_deadline_is_kept_to_the_second_or_refused_with_its_place(moment: datetime) -> None:
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC) if 1 < moment.year < 9999 else None
    text = f"deadline: '{moment.isoformat()}'"
    try:
        spec = resolved(text)
    except JobError as error:
        (problem,) = error.problems
        assert (problem.field, problem.line) == ("deadline", 3)
        assert since is None or not 0 <= int(since.total_seconds()) * 10**9 <= MAX_MOMENT_NS
        return
    assert since is not None
    assert spec.terms.deadline_ns == int(since.total_seconds()) * 10**9
    # What is kept of it is read again.
    assert read_job_spec(msgpack.packb({**schema.JOB.stamp(), **spec.to_plain()})).terms == spec.terms


def test_a_deadline_that_is_over_is_told_and_one_that_comes_is_not() -> None:
    assert any("over already" in note for note in resolved("deadline: 2020-01-01T00:00:00Z").notices)
    assert not any("over already" in note for note in resolved("deadline: 2115-01-01T00:00:00Z").notices)


@pytest.mark.parametrize("after", ["after: me", "after: [other, me]", "after: [me]"])
@pytest.mark.parametrize("by_line", [True, False])
def test_a_session_that_waits_for_itself_is_refused(after: str, by_line: bool) -> None:
    with pytest.raises(JobError, match="never begin") as raised:
        resolved("session_id: me", after) if by_line else resolved(after, session_id="me")
    assert [problem.field for problem in raised.value.problems] == ["after"]
