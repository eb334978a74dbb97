"""docs/architecture.md names every file that a job passes on its way to its session, and they do not become more."""

from __future__ import annotations

from pathlib import Path

from tests.way_of_a_job import BEGIN, END, PAGE, files_on_the_way, listed

# Whoever adds a file to the way takes another from it.
MOST = 47


def test_the_page_lists_the_files_on_the_way_of_a_job(tmp_path: Path) -> None:
    files = files_on_the_way(tmp_path)
    told = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    # Where a file comes into play for the first time may depend on what is remembered of another job.
    assert entries(told) == entries(listed(files)), "python -m tests.way_of_a_job"
    assert len(files) <= MOST


def entries(text: str) -> list[str]:
    return sorted(entry.strip() for entry in f"\n{text}".split("\n- ")[1:])
