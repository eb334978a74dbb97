"""Formats of files of funding rates. A new one is a new file here with a declaration `IMPORTER`."""

from __future__ import annotations

from arbd.paper.market.importers.funding import FundingImporter
from arbd.registry import Registry

FUNDING_FORMATS: Registry[FundingImporter] = Registry(
    "funding format", __name__, "IMPORTER", lambda: (FundingImporter,), dashes=True
)
