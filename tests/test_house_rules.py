"""Rules of the house that no tool checks: sizes, the words of files, what every package says of itself."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MOST_LINES = 400
MOST_FUNCTION_LINES = 60
MODULES = sorted((REPOSITORY / "arbd").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_idea_of_bounded_size_and_says_which(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree) or not source.strip(), "the first line of a module says what it is for"
    assert len(source.splitlines()) <= MOST_LINES
    assert not [f"{name} has {lines} lines" for name, lines in functions(tree) if lines > MOST_FUNCTION_LINES]


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", sorted(path.parent for path in MODULES if path.name == "__init__.py"), ids=name_of)
def test_every_package_of_the_code_is_a_package_of_the_tests(path: Path) -> None:
    """Only the rooms directly below the top: what is inside them may be tested by a single file."""
    inside = path.relative_to(REPOSITORY / "arbd")
    if len(inside.parts) == 1 and inside.name != "tuning":
        assert (REPOSITORY / "tests" / inside).is_dir()


# What has yet to be written, or stands for any of many.
EXAMPLES = re.compile(r"\bNAME\.py$|^(arbd|tests)/a/")
PAGES = sorted([*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_document_names_files_of_the_code_that_are_there(page: Path) -> None:
    files = [f"/{path.relative_to(REPOSITORY)}" for part in ("arbd", "tests", "docs", "benchmarks", "bin")
             for path in (REPOSITORY / part).rglob("*.py")]  # fmt: skip
    named = set(re.findall(r"`([\w./-]+/[\w.-]+\.py)`", page.read_text()))
    gone = [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
    assert [name for name in sorted(gone) if not EXAMPLES.search(name)] == []


def test_the_page_has_the_layers_that_imports_are_checked_by() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [set(layer.split(" | ")) for layer in reversed(contracts[0]["layers"])]
    section = (REPOSITORY / "docs" / "architecture.md").read_text().partition("## Layers")[2]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == layers
