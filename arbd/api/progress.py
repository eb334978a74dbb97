"""How far a search is, for who waits in a terminal or in a notebook."""

from __future__ import annotations

import html
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from arbd.spool.ledger import LedgerState

DRAW_EVERY_S = 0.5


class View(Protocol):
    """Shows states of one session as they come."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, state: LedgerState, *, force: bool = False) -> None:
        """Draw, if it is time or `force`."""


def progress_view(session_id: str, *, quiet: bool) -> View:
    """A bar of the notebook in a notebook, else that of the command line."""
    if not quiet and "ipykernel" in sys.modules:
        return NotebookView(session_id)
    from arbd.cli.progress import ProgressView

    return SilentView() if quiet else ProgressView(session_id)


class SilentView:
    """Shows nothing."""

    def __enter__(self) -> SilentView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def show(self, state: LedgerState, *, force: bool = False) -> None:
        """Nothing."""


class NotebookView:
    """A bar that is drawn anew in its place."""

    def __init__(self, session_id: str) -> None:
        self._session_id, self._next_s = session_id, 0.0
        self._shown: Any = None

    def __enter__(self) -> NotebookView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was drawn last stays."""

    def show(self, state: LedgerState, *, force: bool = False) -> None:
        """See `View`."""
        if not force and time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + DRAW_EVERY_S
        from IPython.display import HTML, display

        drawn = HTML(bar(self._session_id, state.counted, state.n, state.label()))
        if self._shown is None:
            self._shown = display(drawn, display_id=True)
        else:
            self._shown.update(drawn)


def bar(session_id: str, done: int, of: int, label: str) -> str:
    """The bar as HTML."""
    return (
        f'<progress value="{done}" max="{of}"></progress> {html.escape(f"{session_id}: {done:,} of {of:,} ({label})")}'
    )
