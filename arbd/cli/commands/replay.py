"""`arbctl replay`: one iteration again, compared with what was recorded; its fills and a picture of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.analysis.text import format_value
from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.complete import complete_iteration
from arbd.registry import hint

if TYPE_CHECKING:
    from arbd.analysis.replay import Replay

    _Base = click.ParamType[int | None]
else:
    # Not of all versions is it generic when it runs.
    _Base = click.ParamType

_FILE = click.Path(path_type=Path)
BEST = "best"


class IterationOrBest(_Base):
    """The number of an iteration, or None for the best."""

    name = "iteration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """A number from 1 up, or `best`."""
        if value == BEST:
            return None
        try:
            return int(value)
        except ValueError:
            near = hint(value, (BEST,)).strip()
            self.fail(
                f"{value!r} is neither the number of an iteration nor `{BEST}`{'; ' + near if near else ''}", param, ctx
            )


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.argument("iteration", type=IterationOrBest(), shell_complete=complete_iteration)
@click.option("--trades", type=_FILE, help="Write every fill and rejected order to this CSV file (paper sessions).")
@click.option("--plot", type=_FILE, help="Write edges, fills, equity and drawdown to this HTML file (paper sessions).")
@click.option(
    "--objective-path",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the session's Python objective, beside those of the settings.",
)
@click.option("--trust", is_flag=True, help="Run the session's objective although the settings do not allow it.")
@json_option
@pass_app
def replay(
    app: App,
    session: str,
    iteration: int | None,
    trades: Path | None,
    plot: Path | None,
    objective_path: tuple[Path, ...],
    trust: bool,
) -> None:
    """Run ITERATION of SESSION again: it must give what was recorded, to the bit; exit 1 if it does not.

    ITERATION is a number, or `best`: the one that `arbctl best` takes.

    \b
    Examples:
      arbctl replay kimchi-btc-01 best --plot run.html
      arbctl replay kimchi-btc-01 1970
      arbctl replay kimchi-btc-01 1970 --trades fills.csv --plot run.html

    Data and modules must be those that made it, on any host; where versions or arbd's own code differ, that is told.
    """
    from arbd.analysis.replay import best_iteration
    from arbd.analysis.replay import replay as run_again
    from arbd.atomic_file import check_output

    for file in (trades, plot):
        if file is not None:
            check_output(file)
    config = app.config()
    done = run_again(
        app.layout().root,
        session,
        best_iteration(app.layout().root, session) if iteration is None else iteration,
        cache_dir=config.cache_dir,
        search_paths=(*config.objective_paths, *(path.absolute() for path in objective_path)),
        allow=None if trust else config.allow,
    )
    written: dict[str, Any] = {}
    if trades is not None or plot is not None:
        written = _explain(done, config.cache_dir, trades, plot)
    app.show(_document(done, written), lambda: "\n".join(_text(done, written)))
    if not done.equal:
        raise click.exceptions.Exit(1)


def _explain(done: Replay, cache_dir: Path, trades: Path | None, plot: Path | None) -> dict[str, Any]:
    from arbd.analysis.trades import run_markets, write_fills
    from arbd.objective.protocol import Settings

    row = done.recorded
    setting = Settings(done.spec).of(row.duplicate_of or row.iteration)
    runs = run_markets(done.spec, row.params, cache_dir, row.budget, setting=setting)
    written: dict[str, Any] = {}
    if trades is not None:
        written["fills"], written["rejected"] = write_fills(runs, trades)
        written["trades"] = str(trades)
    if plot is not None:
        from arbd.analysis.run_page import write_run_page

        write_run_page(done, runs, plot)
        written["plot"] = str(plot)
    return written


def _document(done: Replay, written: dict[str, Any]) -> dict[str, Any]:
    row = done.recorded
    return {
        "session_id": row.session_id,
        "iteration": row.iteration,
        "equal": done.equal,
        "params": dict(row.params),
        "recorded": dict(row.metrics),
        "replayed": dict(done.metrics),
        "differences": [{"metric": d.metric, "recorded": d.recorded, "replayed": d.replayed} for d in done.differences],
        "other_code": list(done.other_code),
        "other_rules": done.other_rules,
        **written,
    }


def _text(done: Replay, written: dict[str, Any]) -> list[str]:
    row = done.recorded
    name = f"session {row.session_id}, iteration {row.iteration} (run by {row.worker_id} at {row.timestamp})"
    lines = [f"{name}: {'equal to the bit' if done.equal else 'NOT EQUAL'}"]
    lines += [f"  {key} = {format_value(value)}" for key, value in row.params.items()]
    if done.equal:
        lines += [f"  {key}: {format_value(value)}" for key, value in done.metrics.items()]
    else:
        lines += [f"  {d.metric}: recorded {d.recorded!r}, now {d.replayed!r}" for d in done.differences]
        if not done.other_code and not done.other_rules:
            lines.append(
                "  the code is the same; does the objective depend on anything else, as the time or another file?"
            )
    lines += [f"  {text}" for text in (*([done.other_rules] if done.other_rules else []), *done.other_code)]
    if "trades" in written:
        rejected = f" and {written['rejected']:,} rejected orders" if written["rejected"] else ""
        lines.append(f"{written['fills']:,} fills{rejected} in {written['trades']}")
    if "plot" in written:
        lines.append(f"plot in {written['plot']}")
    return lines
