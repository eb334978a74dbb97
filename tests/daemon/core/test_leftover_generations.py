"""What could neither be published nor taken back of a generation does not stay when its session is over."""

from __future__ import annotations

import pytest

from arbd.daemon.core import events
from arbd.spool.layout import SpoolLayout
from tests.daemon.core.test_coordinator import Desk
from tests.results.worker import work
from tests.spool.sessions import make_session


@pytest.mark.parametrize("was_worked_on", [True, False])
def test_a_generation_that_was_never_published_goes_when_its_session_is_over(
    layout: SpoolLayout, was_worked_on: bool
) -> None:
    paths = make_session(layout, 20)
    desk = Desk(layout)
    if was_worked_on:
        # It knows the session, and has nothing of it out.
        desk.turn()
    left = paths.generations / ".000004.gen.0123456789ab.tmp"
    assert work(paths, worker_id="another").over
    left.write_bytes(b"half")
    desk.turn(events.Wake())
    assert list(paths.generations.iterdir()) == []
