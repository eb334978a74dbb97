"""What the page says of standing jobs: the documents of `arbctl standing`."""

from __future__ import annotations

from arbd.analysis.standing_documents import answered, standing_documents
from arbd.page.sessions import as_json
from arbd.spool.layout import SpoolLayout
from arbd.spool.standing.folder import find_standing


def standing_body(layout: SpoolLayout) -> bytes:
    """All of them, those that cannot be read too."""
    return as_json({"standing": standing_documents(layout.files(), layout)})


def one_standing_body(layout: SpoolLayout, name: str) -> bytes:
    """One with its answer; NotFoundError without such a one."""
    return as_json(answered(find_standing(layout.files(), layout, name))[0])
