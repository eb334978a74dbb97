"""Which code made which rows, as files hold it: digests, each with the number of rows in a row that have it.

Imports no NumPy, for those who only look at a session.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from typing import Any

from arbd.records import mapping, sequence, shown, text, unpack, whole
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, whole_frame
from arbd.spool.layout import SessionPaths

CodeRuns = list[tuple[str, int]]
# The last frame of `results.msgpack`: where its index is, and how long.
TRAILER = struct.Struct(">QQ")
_CODE = re.compile(r"[0-9a-f]{16}|")


def read_code_runs(plain: Any, n: int) -> CodeRuns:
    """The runs of n rows; ValueError when it is none."""
    runs = []
    for run in sequence(plain, "the code"):
        digest, count = sequence(run, "a run of rows", 2)
        if not _CODE.fullmatch(text(digest, "a digest")):
            raise ValueError(f"code {shown(digest)}")
        runs.append((digest, whole(count, "a number of rows", 1, n)))
    if sum(count for _, count in runs) != n:
        raise ValueError(f"code of other rows than the {n} that there are")
    return runs


def counts_of(runs: CodeRuns) -> dict[str, int]:
    """Rows by digest."""
    found: Counter[str] = Counter()
    for digest, count in runs:
        found[digest] += count
    return dict(found)


def stored_code_counts(files: Files, paths: SessionPaths) -> dict[str, int] | None:
    """Rows by digest of a session's compacted results; None where there are none, or none that can be read."""
    try:
        reader = files.reader(paths.results)
        length = HEADER.size + TRAILER.size
        trailer = whole_frame(reader.read(max(0, reader.size - length), length))
        offset, length = TRAILER.unpack(trailer or b"")
        payload = whole_frame(reader.read(offset, min(length, reader.size)))
        index = mapping(unpack(payload or b""), "the index")
        rows = whole(index["rows"], "the number of rows")
        return counts_of(read_code_runs(index["code"], rows)) if "code" in index else {"": rows}
    except (OSError, ValueError, KeyError, struct.error):
        return None
