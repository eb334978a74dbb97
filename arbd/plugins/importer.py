"""For packages that add a market data format: declare an `Importer` at an entry point `arbd.importers`."""

from __future__ import annotations

from arbd.errors import DataError, UsageError
from arbd.paper.market.importers.candles import quotes_of_candles
from arbd.paper.market.importers.importer import Importer
from arbd.paper.market.importers.venue import Imported, VenueOptions, VenueQuotes, checked
from arbd.paper.market.texttable import NUMBER, TEXT, WHOLE, TextTable

__all__ = [
    "NUMBER",
    "TEXT",
    "WHOLE",
    "DataError",
    "Imported",
    "Importer",
    "TextTable",
    "UsageError",
    "VenueOptions",
    "VenueQuotes",
    "checked",
    "quotes_of_candles",
]
