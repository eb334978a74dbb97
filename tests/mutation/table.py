"""What `bin/mutate` printed, as the table of docs/mutation.md: of each module how many mutants died, and what lived why.

bin/mutate > mutants.jsonl; python -m tests.mutation.table mutants.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mirrored import ROOT
from tests.mutation.explained import why_it_lives
from tests.mutation.operators import mutants_of

PAGE = ROOT / "docs" / "mutation.md"
BEGIN, END = "<!-- mutants: begin -->\n", "<!-- mutants: end -->\n"


@dataclass(frozen=True, slots=True)
class Played:
    """A mutant that was played: `index` tells those of a line apart that read alike."""

    file: str
    index: int
    line: int
    was: str
    change: str


def outcomes(lines: Iterable[str]) -> dict[Played, bool]:
    """Which mutants were killed, by any of the ways of running tests. What is no mutant of its file any more is left out."""
    found: dict[Played, bool] = {}
    there: dict[str, set[tuple[str, str]]] = {}
    for line in lines:
        told = json.loads(line)
        if "killed" in told and "file" in told:
            name = told["file"]
            if name not in there:
                there[name] = {(mutant.was, mutant.change) for mutant in mutants_of((ROOT / name).read_text())}
            if (told["was"], told["change"]) not in there[name]:
                continue
            mutant = Played(told["file"], told["index"], told["line"], told["was"], told["change"])
            found[mutant] = found.get(mutant, False) or told["killed"]
    return found


def table(found: Mapping[Played, bool], why: Mapping[tuple[str, str, str], str]) -> str:
    """As the page has it."""
    rows = ["| module | mutants | killed | live, explained | live, unexplained |", "| --- | --- | --- | --- | --- |"]
    lived = [mutant for mutant, killed in found.items() if not killed]
    explained = [mutant for mutant in lived if (mutant.file, mutant.was, mutant.change) in why]
    for name in [*sorted({mutant.file for mutant in found}), ""]:
        counts = [sum(name in ("", mutant.file) for mutant in part) for part in (found, lived, explained)]
        of, live, told = counts
        killed = f"{of - live} ({(of - live) / of:.0%})"
        rows.append(f"| {f'`{name}`' if name else 'all'} | {of} | {killed} | {told} | {live - told} |")
    text = "\n".join(rows) + "\n"
    if explained:
        text += "\nWhat lived:\n\n"
    for mutant in sorted(explained, key=lambda mutant: (mutant.file, mutant.line, mutant.change)):
        text += f"- `{Path(mutant.file).name}`, `{mutant.was}`: {why[mutant.file, mutant.was, mutant.change]}\n"
    return text


def main() -> None:
    """Command line."""
    found = outcomes(line for name in sys.argv[1:] for line in Path(name).read_text().splitlines())
    page = PAGE.read_text()
    PAGE.write_text(page.partition(BEGIN)[0] + BEGIN + table(found, why_it_lives()) + END + page.partition(END)[2])


if __name__ == "__main__":
    main()
