"""A session that is over goes on, while a daemon finds that it is over and whoever has it go on dies: nobody forgets it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arbd.daemon.core.session_watch import SessionWatch
from arbd.results.extension import extend
from arbd.results.run_again import run_again
from arbd.spool import ledger
from arbd.spool.control import open_queue, this_user
from arbd.spool.files import TEMPORARY_NAME, Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue, Worker
from arbd.spool.session_index import ended_sessions
from arbd.spool.system import SystemClock
from tests.results.worker import work
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()


class KilledError(BaseException):
    """The process ended here."""


def extended(layout: SpoolLayout) -> None:
    extend(layout, "s", 3, this_user())


def retried(layout: SpoolLayout) -> None:
    run_again(layout, open_queue(layout, "s"), lambda rows: rows.status == ledger.FAILED)


def look(layout: SpoolLayout, watch: SessionWatch) -> None:
    """What a daemon does that worked on the session, for as long as nobody has its ledger."""
    paths = layout.session("s")
    held = FILES.try_lock(paths.ledger_lock)
    if held is None:
        return
    held.release()
    found = watch.look(lambda: ["s"])
    queue = SessionQueue(FILES, paths)
    queue.refresh()
    if "s" in found.to_look_at and queue.state.over:
        watch.is_over(queue, was_worked_on=True)


@contextlib.contextmanager
def disturbed(dies_at: int, looking: Callable[[], None]) -> Iterator[None]:
    """The daemon looks before each call that writes, syncs, names or opens; the process ends at one of them."""
    calls = 0
    is_looking = False

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls, is_looking
            if is_looking:
                return real(*arguments, **named)
            calls += 1
            is_looking = True
            looking()
            is_looking = False
            if calls == dies_at:
                raise KilledError
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "fsync", "write", "link", "open"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


@pytest.mark.parametrize("deed", [extended, retried])
def test_what_goes_on_is_looked_at_by_every_daemon_and_what_does_not_leaves_no_name(
    deed: Callable[[SpoolLayout], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody's power is cut here.
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    dies_at, survived = 0, False
    outcomes = set()
    while not survived:
        dies_at += 1
        layout = SpoolLayout(tmp_path / str(dies_at))
        layout.root.mkdir()
        layout.prepare()
        paths = make_session(layout, 4, "s")
        if deed is retried:
            write_rows(paths, "a", rows_of(1, 3), rows_of(4, 1, status=ledger.FAILED))
            exhaust(paths, 4, (3, 1, 0, 0))
        assert work(paths).done
        watch = SessionWatch(FILES, layout, SystemClock(), Worker("a", 1, 1))
        look(layout, watch)
        with disturbed(dies_at, partial(look, layout, watch)), contextlib.suppress(KilledError):
            deed(layout)
            survived = True
        look(layout, watch)
        goes_on = not SessionQueue(FILES, paths).refresh().over
        outcomes.add(goes_on)
        if goes_on:
            # Also one that starts only now.
            for each in (watch, SessionWatch(FILES, layout, SystemClock(), Worker("b", 2, 1))):
                assert "s" in each.look(list).to_look_at, f"call {dies_at}"
            assert "s" not in ended_sessions(FILES, layout, FILES.names(layout.sessions))
        else:
            # What had no name yet goes with other leftovers of crashes.
            names = {*FILES.names(layout.sessions), *FILES.names(layout.active)}
            assert {name for name in names if not TEMPORARY_NAME.fullmatch(name)} == {"s"}, f"call {dies_at}"
            assert "s" not in FILES.names(layout.active)
    assert outcomes == {True, False}
