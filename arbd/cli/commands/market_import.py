"""`arbctl market import`: two venues' files, as exchanges and vendors give them, joined into one file of quotes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arbd.cli.app import App, json_option, pass_app
from arbd.cli.part_name import PartName
from arbd.cli.typed_file import TypedFile

if TYPE_CHECKING:
    from arbd.paper.market.importers import Funding, Imported
    from arbd.paper.market.importers.funding import FundingImporter
    from arbd.paper.market.importers.importer import Importer
    from arbd.registry import Registry

ON_BAD_ROWS = click.option(
    "--on-bad-rows",
    type=click.Choice(["refuse", "drop"]),
    default="refuse",
    show_default=True,
    help="Refuse a file with bad rows, or drop and count them.",
)


def _formats() -> Registry[Importer]:
    from arbd.paper.market.importers.formats import FORMATS

    return FORMATS


def _funding_formats() -> Registry[FundingImporter]:
    from arbd.paper.market.importers.funding_formats import FUNDING_FORMATS

    return FUNDING_FORMATS


_FORMAT = PartName(_formats)
_FUNDING_FORMAT = PartName(_funding_formats)
_FILES = TypedFile()
# A file of exchange rates: no venue's format.
_RATES = "rates"


@click.command("import")
@click.option(
    "--a", "files_a", required=True, multiple=True, type=_FILES, help="File of venue A; several may be named."
)
@click.option(
    "--b", "files_b", required=True, multiple=True, type=_FILES, help="File of venue B; several may be named."
)
@click.option("--format", "format_", type=_FORMAT, help="Format of all files.")
@click.option("--format-a", type=_FORMAT, help="Format of venue A's files, where it is another.")
@click.option("--format-b", type=_FORMAT, help="Format of venue B's files, where it is another.")
@click.option("--symbol-a", help="Which symbol of venue A's files, where they hold several.")
@click.option("--symbol-b", help="Which symbol of venue B's files, where they hold several.")
@click.option("--half-spread-a-bps", type=float, help="Candles: how far A's bid and ask were from the close.")
@click.option("--half-spread-b-bps", type=float, help="Candles: how far B's bid and ask were from the close.")
@click.option("--candle-s", type=click.FloatRange(0, min_open=True), help="Length of candles that do not tell it.")
@click.option(
    "--fx", default="1", show_default=True, help="A's currency per unit of B's: a number, or a file of rates."
)
@click.option(
    "--fx-format",
    type=PartName(_formats, first=(_RATES,)),
    default=_RATES,
    show_default=True,
    help="rates: a time column and `rate`; else the mid of a market's quotes, the close of its candles.",
)
@click.option(
    "--max-gap-s",
    type=click.FloatRange(0, min_open=True),
    help="A venue silent for longer makes a gap: rows meanwhile are left out, a new block begins.",
)
@click.option(
    "--levels",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="How much of the book to keep, where files tell more than the touch.",
)
@click.option("--funding-a", multiple=True, type=_FILES, help="File of funding rates that venue A paid; also several.")
@click.option("--funding-b", multiple=True, type=_FILES, help="File of funding rates that venue B paid; also several.")
@click.option(
    "--funding-format-a", type=_FUNDING_FORMAT, default="rates", show_default=True, help="Format of the former."
)
@click.option(
    "--funding-format-b", type=_FUNDING_FORMAT, default="rates", show_default=True, help="Format of the latter."
)
@click.option("--funding-symbol-a", help="Which symbol of --funding-a, where it holds several.")
@click.option("--funding-symbol-b", help="Which symbol of --funding-b, where it holds several.")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="File to write; its suffix is the format."
)
@ON_BAD_ROWS
@json_option
@pass_app
def import_(
    app: App,
    /,
    fx: str,
    fx_format: str,
    max_gap_s: float | None,
    output: Path,
    **of_venue: Any,
) -> None:
    """Join files of two venues, as exchanges and vendors give them, into one file of quotes.

    \b
    Examples:
      arbctl market import --format tardis-quotes --a upbit.csv.gz --b binance.csv.gz --fx rates.csv --output q.parquet
      arbctl market import --format-a upbit-candles --a krw-btc.json --half-spread-a-bps 2 \\
        --format-b binance-klines --b BTCUSDT-1m-2025-01.zip --half-spread-b-bps 0.5 \\
        --fx krw-usdt.json --fx-format upbit-candles --max-gap-s 300 --output kimchi.parquet

    There is one row for each time at which either venue changed, with the last quote of both and its age.
    """
    from arbd.paper.market.importers import Join
    from arbd.paper.market.writers import check_target, write_pieces

    check_target(output)
    source = f"{of_venue['files_a'][0]} and {of_venue['files_b'][0]}"
    gap_ns = round(max_gap_s * 1e9) if max_gap_s is not None else None
    with tempfile.TemporaryDirectory(prefix="arbd-import-") as name:
        folder = Path(name)
        a, b = (_venue(letter, of_venue, folder / letter) for letter in "ab")
        funding = {letter: _funding(letter, of_venue) for letter in "ab" if of_venue[f"funding_{letter}"]}
        rates = _rates(fx, fx_format, of_venue["candle_s"], folder / "fx")
        join = Join(a.quotes, b.quotes, rates, source, gap_ns, funding)
        write_pieces(join, output)
    notes = [f"venue {letter}: {note}" for letter, venue in (("A", a), ("B", b)) for note in venue.notes]
    document = {
        "output": str(output),
        "rows": join.rows,
        "quotes_a": len(a.quotes),
        "quotes_b": len(b.quotes),
        "rows_outside": join.outside,
        "rows_silent": join.silent,
        "blocks": join.blocks,
        "levels": join.levels,
        "funding_outside": join.unpaid,
        "notes": notes,
    }
    app.show(document, lambda: "\n".join(_told(document)))


def _venue(letter: str, options: dict[str, Any], folder: Path) -> Imported:
    from arbd.paper.market.importers import FORMATS, VenueOptions, import_venue

    name = options[f"format_{letter}"] or options["format_"]
    if name is None:
        raise click.UsageError(f"name the format of venue {letter.upper()}'s files: --format or --format-{letter}")
    half = options[f"half_spread_{letter}_bps"]
    if half is not None and not FORMATS.get(name).candles:
        raise click.UsageError(f"--half-spread-{letter}-bps is for candles; {name} tells bid and ask")
    chosen = VenueOptions(
        options["on_bad_rows"], options[f"symbol_{letter}"], half, options["candle_s"], options["levels"]
    )
    return import_venue(name, options[f"files_{letter}"], chosen, folder)


def _funding(letter: str, options: dict[str, Any]) -> Funding:
    from arbd.paper.market.importers import FUNDING_FORMATS, read_funding

    importer = FUNDING_FORMATS.get(options[f"funding_format_{letter}"])
    return read_funding(importer, options[f"funding_{letter}"], options[f"funding_symbol_{letter}"])


def _rates(fx: str, fx_format: str, candle_s: float | None, folder: Path) -> Any:
    from arbd.errors import UsageError
    from arbd.paper.market.importers import VenueOptions, import_venue, rates_of_quotes, read_rates

    try:
        rate = float(fx)
    except ValueError:
        path = Path(fx)
        if fx_format == _RATES:
            return read_rates(path)
        options = VenueOptions(half_spread_bps=0, candle_s=candle_s)
        return rates_of_quotes(import_venue(fx_format, [path], options, folder).quotes, folder / "mid")
    if not 0 < rate < float("inf"):
        raise UsageError(f"--fx is {fx}; it is a positive number or a file")
    return rate


def _told(document: dict[str, Any]) -> list[str]:
    sources = f"from {document['quotes_a']:,} quotes of venue A and {document['quotes_b']:,} of venue B"
    lines = [f"{document['rows']:,} rows in {document['output']}, {sources}", *document["notes"]]
    if document["rows_outside"]:
        lines.append(f"{document['rows_outside']:,} times of change left out that not all files cover")
    if document["rows_silent"]:
        lines.append(f"{document['rows_silent']:,} times of change left out in gaps")
    if document["blocks"] > 1:
        lines.append(f"{document['blocks']:,} blocks")
    if document["funding_outside"]:
        lines.append(f"{document['funding_outside']:,} payments of funding outside of these rows left out")
    return lines
