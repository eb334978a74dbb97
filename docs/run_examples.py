"""Runs the commands of the documentation and puts what they print where it is shown.

    python docs/run_examples.py README.md ...

A block to run is a comment `<!-- run: COMMAND -->` followed by a ```console block, which is replaced. Commands run in
order, with bash, at the top of the checkout, with this environment's arbd and a fresh spool; `$DATA` is the folder
of recorded quotes (see tests/conftest.py). Nothing in such a block is written by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- run: (.*?) -->\n)```console\n.*?```", re.DOTALL)


def main() -> None:
    """Run the blocks of every file named."""
    with tempfile.TemporaryDirectory(prefix="arbd-docs-") as name:
        spool = Path(name) / "spool"
        spool.mkdir()
        (Path(name) / "arbd.yaml").write_text(f"cache_dir: {name}/cache\nworker_id: host-a\n")
        data = os.environ.get("ARBD_TEST_DATA") or str(ROOT.parent / "shared" / "data")
        environment = {
            **os.environ, "ARBD_SPOOL": str(spool), "ARBD_CONFIG": f"{name}/arbd.yaml", "DATA": data, "COLUMNS": "110",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip

        def run(found: re.Match[str]) -> str:
            command = found.group(2)
            sys.stderr.write(f"$ {command}\n")
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            printed = (done.stdout + done.stderr).replace(name, "/tmp/demo").replace(data, "$DATA")
            return f"{found.group(1)}```console\n$ {command}\n{printed.rstrip()}\n```"

        for path in map(Path, sys.argv[1:]):
            path.write_text(BLOCK.sub(run, path.read_text()))


if __name__ == "__main__":
    main()
