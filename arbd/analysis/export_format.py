"""What an export format is: the declaration in which it says how it is written, and what several of them share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbd.analysis.table import ResultTable
from arbd.atomic_file import whole_file

STDOUT = Path("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """`summary`: one line for people. `write`: all rows into a file that appears whole, by rename; how many there are.

    `stream`: it can be written to standard output, `STDOUT`. `blocks`: it has a place for return blocks.
    """

    summary: str
    write: Callable[[ResultTable, Path], int]
    stream: bool = False
    blocks: bool = False


def streamed(lines: Callable[[ResultTable], Iterable[bytes]]) -> Callable[[ResultTable, Path], int]:
    """The `write` of a format that is made piece by piece."""

    def write(table: ResultTable, output: Path) -> int:
        if output == STDOUT:
            for piece in lines(table):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            with whole_file(output) as path, path.open("wb") as file:
                file.writelines(lines(table))
        return len(table)

    return write


def more_columns(table: ResultTable) -> dict[str, list[bool]]:
    """`pareto_front` of a session with several objectives."""
    return {"pareto_front": table.ranking.in_front.tolist()} if len(table.spec.metrics) > 1 else {}


def documents(table: ResultTable) -> Iterator[dict[str, Any]]:
    """One mapping per row, with everything that is known of it."""
    more = more_columns(table)
    for position, result in enumerate(table.results(range(len(table)))):
        document = result.to_plain() | {name: column[position] for name, column in more.items()}
        reports = table.rows.reports.get(result.iteration)
        if reports:
            document["reports"] = [list(step) for step in reports]
        if table.rows.blocks is not None:
            document["blocks"] = table.rows.blocks[position].tolist()
        yield document
