"""Standing jobs of several hosts whose calendars differ, killed at any moment: every due time exactly once."""

from __future__ import annotations

import os

import pytest

from arbd.spool.standing.calendar import latest_due
from tests.simulation.standing import BEGIN_NS, StandingStory

SEEDS = int(os.environ.get("ARBD_STANDING_SEEDS", "12"))


# In 145 power is cut right after the log was made; in 147 a host writes under a lock that it has lost.
@pytest.mark.parametrize("seed", [*range(SEEDS), 145, 147])
def test_every_due_time_makes_one_session_whatever_dies_and_whatever_hosts_believe_of_the_date(seed: int) -> None:
    story = StandingStory(seed)
    job = story.play()
    fires = list(job.fires)
    # Exactly once: no time twice, a session for each firing and of its very job, nothing refused.
    assert len({fire.due for fire in fires}) == len(fires)
    assert story.sessions() == {fire.session: fire.digest for fire in fires}
    assert story.rejected == []
    assert not job.pending
    # None is lost: whatever was due while hosts lived is fired, or stood for by a later one.
    known_ns = story.end_ns - int(24 * 3600e9)
    due = latest_due(story.schedule, known_ns)
    assert due is not None
    owed = []
    while due is not None and due.wall_ns > BEGIN_NS:
        owed += [due.label] if job.owes(due, story.end_ns) else []
        due = latest_due(story.schedule, due.wall_ns - 1)
    assert owed == []
    assert len(fires) >= 3


def test_stories_have_disasters() -> None:
    stories = [StandingStory(seed) for seed in range(3)]
    for story in stories:
        story.play()
    assert sum(story.deaths for story in stories) > 10
