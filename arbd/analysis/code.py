"""Which code made a session's rows, for people: by era, with what it consists of and how many rows it made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arbd.errors import UsageError
from arbd.job.code import COMMAND, ENGINE, MODULE, NUMPY, PYTHON, SHORT, base_parts, differences
from arbd.results.session_code import SessionCode, accepted_parts, engine_files
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.values import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CodeShare:
    """The code of one era, and how many rows it made; `rows` None where nobody counted.

    `era` is None for rows that do not tell, and for digests that no record explains.
    """

    digest: str
    era: int | None
    parts: Mapping[str, str]
    rows: int | None

    def document(self) -> dict[str, Any]:
        """Stable keys for scripts."""
        return {"digest": self.digest, "era": self.era, "rows": self.rows, "parts": dict(self.parts)}

    def text(self) -> str:
        """In one line."""
        if not self.parts:
            return f"{self.digest} ({'nothing is loaded yet' if self.era else 'the rows do not tell more'})"
        names = {ENGINE: "arbd", PYTHON: "Python", NUMPY: "NumPy"}
        versions = [f"{name} {self.parts[part][:SHORT]}" for part, name in names.items() if part in self.parts]
        files = [part.removeprefix(MODULE).removeprefix(COMMAND) for part in self.parts if part not in names]
        return f"{self.digest} ({', '.join([*versions, *sorted(files)])})"


def code_shares(code: SessionCode, counts: Mapping[str, int] | None) -> list[CodeShare]:
    """The eras of a session, the current one last, and before them rows that no era explains."""
    by_era: Counter[int | str] = Counter()
    for digest, count in (counts or {}).items():
        era = code.era_of(digest)
        by_era[era if era is not None else digest or UNKNOWN] += count
    strange = [CodeShare(name, None, {}, by_era[name]) for name in by_era if isinstance(name, str)]
    eras = [code.last_of(era) for era in range(code.era + 1)]
    known = [
        CodeShare(record.digest, record.era, record.parts, by_era[record.era] if counts is not None else None)
        for record in eras
        # Jobs of earlier versions were accepted with no code.
        if record.parts or record.era
    ]
    return [*strange, *known]


def is_mixed(shares: Sequence[CodeShare]) -> bool:
    """True when rows of more than one code stand side by side."""
    return sum(bool(share.rows) for share in shares) > 1


def mixed_text(session_id: str, shares: Sequence[CodeShare]) -> str:
    """What to say of a mixed session, and how it is mended."""
    made = "; ".join(f"{share.rows:,} by {share.text()}" for share in shares if share.rows)
    old = next(share for share in shares if share.rows)
    return (
        f"results of different code stand side by side: {made}. `arbctl retry {session_id} --code {old.digest}` runs those "
        "of that code again with the newest"
    )


def chosen(code: SessionCode, shares: Sequence[CodeShare], given: str) -> CodeShare:
    """The code that somebody names by the beginning of its digest; UsageError when there is none, or several.

    An era is known by every digest that it had: it may have got a part more since somebody looked.
    """
    found = [
        share
        for share in shares
        if given
        and any(
            digest.startswith(given)
            for digest in (share.digest, *(() if share.era is None else code.digests_of(share.era)))
        )
    ]
    if len(found) != 1:
        known = ", ".join(share.digest for share in shares)
        raise UsageError(f"--code {given!r}: no one code of this session; there are {known}")
    return found[0]


def differs_here(files: Files, layout: SpoolLayout, paths: SessionPaths, folders: Sequence[Path]) -> list[str]:
    """What this host has otherwise than the session's code; a module that is not here at all is nobody's fault."""
    expected = SessionCode(files, paths, accepted_parts(files, paths)).current.parts
    here = base_parts()
    own_files = (
        engine_files(files, layout, expected[ENGINE]) if expected.get(ENGINE, here[ENGINE]) != here[ENGINE] else {}
    )
    return [difference.text for difference in differences(expected, here, folders, own_files)]
