"""The same work in arbd and in Optuna, as a person writes it: lines of code by step, and the seconds of the whole script.

    python benchmarks/side_by_side.py [--lines]

The scripts are `docs/examples/python/side_by_side_*.py`. A line of code is one that is neither empty nor a comment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "examples" / "python"
PEERS = ("arbd", "optuna")


def script(peer: str) -> Path:
    """The script of one of the two."""
    return FOLDER / f"side_by_side_{peer}.py"


def lines(peer: str) -> dict[str, int]:
    """Lines of code of a script, by step."""
    found: dict[str, int] = {}
    step = ""
    for line in script(peer).read_text().splitlines():
        if line.startswith("# "):
            step = line.removeprefix("# ").partition(";")[0]
            found[step] = 0
        elif line.strip():
            found[step] += 1
    return found


def run(peer: str, folder: Path) -> subprocess.Popen[str]:
    """Start a script in a folder of its own."""
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "ARBD_CONFIG": str(folder / "arbd.yaml")}
    (folder / "arbd.yaml").write_text(f"cache_dir: {folder}/cache\n")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script(peer))], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", action="store_true", help="count, and run nothing")
    given = parser.parse_args()
    counts = {peer: lines(peer) for peer in PEERS}
    print(f"{'lines of code':32} {'arbd':>6} {'optuna':>6}")
    for step in counts["arbd"]:
        print(f"{step:32} {counts['arbd'][step]:6} {counts['optuna'][step]:6}")
    print(f"{'together':32} {sum(counts['arbd'].values()):6} {sum(counts['optuna'].values()):6}")
    if given.lines:
        return
    print()
    for peer in PEERS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            out, _ = run(peer, Path(folder)).communicate()
            print(f"{peer}: {time.monotonic() - start:.1f} s for the script; it printed {' / '.join(out.split())}")


if __name__ == "__main__":
    main()
