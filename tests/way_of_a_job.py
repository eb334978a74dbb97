"""The way of a job: which files of arbd run until its YAML in `incoming/` is a session, in the order in which they begin.

python -m tests.way_of_a_job            put the list into docs/architecture.md
python -m tests.way_of_a_job --print    print it
"""

from __future__ import annotations

import ast
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import arbd
from arbd.daemon.host.config import Config
from arbd.daemon.side.intake_process import Setup, look, make_intake, warm_up
from arbd.paper.market.synth import synth_profile
from arbd.paper.market.writers import write_quotes
from arbd.spool.arrivals import SUBMITTED_SUFFIX
from arbd.spool.held import Taker
from arbd.spool.layout import SpoolLayout
from arbd.spool.outcomes import Accepted
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- the way of a job: begin -->\n", "<!-- the way of a job: end -->\n"
SOURCES = Path(arbd.__file__).parent
# What data classes share, which the standard library would compile for each: nobody reads it to follow a job.
NO_PLACE = SOURCES / "values.py"
WHOLE_WORDS = {"break_long_words": False, "break_on_hyphens": False}
JOB = """\
data: [quotes.csv]
tuning: {method: random, max_iterations: 4, search_space: {min_spread_pct: {type: float, bounds: [0.05, 0.5]}}}
"""


def files_on_the_way(folder: Path) -> list[Path]:
    """Files of arbd with a function that runs while a job of a CSV file becomes a session, relative to the package."""
    layout = SpoolLayout(folder / "spool")
    layout.root.mkdir()
    layout.prepare()
    data = folder / "data"
    data.mkdir()
    write_quotes(synth_profile("brl", 1, 500), data / "quotes.csv")
    # Of a file that was written a moment ago, less is remembered.
    os.utime(data / "quotes.csv", ns=(10**18, 10**18))
    config = Config(spool=layout.root, data_dirs=(data,), cache_dir=folder / "cache")
    (layout.incoming / f"job{SUBMITTED_SUFFIX}").write_text(JOB)
    warm_up()
    intake = make_intake(Setup(config, Taker("w", 1), 0), lambda name: None)
    found: dict[Path, None] = {}
    accepted = False

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal accepted
        # What follows tidies up.
        accepted = accepted or frame.f_code is Accepted.__init__.__code__
        path = Path(frame.f_code.co_filename)
        # What runs when a module is imported says nothing of the way.
        if event == "call" and not accepted and frame.f_code.co_name != "<module>" and is_place(path):
            found.setdefault(path.relative_to(SOURCES))

    with _profiled(profile):
        looked, _ = look(intake)
    assert [type(outcome) for outcome in looked.outcomes] == [Accepted], looked
    return list(found)


def is_place(path: Path) -> bool:
    """True for a file that a reader comes to on the way."""
    return path != NO_PLACE and path.is_relative_to(SOURCES)


class _profiled:  # noqa: N801 - reads as a function
    def __init__(self, profile: Callable[[FrameType, str, Any], None]) -> None:
        self._profile = profile
        self._before = sys.getprofile()

    def __enter__(self) -> None:
        sys.setprofile(self._profile)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)


def listed(files: list[Path]) -> str:
    """As the page has it: what each file is for, in its own words."""
    lines = []
    for path in files:
        text = ast.get_docstring(ast.parse((SOURCES / path).read_text())) or ""
        lines.append(textwrap.fill(f"- `{path}`: {text.splitlines()[0]}", 120, subsequent_indent="  ", **WHOLE_WORDS))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    with tempfile.TemporaryDirectory() as folder:
        text = listed(files_on_the_way(Path(folder)))
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(text)
        return
    page = PAGE.read_text()
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}")


if __name__ == "__main__":
    main()
