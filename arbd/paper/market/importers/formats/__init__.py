"""Formats of files of one venue. A new one is a new file here with a declaration `IMPORTER`, or an entry point.

Another distribution offers one through `arbd.importers`; nothing else of arbd knows its name.
"""

from __future__ import annotations

from arbd.paper.market.importers.importer import Importer
from arbd.registry import Registry

FORMATS: Registry[Importer] = Registry(
    "format", __name__, "IMPORTER", lambda: (Importer,), "arbd.importers", dashes=True
)
