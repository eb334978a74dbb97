"""`arbctl methods`: what this host has to search with and to read market data, arbd's own and that of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from arbd import __version__
from arbd.cli.app import App, json_option, pass_app, table

if TYPE_CHECKING:
    from arbd.registry import Registry
    from arbd.search.sampler import AdaptiveMethod, PlanMethod


@click.command()
@json_option
@pass_app
def methods(app: App) -> None:
    """Search methods for `tuning.method`, and formats for `arbctl market import`, of arbd and of other packages.

    \b
    Examples:
      arbctl methods
      arbctl methods --json | jq '.methods[] | select(.package != "arbd")'
    """
    from arbd.paper.market.importers.formats import FORMATS
    from arbd.search.samplers import METHODS

    document = {
        "methods": list(_listed(METHODS, _about_method)),
        "formats": list(_listed(FORMATS, lambda importer: {"candles": importer.candles})),
    }
    app.show(document, lambda: _text(document))


def _listed(registry: Registry[Any], about: Any) -> Iterator[dict[str, Any]]:
    from arbd.errors import PluginError

    for name in registry.names():
        plugin = registry.plugin(name)
        origin = {
            "name": name,
            "package": plugin.distribution if plugin is not None else "arbd",
            "version": plugin.version if plugin is not None else __version__,
        }
        try:
            part = registry.get(name)
        except PluginError as error:
            yield {**origin, "summary": None, "error": str(error)}
            continue
        yield {**origin, "summary": part.summary, "error": None, **about(part)}


def _about_method(method: AdaptiveMethod | PlanMethod) -> dict[str, Any]:
    from arbd.search.sampler import AdaptiveMethod

    learns = isinstance(method, AdaptiveMethod)
    options = [{"name": o.name, "kind": o.kind, "default": o.default, "summary": o.summary} for o in method.options]
    return {
        "adaptive": learns,
        "max_metrics": method.max_metrics if isinstance(method, AdaptiveMethod) else None,
        "budgets": isinstance(method, AdaptiveMethod) and method.budgets is not None,
        "libraries": list(method.libraries),
        "options": options,
    }


def _text(document: dict[str, Any]) -> str:
    rows = [
        [
            m["name"],
            "-" if m["error"] else "yes" if m["adaptive"] else "no",
            "-" if m["error"] else str(m["max_metrics"] or "any"),
            f"{m['package']} {m['version']}",
            m["error"] or m["summary"],
        ]
        for m in document["methods"]
    ]
    options = [
        f"  {m['name']}: {o['name']}, {o['kind']}, {o['default']} if left out: {o['summary']}"
        for m in document["methods"]
        for o in m.get("options", ())
    ]
    formats = [[f["name"], f"{f['package']} {f['version']}", f["error"] or f["summary"]] for f in document["formats"]]
    parts = [table(["METHOD", "LEARNS", "METRICS", "FROM", "WHAT IT DOES"], rows)]
    parts += ["\n".join(["Options (tuning.options):", *options])] if options else []
    return "\n\n".join([*parts, table(["FORMAT", "FROM", "WHAT IT READS"], formats)])
