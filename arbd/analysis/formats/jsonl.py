"""JSON lines: one object per row."""

from __future__ import annotations

import json
from collections.abc import Iterator

from arbd.analysis.export_format import ExportFormat, documents, streamed
from arbd.analysis.table import ResultTable
from arbd.plain_json import as_plain


def _lines(table: ResultTable) -> Iterator[bytes]:
    for document in documents(table):
        yield (json.dumps(as_plain(document), ensure_ascii=False) + "\n").encode()


FORMAT = ExportFormat(summary="One JSON object per iteration.", write=streamed(_lines), stream=True)
