"""`arbctl market`: synthetic markets, what a market looks like, import of vendors' files, conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arbd.analysis.text import format_value
from arbd.atomic_file import check_output, replace_file
from arbd.cli.app import App, json_option, pass_app
from arbd.cli.commands.market_import import ON_BAD_ROWS, import_
from arbd.cli.typed_file import TypedFile
from arbd.errors import UsageError


@click.group()
def market() -> None:
    """Make, import, describe and convert market data: quotes of two venues as CSV (also .gz, .zst), Parquet or NPZ."""


@market.command()
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="File to write; its suffix is the format."
)
@click.option("--profile", default="kimchi", show_default=True, help="Which real market to resemble.")
@click.option("--ticks", default=86_400, show_default=True, type=click.IntRange(1), help="Rows.")
@click.option(
    "--span-s",
    default=86_400.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds from first to last.",
)
@click.option("--seed", default=42, show_default=True, type=click.IntRange(0), help="Same seed, same bits.")
@json_option
@pass_app
def synth(app: App, output: Path, profile: str, ticks: int, span_s: float, seed: int) -> None:
    """Make a synthetic market: mean-reverting spread with jumps, volatility clusters, a daily pattern.

    \b
    Example:
      arbctl market synth --output quotes.parquet --profile kimchi --ticks 100000 --seed 7
    """
    from arbd.paper.market.synth import synth_profile
    from arbd.paper.market.writers import write_quotes

    quotes = synth_profile(profile, seed=seed, ticks=ticks, span_s=span_s)
    write_quotes(quotes, output)
    app.show({"output": str(output), "rows": len(quotes)}, lambda: f"{len(quotes):,} rows in {output}")


@market.command()
@click.argument("file", type=TypedFile())
@click.option("--job", type=click.Path(path_type=Path), help="Write a job with the suggested bounds, to begin from.")
@ON_BAD_ROWS
@json_option
@pass_app
def describe(app: App, file: Path, job: Path | None, on_bad_rows: str) -> None:
    """What the market in FILE looks like: touch, edges, half-life, sizes, gaps, ages, funding; bounds for a search.

    \b
    Examples:
      arbctl market describe quotes.parquet
      arbctl market describe quotes.parquet --job first.yaml
    """
    from arbd.paper.market.cache import passing_quotes
    from arbd.paper.market.describe import describe_quotes
    from arbd.paper.market.suggest import job_text, suggestions

    if job is not None:
        check_new_file(job)
    with passing_quotes(file, on_bad_rows) as (quotes, dropped):
        found = describe_quotes(quotes)
    suggested = {each.name: each.to_plain() for each in suggestions(found)}
    document = {"file": str(file), "rows_dropped": dropped, **found.to_plain(), "suggested": suggested}
    if job is not None:
        replace_file(job, job_text(file.resolve(), found, on_bad_rows=on_bad_rows).encode())
        document["job"] = str(job)
    app.show(document, lambda: "\n".join([*_lines(document), *_next(job)]))


def _next(job: Path | None) -> list[str]:
    return [f"put your fees and latencies into {job}, then: arbctl run {job}"] if job is not None else []


def check_new_file(path: Path) -> None:
    """UsageError when there is such a file already, or none can be written there."""
    check_output(path)
    if path.exists():
        raise UsageError(f"{path} exists: name another file, or remove it")


def _lines(document: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, value in document.items():
        if isinstance(value, dict) and (not value or value.get("payments") == 0):
            continue  # JSON says that there is none
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}{name}: {' to '.join(format_value(each) for each in value)}")
        else:
            lines.append(f"{indent}{name}: {format_value(value)}")
    return lines


@market.command()
@click.argument("source", type=TypedFile())
@click.argument("target", type=click.Path(path_type=Path))
@ON_BAD_ROWS
@json_option
@pass_app
def convert(app: App, source: Path, target: Path, on_bad_rows: str) -> None:
    """Check SOURCE and write it as TARGET; the suffixes are the formats.

    \b
    Example:
      arbctl market convert quotes.csv.gz quotes.parquet
    """
    from arbd.paper.market.cache import passing_quotes
    from arbd.paper.market.writers import check_target, write_quotes

    check_target(target)
    with passing_quotes(source, on_bad_rows) as (quotes, dropped):
        write_quotes(quotes, target)
        rows = len(quotes)
    app.show(
        {"source": str(source), "target": str(target), "rows": rows, "rows_dropped": dropped},
        lambda: f"{rows:,} rows in {target}" + (f", {dropped:,} bad rows dropped" if dropped else ""),
    )


market.add_command(import_)
