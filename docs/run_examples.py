"""Runs the commands of the documentation and puts what they print where it is shown.

    python docs/run_examples.py README.md ...
    python docs/run_examples.py --only reading.py docs/arbctl.md    blocks whose command has this text, and no others
    python docs/run_examples.py --check         is every block of every document filled, and of the command above it?

A block to run is a comment `<!-- run: COMMAND -->` followed by a ```console block, which is replaced. Commands run in
order, with bash, at the top of the checkout, with this environment's arbd and a fresh spool; `$DATA` is the folder
of recorded quotes (see tests/conftest.py). Nothing in such a block is written by hand.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- run: (.*?) -->\n)```console\n.*?```", re.DOTALL)


def main() -> None:
    """Run the blocks of every file named, or check that all have been run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="run nothing; exit 1 when a block was not made by running it"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only blocks whose command has this text")
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    if given.check:
        sys.exit(check())
    with tempfile.TemporaryDirectory(prefix="arbd-docs-") as name:
        spool = Path(name) / "spool"
        spool.mkdir()
        (Path(name) / "arbd.yaml").write_text(f"cache_dir: {name}/cache\nworker_id: host-a\n")
        data = str(Path(os.environ.get("ARBD_TEST_DATA") or ROOT.parent / "shared" / "data").resolve())
        environment = {
            **os.environ, "ARBD_SPOOL": str(spool), "ARBD_CONFIG": f"{name}/arbd.yaml", "DATA": data, "COLUMNS": "110",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip

        # As on a host where arbd was installed.
        subprocess.run(["arbd", "compile"], env=environment, check=True, stdout=subprocess.DEVNULL)

        def run(found: re.Match[str]) -> str:
            command = found.group(2)
            if given.only not in command:
                return found.group(0)
            sys.stderr.write(f"$ {command}\n")
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=environment, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            printed = done.stdout.replace(name, "/tmp/demo").replace(data, "$DATA").rstrip()
            if not printed:
                sys.exit(f"{command} printed nothing and ended with {done.returncode}")
            return f"{found.group(1)}```console\n$ {command}\n{printed}\n```"

        for path in given.files:
            path.write_text(BLOCK.sub(run, path.read_text()))


def check() -> str | int:
    """What is wrong with the blocks of all documents, or 0."""
    wrong = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        for found in BLOCK.finditer(text):
            shown = found.group(0).removeprefix(found.group(1)).splitlines()
            if len(shown) < 4 or shown[1] != f"$ {found.group(2)}":
                wrong.append(f"{path.relative_to(ROOT)}: the block of {found.group(2)!r} was not made by running it")
        if text.count("<!-- run: ") != len(BLOCK.findall(text)):
            wrong.append(f"{path.relative_to(ROOT)}: a command without a block")
    return "\n".join(wrong) or 0


if __name__ == "__main__":
    main()
