"""Versions of what is installed, also where an application was packaged without the metadata of its distributions."""

from __future__ import annotations

import importlib
from importlib import metadata

UNKNOWN = "unknown"


def version_of(distribution: str, *, may_import: bool = True) -> str:
    """The version of an installed distribution; `UNKNOWN` where nothing tells it.

    Without metadata the module of the same name is asked, which imports it, unless `may_import` is False.
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        if not may_import:
            return UNKNOWN
    return str(getattr(importlib.import_module(distribution), "__version__", UNKNOWN))
