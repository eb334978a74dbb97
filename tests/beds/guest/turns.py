"""Inside a virtual machine: takes a lock again and again, and writes down each time that it came and went.

`python turns.py FOLDER NAME TURNS`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from arbd.spool.files import Files
from arbd.spool.frames import encode_frame


def main(folder: Path, name: str, turns: int) -> None:
    """Two appends under each hold; between them nobody else's may stand. Every other turn the lock file was kept open."""
    files = Files()
    kept = files.system.kept_lock(folder / "turns.lock")
    for turn in range(turns):
        with files.lock(folder / "turns.lock", 300.0, kept if turn % 2 else None):
            files.append(folder / "turns", encode_frame(f"{name} {turn} in".encode()))
            files.append(folder / "turns", encode_frame(f"{name} {turn} out".encode()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
