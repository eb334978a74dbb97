"""`arbctl watch` and `arbctl top`: the spool, live. On a terminal a screen with keys, elsewhere lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.pace import bad, eta_s, rate_per_s, rate_text
from arbd.analysis.standstill import FINISHING, NO_WORKER
from arbd.analysis.waiting import waiting_text
from arbd.cli.app import App, complete_sessions, duration, json_option, pass_app, table
from arbd.cli.dropped import described, named, wait_for_session
from arbd.cli.executor_lines import executor_lines
from arbd.cli.keyboard import Keyboard
from arbd.cli.live import Followed, Live, shown_best, shown_state, silence, worker_facts
from arbd.errors import ArbdError
from arbd.spool.dropped import DroppedJob
from arbd.spool.peers import silent_s
from arbd.terminal_text import escape_control_chars, escape_line
from arbd.values import dataclass

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

KEYS = "up/down choose   p pause   r resume   c cancel   q quit"


@dataclass(slots=True)
class Screen:
    """What is drawn, and what a key does to it."""

    live: Live
    workers_first: bool
    chosen: int = 0
    asking: str = ""
    said: str = ""

    def press(self, key: str) -> bool:
        """React to a key; False to end."""
        sessions = self.live.sessions
        self.chosen = max(0, min(self.chosen, len(sessions) - 1))
        if self.asking:
            # About the session that was asked about, wherever it stands in the list by now.
            asked, self.asking = self.asking, ""
            self.said = self._change(asked, "cancelled") if key == "y" else f"{asked}: not cancelled"
            return True
        if key in ("q", "\x03"):
            return False
        if key in ("up", "k", "down", "j"):
            step = -1 if key in ("up", "k") else 1
            self.chosen = max(0, min(self.chosen + step, len(sessions) - 1))
        elif key in ("p", "r") and sessions:
            self.said = self._change(sessions[self.chosen].session_id, "paused" if key == "p" else "running")
        elif key == "c" and sessions:
            self.asking = sessions[self.chosen].session_id
            self.said = f"cancel {self.asking} for good? y does, any other key does not"
        return True

    def _change(self, session_id: str, state: str) -> str:
        from arbd.spool.control import change_state

        try:
            return f"{session_id}: {change_state(self.live.layout, session_id, state)}"
        except (ArbdError, OSError) as error:
            return str(error)

    def draw(self) -> RenderableType:
        """The whole screen."""
        from rich.console import Group
        from rich.text import Text

        parts = [self._workers(), self._sessions()] if self.workers_first else [self._sessions(), self._workers()]
        notes = [Text(escape_line(error), style="red") for error in (*self.live.errors, *_troubles(self.live))]
        notes += [Text(escape_line(text), style="yellow") for text in _waits(self.live)]
        return Group(*parts, *notes, Text(escape_line(self.said) or KEYS, style="bold" if self.said else "dim"))

    def _sessions(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        head = Column("SESSION", min_width=12, no_wrap=True)
        grid = Table(head, "STATE", "", "DONE", "BAD", "PER SECOND", "LEFT", "BEST SO FAR", box=None, expand=True)
        for index, followed in enumerate(self.live.sessions):
            name, state, done, failed, rate, left, best = _cells(self.live, followed)
            bar = ProgressBar(total=max(1, followed.state.n), completed=followed.state.counted, width=24)
            row = (
                Text(escape_line(name)),
                state,
                bar,
                done,
                Text(failed, style="red" if failed != "0" else ""),
                rate,
                left,
                Text(escape_line(best)),
            )
            grid.add_row(*row, style="reverse" if index == self.chosen else "")
        if not self.live.sessions:
            grid.add_row(Text("no session is going on", style="dim"))
        return grid

    def _workers(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        grid = Table("WORKER", "STATE", "SLOTS BUSY", "DONE", "PER SECOND", "SESSIONS", box=None, expand=True)
        for row in _worker_rows(self.live):
            grid.add_row(*(Text(escape_line(cell)) for cell in row), style="dim" if row[1] == "gone" else "")
        return grid


def _cells(live: Live, followed: Followed) -> tuple[str, str, str, str, str, str, str]:
    state = followed.state
    rate = rate_per_s(state)
    return (
        followed.session_id,
        live.label(followed),
        f"{state.counted:,} of {state.n:,}",
        str(bad(state)),
        rate_text(rate),
        duration(eta_s(state)),
        shown_best(followed.best),
    )


def _worker_rows(live: Live) -> list[tuple[str, str, str, str, str, str]]:
    """The busiest first, the dead last."""
    rows = []
    silent = silent_s(beat for beat, _ in live.beats)
    for beat, alive in sorted(live.beats, key=lambda pair: (not pair[1], -float(pair[0].about.get("rate") or 0))):
        facts, state = worker_facts(beat), shown_state(beat.about.get("state"), alive, silent.get(beat.worker_id))
        is_heard = alive and beat.worker_id not in silent
        slots = max(0, facts["slots"] or 0)
        busy = min(max(0, facts["busy"] or 0), slots) if is_heard else 0
        bar = "#" * busy + "." * (slots - busy) if slots <= 16 else ""
        rows.append(
            (
                beat.worker_id,
                state,
                f"{busy} of {slots} {bar}".rstrip(),
                f"{facts['done'] or 0:,}",
                rate_text(facts["rate_per_s"] or 0) if is_heard else "-",
                " ".join(facts["sessions"]) if is_heard else "",
            )
        )
    return rows


def _troubles(live: Live) -> list[str]:
    told = [f"{name}: {text}" for name, text in live.missing.items()]
    silent = silent_s(beat for beat, _ in live.beats)
    told += [
        silence(beat.worker_id, silent[beat.worker_id])
        for beat, alive in live.beats
        if alive and beat.worker_id in silent
    ]
    for beat, alive in live.beats:
        if alive and beat.worker_id not in silent:
            facts = worker_facts(beat)
            told += [
                f"{beat.worker_id} cannot evaluate {name}: {reason}"
                for name, reason in facts["blocked"].items()
                if live.only in (None, name)
            ]
            told += [f"{beat.worker_id} has trouble with the spool: {facts['trouble']}"] if facts["trouble"] else []
            told += (
                executor_lines(beat.worker_id, executor)
                if (executor := facts["executor"] or {}).get("waits_for")
                else []
            )
    for followed in live.sessions:
        reason = live.standstill.reason(followed.session_id, followed.state)
        # What single workers say of a session that goes on elsewhere stands above.
        if reason == NO_WORKER or live.label(followed) == FINISHING:
            told.append(f"{followed.session_id} is {live.label(followed)}: {reason}")
    return [*told, *(f"{job.name} is {job.state.value}: {job.line}" for job in live.jobs)]


def _waits(live: Live) -> list[str]:
    texts = {f.session_id: waiting_text(live.waiting(f.session_id)) for f in live.sessions}
    return [f"{name}: {text}" for name, text in texts.items() if text]


def _follow(app: App, session: str | None, every: float, once: bool, workers_first: bool) -> None:
    from rich.console import Console

    from arbd.arrays import load as load_numpy

    load_numpy()
    layout = app.layout()
    found = named(app, layout, session) if session is not None else None
    if isinstance(found, DroppedJob):
        job = found
        if once or app.as_json:
            app.show(job.document(), lambda: described(job))
            return
        found = wait_for_session(app, layout, job, every)
    live = Live(layout, found)
    live.look()
    console = Console()
    if once or app.as_json:
        app.show(live.documents(), lambda: _plain(live, workers_first))
    elif console.is_terminal and not console.is_dumb_terminal:
        _on_terminal(console, Screen(live, workers_first), every)
    else:
        _as_lines(live, every, (lambda: _plain(live, True)) if workers_first else None)


def _plain(live: Live, workers_first: bool) -> str:
    sessions = table(
        ("SESSION", "STATE", "DONE", "BAD", "PER SECOND", "LEFT", "BEST SO FAR"),
        [_cells(live, f) for f in live.sessions],
    )
    workers = table(("WORKER", "STATE", "SLOTS BUSY", "DONE", "PER SECOND", "SESSIONS"), _worker_rows(live))
    parts = [workers, "", sessions] if workers_first else [sessions, "", workers]
    return "\n".join([*parts, *map(escape_line, (*live.errors, *_troubles(live), *_waits(live)))])


def _on_terminal(console: Any, screen: Screen, every: float) -> None:
    from rich.live import Live as Drawing

    with Keyboard() as keyboard, Drawing(screen.draw(), console=console, screen=True, auto_refresh=False) as drawing:
        next_look = time.monotonic() + every
        while True:
            key = keyboard.key(max(0.0, next_look - time.monotonic()))
            if key is not None and not screen.press(key):
                return
            if time.monotonic() >= next_look:
                screen.live.look()
                next_look = time.monotonic() + every
            drawing.update(screen.draw(), refresh=True)


def _as_lines(live: Live, every: float, whole: Callable[[], str] | None) -> None:
    """Without a terminal: a line whenever something changed, until the session that was named is over."""
    said: dict[str, str] = {}
    troubles: set[str] = set()
    while True:
        if whole is not None:
            click.echo(escape_control_chars(whole()))
        for followed in live.sessions if whole is None else ():
            name, state, done, failed, rate, left, best = _cells(live, followed)
            waits = waiting_text(live.waiting(name))
            line = escape_line(
                f"{name}: {done} ({state}, {rate} per second, {left} left, {failed} bad, best {best}"
                + (f", {waits})" if waits else ")")
            )
            if said.get(name) != line:
                said[name] = line
                click.echo(line)
        if whole is None:
            for trouble in (*live.errors, *_troubles(live)):
                if trouble not in troubles:
                    troubles.add(trouble)
                    click.echo(escape_line(trouble), err=True)
        if live.only is not None and live.sessions and live.sessions[0].state.over:
            return
        time.sleep(every)
        live.look()


_EVERY = click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between looks."
)
_ONCE = click.option("--once", is_flag=True, help="Show it once and end.")


@click.command()
@click.argument("session", shell_complete=complete_sessions, required=False)
@_EVERY
@_ONCE
@json_option
@pass_app
def watch(app: App, session: str | None, every: float, once: bool) -> None:
    """Follow SESSION, or all that are not over: progress, time left, best so far, workers, failures.

    SESSION may be the name of a job file that waits to be taken up.

    On a terminal: arrows choose a session, p pauses, r resumes, c cancels (and asks first), q quits. Elsewhere a line
    is printed whenever something changes, until SESSION is over.

    \b
    Examples:
      arbctl watch
      arbctl watch kimchi-btc-01 | tee progress.txt
      arbctl watch --once --json
    """
    _follow(app, session, every, once, workers_first=False)


@click.command()
@_EVERY
@_ONCE
@json_option
@pass_app
def top(app: App, every: float, once: bool) -> None:
    """Follow the workers, the busiest first: slots, rates, what they run and what troubles them. Keys as in watch.

    \b
    Examples:
      arbctl top
      arbctl top --once
    """
    _follow(app, None, every, once, workers_first=True)
