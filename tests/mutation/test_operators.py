"""Mutants differ from the code in one place, and in what it does."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from tests.mirrored import ROOT, beside
from tests.mutation.__main__ import DECIDING, Case, sampled
from tests.mutation.explained import why_it_lives
from tests.mutation.operators import Mutant, mutants_of

SOURCE = '''"""Text."""
LIMIT = 3


def keep(values: list[int], strict: bool = True) -> int:
    """The sum of small ones."""
    total = 0
    for value in values:
        if value < LIMIT and not strict:
            continue
        total += value
    values.clear()
    return total if strict else -total
'''


def test_each_kind_of_fault_is_made_once_where_it_can_be() -> None:
    changes = {mutant.change for mutant in mutants_of(SOURCE)}
    assert changes >= {
        "3 -> 4", "value < LIMIT -> value <= LIMIT", "value < LIMIT and (not strict) -> value < LIMIT or not strict",
        "not strict -> strict", "continue -> break", "total += value -> total -= value", "values.clear() -> pass",
        "-total -> total", "total if strict else -total -> total if not strict else -total",
    }  # fmt: skip


@functools.cache
def made_of(name: str) -> list[Mutant]:
    return mutants_of((ROOT / name).read_text())


@pytest.mark.parametrize("name", [name for name in DECIDING if (ROOT / name).exists()])
def test_every_mutant_of_a_deciding_file_parses_and_differs(name: str) -> None:
    source = (ROOT / name).read_text()
    mutants = made_of(name)
    assert mutants
    original = ast.dump(ast.parse(source))
    for mutant in mutants:
        assert ast.dump(ast.parse(mutant.text)) != original


@pytest.mark.parametrize("name", [name for name in DECIDING if (ROOT / name).exists()])
def test_a_deciding_file_has_tests_beside_it(name: str) -> None:
    assert all((ROOT / test).exists() for test in beside(Path(name)))
    assert beside(Path(name))


def test_a_sample_has_something_of_every_file_and_follows_from_its_seed() -> None:
    cases = [Case(name, mutant) for name in ("a", "b", "c") for mutant in mutants_of(SOURCE)]
    first, again, other = sampled(cases, 6, 1), sampled(cases, 6, 1), sampled(cases, 6, 2)
    assert {case.file for case in first} == {"a", "b", "c"}
    assert first == again != other


def test_every_mutant_that_is_explained_is_one_of_its_file() -> None:
    explained = why_it_lives()
    for name in {name for name, _, _ in explained}:
        made = {(name, mutant.was, mutant.change) for mutant in made_of(name)}
        assert {key for key in explained if key[0] == name} <= made
