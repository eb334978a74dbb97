"""Values as JSON can hold them, and a parameter's value as text: one rule for every output.

JSON has no NaN and no infinity. An undefined or infinite metric is null. A parameter is what a job chose, and must not be
lost: an infinite one is the text "inf" or "-inf", which `float` reads back, and null is null and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Mappings of a document that hold parameters by name.
PARAMETERS = ("params", "parameters", "fixed")
NULL = "null"


def text_of(value: object) -> str:
    """A parameter's value in a cell, a variable, a listing: `null` and `inf` as JSON and Python call them."""
    return NULL if value is None else str(value)


def infinite_text(value: float) -> object:
    """For JSON."""
    return str(value)


def as_plain(document: Any, infinite: Callable[[float], object] = infinite_text) -> Any:
    """A document as JSON can hold it; tuples become lists, NumPy's scalars numbers, paths texts.

    `infinite` says what infinite parameters become, those in mappings of the names `PARAMETERS`.
    """
    if isinstance(document, Mapping):
        return {
            str(name): _parameters(item, infinite) if name in PARAMETERS else as_plain(item, infinite)
            for name, item in document.items()
        }
    if isinstance(document, list | tuple):
        return [as_plain(item, infinite) for item in document]
    if isinstance(document, float):
        return float(document) if math.isfinite(document) else None
    if hasattr(document, "item"):
        return as_plain(document.item(), infinite)
    return str(document) if isinstance(document, Path) else document


def _parameters(item: Any, infinite: Callable[[float], object]) -> Any:
    if not isinstance(item, Mapping):
        return as_plain(item, infinite)
    return {
        str(name): infinite(value) if isinstance(value, float) and math.isinf(value) else as_plain(value, infinite)
        for name, value in item.items()
    }


def shown_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for a page: as JSON can hold them, null as a word, so that it is no empty cell."""
    plain: dict[str, Any] = as_plain({"params": params})["params"]
    return {name: NULL if value is None else value for name, value in plain.items()}
