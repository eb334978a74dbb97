"""Any file with a time column and `rate`, the share of the notional that longs pay shorts at that time."""

from __future__ import annotations

from pathlib import Path

from arbd.errors import DataError
from arbd.paper.market.importers.funding import Funding, FundingImporter
from arbd.paper.market.readers import read_columns


def read_rates_of_funding(path: Path, symbol: str | None) -> Funding:
    """Times as in quotes files."""
    columns = read_columns(path, ("rate",), "funding rates")
    if "rate" not in columns:
        raise DataError(path, "no column rate; funding rates have a time column and rate")
    return Funding(columns["ts_ns"], columns["rate"])


IMPORTER = FundingImporter(summary="A time column and `rate`; CSV, Parquet or NPZ.", read=read_rates_of_funding)
