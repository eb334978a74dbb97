"""Which code made which rows, as files hold it: digests, each with the number of rows in a row that have it.

Imports no NumPy, for those who only look at a session.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence

from msgspec import UNSET

from arbd.errors import VersionError
from arbd.results.records import INDEX, CodeRun
from arbd.spool.files import Files
from arbd.spool.frames import HEADER, whole_frame
from arbd.spool.layout import SessionPaths

CodeRuns = list[tuple[str, int]]
# The last frame of `results.msgpack`: where its index is, and how long.
TRAILER = struct.Struct(">QQ")


def code_of(runs: Sequence[CodeRun], n: int) -> CodeRuns:
    """The runs of n rows; ValueError when they are of more or fewer."""
    if sum(run.count for run in runs) != n:
        raise ValueError(f"code of other rows than the {n} that there are")
    return [(run.digest, run.count) for run in runs]


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
        index = INDEX.decode(payload or b"")
        return {"": index.rows} if index.code is UNSET else counts_of(code_of(index.code, index.rows))
    except (OSError, ValueError, VersionError, struct.error):
        return None
