"""The schema of everything that arbd writes for others to read, and the one check of it.

Keeps: what another version wrote is told as such, and never taken for damage that one could repair, run again or delete.
A record says which schema it is of and which version of arbd wrote it, so that whoever cannot read it knows what can.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arbd import __version__
from arbd.errors import VersionError
from arbd.values import dataclass

WRITER = "by"
_VERSION_OF_ARBD = re.compile(r"[0-9A-Za-z.+!-]{1,40}")


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of record: its name for people, the schema number that this version writes and reads, and where it stands.

    `unmarked` is the schema of a record without a number, for kinds that once had none; `also` are
    earlier schemas that this version reads.
    """

    what: str
    version: int
    key: str = "v"
    unmarked: int | None = None
    also: frozenset[int] = frozenset()

    @property
    def earliest(self) -> int:
        """The number of a record that says nothing that is new since: whoever reads that one can read it."""
        return min({self.version, *self.also})

    def stamp(self, version: int | None = None) -> dict[str, Any]:
        """What a record of this kind begins with; `version` where an earlier one says it all."""
        return {self.key: self.version if version is None else version, WRITER: __version__}

    def require(self, record: Mapping[Any, Any], path: Path | str) -> None:
        """VersionError, which names `path`, unless the record is of a schema that this version reads."""
        found = record.get(self.key, self.unmarked)
        # True is 1 to Python; a record in which it stands was not written by this version.
        if type(found) is not int or found not in {self.version, *self.also}:
            number = found if type(found) is int else None
            raise VersionError(path, self.what, self.version, number, writer_of(record))


def writer_of(record: Mapping[Any, Any]) -> str:
    """The version of arbd that wrote a record; '' when it does not say so."""
    found = record.get(WRITER)
    return found if isinstance(found, str) and _VERSION_OF_ARBD.fullmatch(found) else ""


# A change to one of these that an earlier version would misread gets the next number, a line in CHANGELOG.md, and a
# golden spool of what was written until then.
LEDGER = Schema("ledger", 2, also=frozenset({1}))
JOB = Schema("job", 2, key="version", also=frozenset({1}))
SEGMENT = Schema("segment", 2, also=frozenset({1}))
RESULTS = Schema("results", 3, also=frozenset({2}))
GENERATION = Schema("generation", 1)
HEARTBEAT = Schema("heartbeat", 1)
BOOKMARK = Schema("bookmark", 1)
ARCHIVE = Schema("archive", 1, unmarked=1)
CODE = Schema("code", 1)
TRIALS = Schema("trials", 1)
INDEX = Schema("index", 1)
RETENTION = Schema("retention log", 1)
NOTICE = Schema("notice log", 1)
STANDING = Schema("standing job", 1)
ORDER = Schema("operations log", 1)
ALL = (
    LEDGER, JOB, SEGMENT, RESULTS, GENERATION, HEARTBEAT, BOOKMARK, ARCHIVE, CODE, TRIALS, INDEX, RETENTION, NOTICE,
    STANDING, ORDER,
)  # fmt: skip
