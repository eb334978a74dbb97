"""A session's progress for a person who waits: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from arbd.analysis.pace import rate_text
from arbd.cli.app import duration, on_terminal
from arbd.spool.ledger import LedgerState

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_S = 5.0
DRAW_EVERY_S = 0.2


class ProgressView:
    """Shows states of one session as they come; use as a context manager."""

    def __init__(self, session_id: str, *, quiet: bool = False) -> None:
        self._session_id = session_id
        self._quiet = quiet
        self._bar: Progress | None = None
        self._next = 0.0
        self._last_line = ""

    def __enter__(self) -> ProgressView:
        if on_terminal() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[about]}"),
                console=Console(stderr=True),
            )
            self._bar.add_task(self._session_id, total=None, about="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, state: LedgerState, *, force: bool = False) -> None:
        """Draw the state, unless it was drawn a moment ago."""
        now = time.monotonic()
        if self._quiet or (now < self._next and not force):
            return
        rate = state.rate()
        left = duration((state.n - state.counted) / rate) if rate and state.counted < state.n else "-"
        about = f"{state.label()}" + (f", {rate_text(rate)}/s, {left} left" if rate and not state.over else "")
        bad = state.counted - state.counts[0]
        about += f", {bad} bad" if bad else ""
        if self._bar is not None:
            self._next = now + DRAW_EVERY_S
            self._bar.update(self._bar.task_ids[0], total=state.n, completed=state.counted, about=about)
            return
        self._next = now + LINE_EVERY_S
        line = f"{self._session_id}: {state.counted:,} of {state.n:,} ({about})"
        if line != self._last_line:
            self._last_line = line
            click.echo(line, err=True)
