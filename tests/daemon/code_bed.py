"""Strategies whose every part tells in its results which edit of it ran, on one or two hosts, for tests of code identity."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from arbd.job.code import MODULE, expected_parts
from arbd.job.stored import read_spec
from arbd.results.columns import RowRules
from arbd.results.merge import Merge
from arbd.results.session_code import SessionCode
from arbd.spool.layout import SpoolLayout

# All of one length, so that an edit changes neither size nor, where it is set back, time.
BODIES = {
    "kit": "V = {v}\n",
    "kit.sizes": "V = {v}\n",
    "kit.late": "V = {v}\n",
    "edited": """V = {v}
import kit, plain, time
from kit import sizes
def objective(params, trial):
    time.sleep(0.005)
    told = {{"value": params["x"], "edited": V, "kit": kit.V, "plain": plain.V, "kit.sizes": sizes.V}}
    if trial.iteration % 5 == 0:
        from kit import late
        told["kit.late"] = late.V
    return told
""",
    "plain": "V = {v}\n",
}
FILES = {
    "kit": "kit/__init__.py",
    "kit.sizes": "kit/sizes.py",
    "kit.late": "kit/late.py",
    "edited": "edited.py",
    "plain": "plain.py",
}


@dataclass
class EditedCode:
    """Folders of objectives of several hosts; `versions` is by content what its results say."""

    folders: tuple[Path, ...]
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    last: int = 1_000_000

    def __post_init__(self) -> None:
        for module in BODIES:
            self.edit(module, self.folders)

    def edit(self, module: str, folders: tuple[Path, ...], *, keep_time: bool = False) -> int:
        """Another version of a module in some folders, by replacing or rewriting the file."""
        self.last += 1
        text = BODIES[module].format(v=self.last)
        self.versions[module, hashlib.sha256(text.encode()).hexdigest()] = self.last
        for folder in folders:
            path = folder / FILES[module]
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.stat() if path.exists() else None
            if self.last % 2 and before is not None:
                # In place, in one write of the same size: nobody reads a half of it.
                with path.open("r+b", buffering=0) as file:
                    file.write(text.encode())
            else:
                new = path.with_suffix(".new")
                new.write_text(text)
                new.replace(path)
            if keep_time and before is not None:
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return self.last

    def same_everywhere(self, chance: random.Random) -> dict[str, int]:
        """One version of everything on all hosts; what results have to say then."""
        return {module: self.edit(module, self.folders, keep_time=chance.random() < 0.5) for module in BODIES}


def rows_with_code(layout: SpoolLayout, session_id: str) -> Iterator[tuple[dict[str, float], dict[str, str]]]:
    """Of each row that counts what it says, and what its code is said to be."""
    files, paths = layout.files(), layout.session(session_id)
    spec = read_spec(files, paths)
    code = SessionCode(files, paths, expected_parts(spec))
    for group in Merge(files, paths, RowRules.of(spec)).groups():
        for i, digest in enumerate(group.rows.codes.tolist()):
            record = code.with_digest(digest.decode())
            assert record is not None, f"nobody tells what code {digest!r} is"
            said = {name: float(column[i]) for name, column in group.rows.metrics.items()}
            yield said, {part.removeprefix(MODULE): digest for part, digest in record.parts.items()}


def assert_rows_are_of_their_code(layout: SpoolLayout, session_id: str, edited: EditedCode) -> int:
    """Every part that a row tells the version of is of the digest that its code names; how many rows there are."""
    count = 0
    for said, parts in rows_with_code(layout, session_id):
        count += 1
        for module in BODIES:
            version = said.get(module, float("nan"))
            if version == version:
                assert edited.versions[module, parts[module]] == version, f"{module} of {session_id}: {said}"
    return count
