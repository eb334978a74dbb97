"""What an export format is: the declaration in which it says how it is written, and what several of them share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from arbd.analysis.table import ResultTable
from arbd.atomic_file import whole_file
from arbd.errors import UsageError
from arbd.terminal_text import escape_control_chars
from arbd.values import dataclass

STDOUT = Path("-")
# Which rows of a session with several objectives no other one beats.
FRONT = "pareto_front"


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
            shown = _for_terminal if sys.stdout.isatty() else _as_is
            for piece in lines(table):
                sys.stdout.buffer.write(shown(piece))
            sys.stdout.buffer.flush()
        else:
            with whole_file(output) as path, path.open("wb") as file:
                file.writelines(lines(table))
        return len(table)

    return write


def _as_is(piece: bytes) -> bytes:
    return piece


def _for_terminal(piece: bytes) -> bytes:
    """UsageError for what is no text; a person who looks at a table is shown what a program would be given unseen."""
    try:
        return escape_control_chars(piece.decode()).encode()
    except UnicodeDecodeError:
        raise UsageError("this format is not for a terminal: pipe it into a program, or name a file") from None


def more_columns(table: ResultTable) -> dict[str, list[bool]]:
    """`pareto_front` of a session with several objectives."""
    return {FRONT: table.ranking.in_front.tolist()} if len(table.spec.metrics) > 1 else {}


def documents(table: ResultTable) -> Iterator[dict[str, Any]]:
    """One mapping per row, with everything that is known of it."""
    more = more_columns(table)
    position = 0
    for rows, results in table.parts(blocks=table.blocks):
        for at, result in enumerate(results):
            document = result.to_plain() | {name: column[position] for name, column in more.items()}
            reports = rows.reports.get(result.iteration)
            if reports:
                document["reports"] = [list(step) for step in reports]
            if rows.blocks is not None:
                document["blocks"] = rows.blocks[at].tolist()
            yield document
            position += 1
