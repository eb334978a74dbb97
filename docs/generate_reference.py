"""Writes the reference pages from the code that they describe.

python docs/generate_reference.py            writes docs/reference/*.md
python docs/generate_reference.py --check    exit 1 when a page is not what the code says
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from arbd.analysis.formats import FORMATS as EXPORT_FORMATS
from arbd.cli.__main__ import HOMES
from arbd.cli.__main__ import cli as arbctl
from arbd.daemon.__main__ import cli as arbd
from arbd.job.file import job_schema
from arbd.paper.market.importers.formats import FORMATS as MARKET_FORMATS
from arbd.paper.market.importers.funding_formats import FUNDING_FORMATS
from arbd.paper.metrics import METRICS
from arbd.paper.params import ALIASES, PARAMETERS
from arbd.search.sampler import AdaptiveMethod
from arbd.search.samplers import METHODS

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate_reference.py; change the code, not this page. -->\n"


def job_page() -> str:
    """Every field of a job file."""
    schema = job_schema()
    lines = [
        "# Fields of a job file",
        NOTE,
        "A file that holds only `tuning` is a complete job. Examples: `etc/jobs/`.",
        "",
    ]
    lines += _fields("", schema, schema["$defs"])
    for title, name in (
        ("tuning", "Tuning"), ("execution", "ExecutionModel"), ("execution.give_up", "GiveUpModel"), ("results", "ResultsModel"),
        ("data: [{folder: ...}]", "DataFolder"),
        ("objective: {python: ...}", "PythonObjective"), ("objective: {command: ...}", "CommandObjective"),
        ("tuning.stop", "StopModel"), ("tuning.prune", "PruneModel"), ("tuning.robust", "RobustModel"),
        ("tuning.search_space.NAME with type: float", "FloatParameter"), ("... with type: int", "IntParameter"),
        ("... with type: choice", "ChoiceParameter"), ("... with type: bool", "BoolParameter"),
    ):  # fmt: skip
        definition = schema["$defs"][name]
        lines += [
            "",
            f"## {title}",
            "",
            definition.get("description", ""),
            "",
            *_fields(title, definition, schema["$defs"]),
        ]
    return "\n".join(lines) + "\n"


def _fields(_title: str, definition: dict[str, Any], _defs: dict[str, Any]) -> Iterator[str]:
    yield "| field | kind | default | meaning |"
    yield "|---|---|---|---|"
    required = definition.get("required", [])
    for name, field in definition["properties"].items():
        default = "needed" if name in required else _shown(field.get("default"))
        yield f"| `{name}` | {_kind(field)} | {default} | {field.get('description', '')} |"


def _shown(value: object) -> str:
    return "" if value is None or value in ({}, []) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    options = field.get("anyOf", field.get("oneOf"))
    if options is not None:
        kinds = [_kind(option) for option in options if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in field:
        return "see below"
    kind = {
        "number": "number",
        "integer": "integer",
        "string": "text",
        "boolean": "true or false",
        "object": "mapping",
    }.get(field.get("type", ""), "see below")
    if field.get("type") == "array":
        return "list" if "prefixItems" not in field else "[lowest, highest]"
    for word, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")):
        if word in field:
            kind += f" {sign} {field[word]:g}"
    return kind


def engine_page() -> str:
    """Every parameter and metric of the paper engine."""
    lines = [
        "# Parameters and metrics of the paper engine",
        NOTE,
        "What they do exactly: [engine.md](../engine.md).",
        "",
    ]
    lines += ["## Parameters", "", "| name | default | range | unit | meaning |", "|---|---|---|---|---|"]
    for p in PARAMETERS.values():
        span = ", ".join(f"`{value}`" for value in p.values) or f"{p.low:g} to {p.high:g}"
        default = (
            f"`{p.follows}`" if p.follows else f"{p.default:g}" if isinstance(p.default, int | float) else p.default
        )
        lines.append(f"| `{p.name}` | {default} | {span} | {p.unit} | {p.doc} |")
    lines += ["", "Other names that are understood: " + ", ".join(f"`{a}` for `{n}`" for a, n in ALIASES.items()) + "."]
    lines += [
        "",
        "## Metrics",
        "",
        "A metric that is undefined is NaN.",
        "",
        "| name | unit | better | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{m.name}` | {m.unit} | {'more' if m.direction == 'maximize' else 'less'} | {m.doc} |"
        for m in METRICS.values()
    ]
    return "\n".join(lines) + "\n"


def methods_page() -> str:
    """Every search method and every format, from their declarations; of this host, so plug-ins that are installed too."""
    lines = [
        "# Methods and formats",
        NOTE,
        "`arbctl methods` shows those of a host, with what other packages add ([plugins.md](../plugins.md)).",
        "",
        "## Search methods (`tuning.method`)",
        "",
        "| method | learns | metrics | fields and options of its own | what it does |",
        "|---|---|---|---|---|",
    ]
    for name in METHODS.names():
        method = METHODS.get(name)
        learns = isinstance(method, AdaptiveMethod)
        most = (method.max_metrics if isinstance(method, AdaptiveMethod) else None) or "any"
        own = ", ".join([*(f"`{field}`" for field in method.fields), *(f"`options.{o.name}`" for o in method.options)])
        lines.append(f"| `{name}` | {'yes' if learns else 'no'} | {most} | {own} | {method.summary} |")
    for title, registry in (
        ("Market data formats (`arbctl market import --format`)", MARKET_FORMATS),
        ("Formats of funding rates (`arbctl market import --funding-format-a`)", FUNDING_FORMATS),
        ("Export formats (`arbctl export --format`)", EXPORT_FORMATS),
    ):
        lines += ["", f"## {title}", "", "| format | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {registry.get(name).summary} |" for name in registry.names()]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """The help of every command."""
    lines = ["# Commands", NOTE]
    for name, command in _commands():
        context = click.Context(command, info_name=name, **command.context_settings)
        text = command.get_help(context)
        lines += [f"## {name}", "", "```text", *(line.rstrip() for line in text.splitlines()), "```", ""]
    return "\n".join(lines)


def _commands() -> Iterator[tuple[str, click.Command]]:
    yield "arbd", arbd
    for name, command in arbd.commands.items():
        yield f"arbd {name}", command
    yield "arbctl", arbctl
    for name in HOMES:
        command = arbctl.get_command(click.Context(arbctl), name)
        assert command is not None
        command.context_settings = {**command.context_settings, "max_content_width": 100, "terminal_width": 100}
        yield f"arbctl {name}", command
        if isinstance(command, click.Group):
            for sub, child in command.commands.items():
                child.context_settings = {"max_content_width": 100, "terminal_width": 100}
                yield f"arbctl {name} {sub}", child


# How help is wrapped is click's business, and differs between its versions.
CHECKED = ("job.md", "engine.md", "methods.md")
PAGES = {
    "job.md": job_page,
    "engine.md": engine_page,
    "methods.md": methods_page,
    "commands.md": commands_page,
}


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if "--check" not in sys.argv:
            path.write_text(text)
        elif name in CHECKED and (not path.is_file() or path.read_text() != text):
            stale.append(name)
    if stale:
        sys.stderr.write(f"not current: {', '.join(stale)}; run python docs/generate_reference.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
