"""JSON lines: one object per row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from arbd.analysis.export_format import ExportFormat, documents, streamed
from arbd.analysis.table import ResultTable


def _lines(table: ResultTable) -> Iterator[bytes]:
    for document in documents(table):
        yield (json.dumps(_finite(document), ensure_ascii=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """JSON has no NaN: an undefined number is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMAT = ExportFormat(summary="One JSON object per iteration.", write=streamed(_lines), stream=True)
