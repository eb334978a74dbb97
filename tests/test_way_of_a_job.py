"""docs/architecture.md names every file that a job passes on its way to its session, and they do not become more."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY
from tests.way_of_a_job import BEGIN, END, PAGE

# Whoever adds a file to the way takes another from it.
MOST = 46


def test_the_page_lists_the_files_on_the_way_of_a_job() -> None:
    # A process of its own: what objectives left in that of other tests looks at every import.
    command = [sys.executable, "-m", "tests.way_of_a_job", "--print"]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    told = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    # Where a file comes into play for the first time may depend on what is remembered of another job.
    assert entries(told) == entries(found), "python -m tests.way_of_a_job"
    assert len(entries(found)) <= MOST


def entries(text: str) -> list[str]:
    return sorted(entry.strip() for entry in f"\n{text}".split("\n- ")[1:])
