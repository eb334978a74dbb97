"""Binance: fundingRate dumps (calc_time, funding_interval_hours, last_funding_rate), answers of /fapi/v1/fundingRate."""

from __future__ import annotations

from pathlib import Path

from arbd.paper.market.importers.documents import is_json
from arbd.paper.market.importers.funding import Funding, FundingImporter
from arbd.paper.market.importers.funding_tables import funding_of_answers, funding_of_table


def read_binance_funding(path: Path, symbol: str | None) -> Funding:
    """Rates by the time at which they were paid."""
    if is_json(path):
        return funding_of_answers(path, symbol, (), ("symbol", "fundingTime", "fundingRate"))
    return funding_of_table(path, symbol, ("symbol", "calc_time", "last_funding_rate"), "a Binance fundingRate dump")


IMPORTER = FundingImporter(
    summary="Binance: fundingRate dumps as CSV or zip, answers of /fapi/v1/fundingRate as JSON.",
    read=read_binance_funding,
)
