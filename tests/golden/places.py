"""Where golden spools lie, and where their data has to be when something of theirs is evaluated again.

A resolved job names its data by absolute path, so a golden spool is made below a fixed place, and whoever evaluates
its sessions puts the files there again.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent / "spools"
HOME, SPOOL, ARCHIVES, EXPECTED = "home", "spool", "archives", "expected.json"


def names() -> list[str]:
    """The golden folders, oldest first as far as their names say."""
    return sorted(path.name for path in GOLDEN.iterdir() if (path / EXPECTED).is_file())


def home_of(name: str) -> Path:
    """The place that the jobs of a golden spool name: data, objectives, job files."""
    return Path("/tmp") / f"arbd-golden-{name}"


def expected(name: str) -> dict[str, Any]:
    """What the version that wrote a golden spool said of it. NaN and infinities stand as Python writes them."""
    found: dict[str, Any] = json.loads((GOLDEN / name / EXPECTED).read_text())
    return found


def put_home(name: str) -> Path:
    """Put the files that the jobs name where they name them. Others may do so, and use them, at the same time."""
    source, home = GOLDEN / name / HOME, home_of(name)
    for path in sorted(source.rglob("*")):
        target = home / path.relative_to(source)
        if not path.is_file() or (target.is_file() and target.read_bytes() == path.read_bytes()):
            continue
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(path, new)
        new.chmod(path.stat().st_mode & 0o755)
        new.replace(target)
    return home


def copy_spool(name: str, to: Path) -> Path:
    """A copy of a golden spool to work on, with the empty folders that version control does not keep."""
    shutil.copytree(GOLDEN / name / SPOOL, to)
    for folder in expected(name)["empty_folders"]:
        (to / folder).mkdir(parents=True, exist_ok=True)
    return to
