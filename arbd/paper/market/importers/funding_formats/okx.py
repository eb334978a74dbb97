"""OKX: fundingrates dumps (instrument_name, funding_rate, funding_time), answers of /public/funding-rate-history."""

from __future__ import annotations

from pathlib import Path

from arbd.paper.market.importers.documents import is_json
from arbd.paper.market.importers.funding import Funding, FundingImporter
from arbd.paper.market.importers.funding_tables import funding_of_answers, funding_of_table


def read_okx_funding(path: Path, symbol: str | None) -> Funding:
    """Rates by the time at which they were paid; of answers the rate that was realised, where it is told."""
    if is_json(path):
        return funding_of_answers(
            path, symbol, ("data",), ("instId", "fundingTime", "fundingRate"), first="realizedRate"
        )
    return funding_of_table(
        path, symbol, ("instrument_name", "funding_time", "funding_rate"), "an OKX dump of funding rates"
    )


IMPORTER = FundingImporter(
    summary="OKX: fundingrates dumps as CSV or zip, answers of /public/funding-rate-history as JSON.",
    read=read_okx_funding,
)
