"""Runs a notebook from a fresh spool and keeps what its cells print and show.

    python docs/run_notebook.py docs/first_search.ipynb              the outputs in the file are those of this run
    python docs/run_notebook.py --output /tmp/n.ipynb docs/...       they go to another file

Needs no Jupyter: each cell's code runs in order in one namespace, and its last expression is shown, as SVG or HTML where
the value has such a form. A cell that raises ends the run with status 1. Nothing in the outputs is written by hand.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the notebooks named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the notebook goes, by default back where it was")
    parser.add_argument("notebook", type=Path)
    given = parser.parse_args()
    notebook = json.loads(given.notebook.read_text())
    with tempfile.TemporaryDirectory(prefix="arbd-notebook-") as folder:
        (Path(folder) / "arbd.yaml").write_text(f"cache_dir: {folder}/cache\n")
        os.environ |= {"XDG_DATA_HOME": folder, "ARBD_CONFIG": f"{folder}/arbd.yaml"}
        # Its figures would bring megabytes of script of their own; without it charts are SVG.
        sys.modules["plotly"] = None  # type: ignore[assignment]
        run(notebook)
    (given.output or given.notebook).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def run(notebook: dict[str, Any]) -> None:
    """Run all cells of code, and put their outputs into them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        number += 1
        try:
            cell |= {"execution_count": number, "outputs": outputs("".join(cell["source"]), names, number)}
        except Exception:
            traceback.print_exc()
            sys.exit(f"cell {number} failed")


def outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell printed, and what its last expression is."""
    parsed = ast.parse(source)
    last = parsed.body.pop() if parsed.body and isinstance(parsed.body[-1], ast.Expr) else None
    found: list[dict[str, Any]] = []
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(parsed, f"<cell {number}>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), names) if last else None
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        for name, kind in (("_repr_svg_", "image/svg+xml"), ("_repr_html_", "text/html")):
            if (form := getattr(value, name, None)) is not None:
                data = {kind: form().splitlines(keepends=True), **data}
        found.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return found


if __name__ == "__main__":
    main()
