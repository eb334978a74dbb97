"""The notebook of the documentation runs from a fresh spool, and shows what a run of it showed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "first_search.ipynb"


def kinds(path: Path) -> list[list[str]]:
    """Of each cell of code, what its outputs are."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return [
        [kind for output in cell["outputs"] for kind in (output.get("data") or {output["name"]: 0})] for cell in cells
    ]


def test_every_cell_runs_from_a_fresh_spool_and_shows_what_stands_in_the_document(tmp_path: Path) -> None:
    ran = tmp_path / "ran.ipynb"
    done = subprocess.run(
        [sys.executable, REPOSITORY / "docs/run_notebook.py", "--output", ran, NOTEBOOK],
        cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert kinds(ran) == kinds(NOTEBOOK)
    assert sum("image/svg+xml" in found for found in kinds(NOTEBOOK)) == 3
    text = ran.read_text()
    # The same search: what it found is the same to the bit, on any host.
    for cell, other in zip(json.loads(text)["cells"], json.loads(NOTEBOOK.read_text())["cells"], strict=True):
        assert cell["source"] == other["source"]
        if "session.best\n" in "".join(cell["source"]) + "\n" and len(cell["source"]) == 1:
            assert cell["outputs"] == other["outputs"]


def test_a_cell_that_raises_ends_the_run(tmp_path: Path) -> None:
    notebook = {
        "cells": [{"cell_type": "code", "source": ["1 / 0"], "metadata": {}}],
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook))
    done = subprocess.run(
        [sys.executable, REPOSITORY / "docs/run_notebook.py", tmp_path / "n.ipynb"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
