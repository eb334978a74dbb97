"""`bin/environment` makes what runs from its own checkout, once, and anew where the checkout is a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import REPOSITORY

# Builds without anything from elsewhere what `pip install -e` asks for: a link to the checkout, and a command.
BACKEND = """
import zipfile
from pathlib import Path
INFO = "arbd-1.dist-info"
def build_editable(folder, config_settings=None, metadata_directory=None):
    parts = {
        "arbd_link.pth": f"{Path.cwd()}\\n",
        f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: arbd\\nVersion: 1\\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{INFO}/entry_points.txt": "[console_scripts]\\narbctl = arbd:main\\n",
        f"{INFO}/RECORD": "",
    }
    with zipfile.ZipFile(Path(folder) / "arbd-1-py3-none-any.whl", "w") as wheel:
        for name, text in parts.items():
            wheel.writestr(name, text)
    return "arbd-1-py3-none-any.whl"
"""
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "arbd"
version = "1"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Scripts name their interpreter in their first line, which has a limit: pytest's own folders are too deep.
    with TemporaryDirectory(prefix="arbd-") as made:
        yield Path(made)


@pytest.fixture
def checkout(folder: Path) -> Path:
    root = folder / "first"
    (root / "bin").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "bin" / "environment", root / "bin" / "environment")
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "arbd").mkdir()
    (root / "arbd" / "__init__.py").write_text("def main():\n    print(__file__)\n")
    return root


def environment(root: Path) -> str:
    """Run it; what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(
        [root / "bin" / "environment"], env={**kept, "PYTHON": sys.executable, "PIP_NO_INDEX": "1"}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def runs_from(root: Path) -> Path:
    """Where the code is that its command runs."""
    done = subprocess.run(
        [root / ".venv" / "bin" / "arbctl"], capture_output=True, text=True, timeout=60, check=True, cwd="/"
    )
    return Path(done.stdout.strip()).parent.parent


@pytest.mark.bed
def test_a_checkout_runs_its_own_code_and_so_does_a_copy_of_it(checkout: Path, folder: Path) -> None:
    assert "making" in environment(checkout)
    assert runs_from(checkout) == checkout
    assert environment(checkout) == ""

    copied = folder / "copied"
    shutil.copytree(checkout, copied, symlinks=True)
    assert runs_from(copied) == checkout, "a copy that was not made anew runs another's code"
    assert "making" in environment(copied)
    assert (runs_from(copied), runs_from(checkout)) == (copied, checkout)
    assert (environment(copied), environment(checkout)) == ("", "")
