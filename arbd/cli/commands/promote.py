"""`arbctl promote`: a winner for a bot, in two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arbd.analysis.text import format_pairs
from arbd.arrays import load as load_numpy
from arbd.cli.app import App, complete_sessions, json_option, pass_app


@click.command()
@click.argument("session", shell_complete=complete_sessions)
@click.option("--to", required=True, type=click.Path(path_type=Path), help="The file to write: .yaml or .json.")
@click.option("--code", help="What the first step printed; writes.")
@click.option("--metric", help="The winner by this metric, by default the job's own.")
@click.option("--robust", is_flag=True, help="As of `arbctl best --robust`.")
@click.option(
    "--despite-verdict", default="", metavar="REASON", help="Also where the verdict is not skill; it is recorded."
)
@json_option
@pass_app
def promote(
    app: App, session: str, to: Path, code: str | None, metric: str | None, robust: bool, despite_verdict: str
) -> None:
    """Write the parameters of SESSION's winner for a bot, with their provenance: session, iteration, digests, verdict.

    \b
    Examples:
      arbctl promote kimchi-btc-01 --to /etc/bot/params.yaml                  shows what would be written, and a code
      arbctl promote kimchi-btc-01 --to /etc/bot/params.yaml --code 1f0c22ab  writes it
      arbctl promote kimchi-btc-01 --to params.json --despite-verdict "a paper account"

    Only a winner whose verdict is skill is promoted without a reason. The code is good once, for what was shown. Who
    promoted what, when and why stands in `promotions.jsonl` of the spool.
    """
    load_numpy()
    from arbd.analysis import promotion
    from arbd.spool.control import this_user

    layout = app.layout()
    files = layout.files()
    prepared = promotion.prepare(layout.root, session, metric=metric, robust=robust, despite=despite_verdict)
    if code is None:
        shown = promotion.code_of(files, layout, prepared, to)
        document = {"written": False, "file": str(to), "code": shown, **prepared.document()}
        app.show(document, lambda: "\n".join(_preview(document)))
        return
    written = promotion.promote(files, layout, prepared, to, code, this_user(despite_verdict))
    document = {"written": True, "file": str(to), **written}
    app.show(document, lambda: f"{to}: written, from iteration {written['provenance']['iteration']} of {session}")


def _preview(document: dict[str, Any]) -> list[str]:
    told = document["provenance"]
    despite = [f"despite     {told['despite_verdict']}"] if "despite_verdict" in told else []
    return [
        f"would write to {document['file']}:",
        f"parameters  {format_pairs(document['parameters'])}",
        f"from        session {told['session_id']}, iteration {told['iteration']} ({told['chosen']} by {told['metric']})",
        f"verdict     {told['verdict']}: {told['rule']}",
        *despite,
        f"nothing is written yet; to write exactly this, add: --code {document['code']}",
    ]
