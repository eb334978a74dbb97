"""Every byte of every session read: is anything of it damaged?"""

from __future__ import annotations

from collections.abc import Iterator

from arbd.cli.doctor.finding import OK, WARNING, Finding
from arbd.results.scrub import scrub
from arbd.spool.layout import SpoolLayout
from arbd.spool.sessions import session_ids


def examine(layout: SpoolLayout) -> Iterator[Finding]:
    """One finding for each damaged session."""
    files = layout.files()
    names = session_ids(files, layout)
    whole = 0
    for session_id in names:
        found = scrub(files, layout.session(session_id))
        whole += not found
        if found:
            told = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
            remedy = f"`arbctl repair {session_id} --dry-run` says what can be made anew"
            yield Finding("damage", WARNING, f"{session_id}: {told}", remedy)
    if whole == len(names):
        yield Finding("damage", OK, f"every checksum of {whole} sessions holds")
