"""What every command shares: where the spool is, how output is written, how progress is shown."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from arbd.plain_json import as_plain
from arbd.terminal_text import escape_control_chars, escape_line
from arbd.values import dataclass

if TYPE_CHECKING:
    from arbd.daemon.host.config import Config
    from arbd.spool.layout import SpoolLayout

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class App:
    """The options in front of the command."""

    config_path: Path | None
    spool: Path | None
    as_json: bool

    def config(self) -> Config:
        """The settings, with the spool of the command line."""
        from arbd.daemon.host.config import load_config

        config = load_config(self.config_path)
        return replace(config, spool=self.spool.absolute()) if self.spool is not None else config

    def layout(self) -> SpoolLayout:
        """The spool; SpoolError unless it can be read."""
        from arbd.spool.layout import SpoolLayout

        layout = SpoolLayout(self.config().spool)
        layout.require_readable()
        return layout

    def bookmarks(self) -> Path:
        """Where this user's readers keep how far they have read."""
        return self.config().cache_dir / "ledgers"

    def show(self, document: Any, text: Callable[[], str]) -> None:
        """Print the document as JSON, or what `text` returns."""
        shown = json.dumps(as_plain(document), indent=2, ensure_ascii=False) if self.as_json else text()
        click.echo(escape_control_chars(shown))


def _set_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(App).as_json = True


def json_option(command: F) -> F:
    """Let a command take --json behind its name too."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_set_json, help="One JSON document with stable keys."
    )(command)


def complete_sessions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Session ids of the spool for the shell; none where there is no spool, and no word about why."""
    from arbd.errors import ArbdError
    from arbd.spool.layout import NAME_PATTERN
    from arbd.spool.sessions import session_names

    options = ctx.parent.params if ctx.parent is not None else {}
    app = App(options.get("config"), options.get("spool"), as_json=False)
    try:
        layout = app.layout()
        names = session_names(layout.files(), layout)
    except (ArbdError, OSError):
        return []
    # A shell is no place for a name that somebody else made up.
    return [name for name in names if name.startswith(incomplete) and NAME_PATTERN.fullmatch(name)]


pass_app = click.make_pass_decorator(App)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with two blanks between; numbers to the right."""
    lines = [list(head), *([escape_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%").replace(",", ""))
    except ValueError:
        return cell in ("", "-")
    return True


def duration(seconds: float | None) -> str:
    """`3h 12m`, `45 s`, or `-` when it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def on_terminal() -> bool:
    """True when a person looks at standard error."""
    return sys.stderr.isatty()
