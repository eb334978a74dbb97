"""msgpack: a plain stream of one map per row, as `msgpack.Unpacker` reads it."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack

from arbd.analysis.export_format import ExportFormat, documents, streamed
from arbd.analysis.table import ResultTable


def _maps(table: ResultTable) -> Iterator[bytes]:
    for document in documents(table):
        yield bytes(msgpack.packb(document))


FORMAT = ExportFormat(
    summary="A stream of one map per iteration, return blocks too.", write=streamed(_maps), stream=True, blocks=True
)
