"""JSON lines of benchmarks as a table: `python benchmarks/from_enter.py | python benchmarks/as_table.py [COLUMN ...]`.

One line for each measurement, one column for each key, in the order in which they come, or those that are named. What is
itself a mapping is one column for each of its keys; what a line does not tell is left empty.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def flat(line: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The cells of a line by column."""
    cells: dict[str, str] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            cells |= flat(value, f"{prefix}{name}.")
        else:
            cells[prefix + name] = (
                f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
            )
    return cells


def table(lines: list[dict[str, str]], columns: list[str]) -> str:
    """The lines below one another, numbers to the right."""
    rows = [columns, *([line.get(name, "") for name in columns] for line in lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    numbers = [all(_is_number(row[at]) for row in rows[1:]) for at in range(len(columns))]
    shown = []
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numbers, strict=True)
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)


def _is_number(cell: str) -> bool:
    return not cell or cell.replace(",", "").replace(".", "", 1).replace("-", "", 1).isdigit()


def main() -> None:
    """From standard input."""
    lines = [flat(json.loads(text)) for text in sys.stdin if text.startswith("{")]
    columns = sys.argv[1:] or list(dict.fromkeys(name for line in lines for name in line))
    sys.stdout.write(table(lines, columns) + "\n")


if __name__ == "__main__":
    main()
