"""Mutants differ from the code in one place, and in what it does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mirrored import ROOT, beside
from tests.mutation.__main__ import DECIDING, Case, sampled
from tests.mutation.operators import mutants_of

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


@pytest.mark.parametrize("name", [name for name in DECIDING if (ROOT / name).exists()])
def test_every_mutant_of_a_deciding_file_parses_and_differs(name: str) -> None:
    source = (ROOT / name).read_text()
    mutants = mutants_of(source)
    assert mutants
    for mutant in mutants:
        assert ast.dump(ast.parse(mutant.text)) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("name", [name for name in DECIDING if (ROOT / name).exists()])
def test_a_deciding_file_has_tests_beside_it(name: str) -> None:
    assert all((ROOT / test).exists() for test in beside(Path(name)))
    assert beside(Path(name))


def test_a_sample_has_something_of_every_file_and_follows_from_its_seed() -> None:
    cases = [Case(name, mutant) for name in ("a", "b", "c") for mutant in mutants_of(SOURCE)]
    first, again, other = sampled(cases, 6, 1), sampled(cases, 6, 1), sampled(cases, 6, 2)
    assert {case.file for case in first} == {"a", "b", "c"}
    assert first == again != other
