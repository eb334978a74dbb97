"""Do standing jobs make their sessions?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from arbd.analysis.overview import iso_time
from arbd.cli.doctor.finding import OK, WARNING, Finding
from arbd.errors import ArbdError
from arbd.spool.layout import SpoolLayout
from arbd.spool.standing.firing import standing_of
from arbd.spool.standing.folder import StandingFolder, standing_names
from arbd.spool.standing.looks import read_looks, trouble_of
from arbd.spool.standing.records import StandingState

# A time that was due for so long, and was not fired, waits for something.
LATE_NS = 3600 * 10**9
# What was fired so long before it is due here was fired by another calendar than this host's.
EARLY_NS = 3600 * 10**9


def examine(layout: SpoolLayout) -> Iterator[Finding]:
    """A finding for each that does not, and for each that a wrong clock fired; one of all others."""
    files, now_ns, good = layout.files(), time.time_ns(), 0
    for name in standing_names(files, layout):
        folder = StandingFolder(files, layout, name)
        show = f"see `arbctl standing show {name}`"
        try:
            state = folder.refresh()
            if state.state is StandingState.REMOVED:
                continue
            seen = standing_of(state, now_ns)
        except ArbdError as error:
            yield Finding("standing", WARNING, f"{name}: {error}", "upgrade arbd, or install tzdata, on this host")
            continue
        unseen = trouble_of(read_looks(folder)) if state.schedule.on_data else ""
        if trouble := seen.trouble or unseen:
            yield Finding("standing", WARNING, f"{name} cannot make its session: {trouble}", show)
        elif seen.next_due_ns and now_ns - seen.next_due_ns > LATE_NS:
            late = f"{name} was due at {iso_time(seen.next_due_ns)} and has made no session"
            yield Finding("standing", WARNING, late, f"no worker lives, or the session before is not over: {show}")
        elif state.last is not None and state.last.due_ns > now_ns + EARLY_NS:
            due = iso_time(state.last.due_ns)
            ahead = (
                f"worker {state.last.by} fired {name} for {state.last.due}, due at {due}, which is ahead of this host"
            )
            yield Finding("standing", WARNING, ahead, "set the clocks of both hosts (chrony, systemd-timesyncd)")
        else:
            good += 1
    if good:
        yield Finding("standing", OK, f"{good} standing {'jobs make their' if good > 1 else 'job makes its'} sessions")
