"""How a command takes parts of a session away, and writes down who did it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from arbd.errors import CorruptionError, UsageError
from arbd.spool.layout import SpoolLayout
from arbd.spool.retention_log import PURGED, PURGING, RESULTS, SEGMENTS

if TYPE_CHECKING:
    from arbd.results.retention import Found
    from arbd.results.store_reader import StoredResults
    from arbd.spool.files import Files
    from arbd.spool.ledger import LedgerState


class Parts(NamedTuple):
    """What of a session is to go."""

    segments: bool
    results: bool
    claims: bool


def purge_session(layout: SpoolLayout, session: str, parts: Parts, *, yes: bool, reason: str) -> list[Found]:
    """What of a session goes, gone with `yes`."""
    from arbd.results import retention
    from arbd.spool.ledger import LedgerState

    segments, results, claims = parts
    files = layout.files()
    paths = layout.session(session)
    ledger: bytes | None = None
    try:
        state = retention.require_over(files, layout, session)
        ledger = retention.ledger_digest(files, paths)
    except CorruptionError:
        # What nobody can read any more nobody can end either; it may go as a whole.
        if not (results and claims):
            raise
        retention.require_unused(files, layout, session)
        state = LedgerState()
    kept = retention.require_compacted(files, paths, state) if segments and not results else None
    stored = retention.segments_of(files, paths), retention.results_of(files, paths)
    if claims and not results and any(stored):
        raise UsageError(f"session {session} has results: archive it, then name --results too if they may go")
    doomed = (stored[0] if segments or results else []) + (stored[1] if results else [])
    doomed += retention.claims_of(files, paths) if claims else []
    if yes:
        with retention.alone(files, paths):
            _remove(files, layout, session, parts, doomed, Expected(state, ledger, kept), reason)
    return doomed


class Expected(NamedTuple):
    """How a session was found: nothing of it goes when it is otherwise by then."""

    state: LedgerState
    ledger: bytes | None
    kept: StoredResults | None


def _remove(
    files: Files, layout: SpoolLayout, session: str, parts: Parts, doomed: list[Found], found: Expected, reason: str
) -> None:
    from arbd.results import retention
    from arbd.results.trials import keep_before_purge

    freed = sum(one.size for one in doomed)
    if parts.claims:
        # Luck does not become less by forgetting how often it was tried.
        keep_before_purge(files, layout, session)
        note(files, layout, session, PURGING, found.state, reason, freed_bytes=freed)
        retention.remove_session(files, layout, session, found.ledger)
        note(files, layout, session, PURGED, found.state, reason, freed_bytes=freed)
        return
    assert found.ledger is not None, "what cannot be read goes as a whole"
    if found.kept is not None:
        retention.remove_segments(files, layout, session, found.kept, found.ledger)
    else:
        with retention.unchanged(files, layout, session, found.ledger):
            for one in doomed:
                files.remove(one.path)
    note(files, layout, session, RESULTS if parts.results else SEGMENTS, found.state, reason, freed_bytes=freed)


def note(
    files: Files,
    layout: SpoolLayout,
    session: str,
    what: str,
    state: LedgerState | None,
    reason: str,
    *,
    archive: str = "",
    freed_bytes: int = 0,
) -> None:
    """Write down what somebody did. Who may read a spool and not write to it archives all the same, and is told."""
    from arbd.analysis.overview import ended_ns
    from arbd.spool.control import this_user
    from arbd.spool.retention_log import Deed, retention_log

    actor = this_user(reason)
    deed = Deed(
        session_id=session, what=what, ended_ns=0 if state is None else ended_ns(state), user=actor.user, host=actor.host,
        wall_ns=actor.wall_ns, archive=archive, freed_bytes=freed_bytes, reason=reason,
    )  # fmt: skip
    try:
        retention_log(files, layout).append([deed])
    except PermissionError as error:
        click.echo(f"arbctl: not in the history of the spool, which this user may not write: {error}", err=True)
