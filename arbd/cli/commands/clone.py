"""`arbctl clone`: the job of a session once more, with what is to be different."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from arbd.cli.app import App, complete_sessions, json_option, pass_app
from arbd.cli.commands.submit import submit
from arbd.errors import UsageError

MAX_JOB_BYTES = 1 << 20


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option("--session-id", help="The new session's id, by default a time-ordered one.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="What is to be different, e.g. tuning.seed=7."
)
@click.option("--wait", is_flag=True, help="Show progress until the session is done; exit 1 if iterations failed.")
@json_option
@pass_app
@click.pass_context
def clone(
    context: click.Context, app: App, session: str, session_id: str | None, overrides: tuple[str, ...], wait: bool
) -> None:
    """Submit the job of SESSION once more, under another id: checked as a new one, on the data and code of now.

    \b
    Examples:
      arbctl clone kimchi-btc-01 --set tuning.seed=7
      arbctl clone kimchi-btc-01 --session-id kimchi-btc-02 --set tuning.max_iterations=2000

    A larger `max_iterations` begins anew: `arbctl extend` gives a session that is done more, and keeps what there is.
    """
    from arbd import strict_yaml
    from arbd.spool.unknown_session import unknown_session
    from arbd.strict_yaml import parse

    layout = app.layout()
    files, paths = layout.files(), layout.session(session)
    try:
        text = files.read(paths.job, limit=MAX_JOB_BYTES)
    except FileNotFoundError:
        raise unknown_session(files, paths) from None
    job = parse(text, str(paths.job)).value
    if not isinstance(job, dict):
        raise UsageError(f"{paths.job} holds no job: it cannot be cloned")
    job.pop("session_id", None)
    with tempfile.TemporaryDirectory(prefix="arbctl-clone-") as folder:
        file = Path(folder) / "job.yaml"
        file.write_text(strict_yaml.dump(job), encoding="utf-8")
        context.invoke(submit, jobs=(file,), session_id=session_id, overrides=overrides, wait=wait)
