"""Bybit: answers of /v5/market/funding/history, as JSON, or the same fields as CSV."""

from __future__ import annotations

from pathlib import Path

from arbd.paper.market.importers.documents import is_json
from arbd.paper.market.importers.funding import Funding, FundingImporter
from arbd.paper.market.importers.funding_tables import funding_of_answers, funding_of_table

NAMES = ("symbol", "fundingRateTimestamp", "fundingRate")


def read_bybit_funding(path: Path, symbol: str | None) -> Funding:
    """Rates by the time at which they were paid."""
    if is_json(path):
        return funding_of_answers(path, symbol, ("result", "list"), NAMES)
    return funding_of_table(path, symbol, NAMES, "a Bybit funding history")


IMPORTER = FundingImporter(
    summary="Bybit: answers of /v5/market/funding/history as JSON, the same fields as CSV.", read=read_bybit_funding
)
