"""`arbctl cache`: what this host keeps of market data and compiled code, and freeing its space."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.cli.app import App, json_option, pass_app, table

if TYPE_CHECKING:
    from arbd.paper.market.retention import Cached


@click.group()
def cache() -> None:
    """The converted market data and compiled code that this host keeps in `cache_dir`; all of it can be made anew."""


@cache.command()
@json_option
@pass_app
def show(app: App) -> None:
    """What is kept, least recently used first.

    \b
    Example:
      arbctl cache show
    """
    folder, entries = _entries(app)
    document = {
        "cache_dir": str(folder),
        "bytes": sum(each.size for each in entries),
        "max_bytes": int(app.config().cache_max_gb * 1e9),
        "entries": [_plain(each) for each in entries],
    }
    app.show(document, lambda: _text(document))


@cache.command()
@click.option("--max-gb", type=click.FloatRange(0), help="What may stay, by default the setting cache_max_gb.")
@click.option("--unused-days", type=click.FloatRange(0), help="Also what was not used for so many days.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only what would be removed is shown.")
@json_option
@pass_app
def prune(app: App, max_gb: float | None, unused_days: float | None, yes: bool) -> None:
    """Remove what other versions of arbd left, then the least recently used until the rest is within --max-gb.

    \b
    Examples:
      arbctl cache prune                        # what would it free?
      arbctl cache prune --max-gb 10 --yes
      arbctl cache prune --unused-days 30 --yes
      arbctl cache prune --max-gb 0 --yes       # all of it

    Jobs that run go on; a file that is needed again is converted again.
    """
    from arbd.paper.market.retention import CODE, remove, to_prune

    folder, entries = _entries(app)
    now_s = time.time()
    limit = app.config().cache_max_gb if max_gb is None else max_gb
    doomed = to_prune(entries, limit * 1e9, now_s, keep_used_s=0.0)
    chosen = {each.path for each in doomed}
    chosen |= {each.path for each in entries if unused_days is not None and now_s - each.used_s > unused_days * 86_400}
    # Code of other versions may be that of a daemon which was not restarted yet.
    chosen |= {each.path for each in entries if each.kind == CODE and not each.current and now_s - each.used_s > 86_400}
    doomed = [each for each in entries if each.path in chosen]
    gone = remove(doomed) if yes else doomed
    document = {
        "cache_dir": str(folder),
        "removed": yes,
        "bytes": sum(each.size for each in gone),
        "entries": [_plain(each) for each in gone],
    }
    app.show(document, lambda: _pruned(document))


def _entries(app: App) -> tuple[Path, list[Cached]]:
    from arbd.paper.code_cache import sources_digest
    from arbd.paper.market.retention import cached

    folder = app.config().cache_dir
    return folder, cached(folder, f"numba-{sources_digest()}")


def _plain(each: Cached) -> dict[str, Any]:
    return {
        "name": each.name, "kind": each.kind, "bytes": each.size, "used_s_ago": max(0.0, time.time() - each.used_s),
        "current": each.current,
    }  # fmt: skip


def _rows(document: dict[str, Any]) -> str:
    rows = [
        [
            entry["name"][:60],
            entry["kind"],
            f"{entry['bytes'] / 1e6:,.1f}",
            f"{entry['used_s_ago'] / 3600:,.1f}",
            "yes" if entry["current"] else "no",
        ]
        for entry in document["entries"]
    ]
    return table(["NAME", "KIND", "MB", "USED H AGO", "CURRENT"], rows)


def _text(document: dict[str, Any]) -> str:
    head = f"{document['cache_dir']}: {document['bytes'] / 1e9:.2f} GB, at most {document['max_bytes'] / 1e9:g} GB"
    return f"{head}\n{_rows(document)}" if document["entries"] else head


def _pruned(document: dict[str, Any]) -> str:
    if not document["entries"]:
        return "nothing to remove"
    what = "removed" if document["removed"] else "would be removed (with --yes)"
    return f"{_rows(document)}\n{document['bytes'] / 1e6:,.1f} MB {what}"
