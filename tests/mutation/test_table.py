"""The table of docs/mutation.md: what was played, without what changed since."""

from __future__ import annotations

import json

from tests.mirrored import ROOT
from tests.mutation.operators import mutants_of
from tests.mutation.table import outcomes, table

FILE = "arbd/results/precedence.py"


def line(number: int, *, killed: bool, **changed: str) -> str:
    mutant = mutants_of((ROOT / FILE).read_text())[number]
    told = {"file": FILE, "index": number, "line": mutant.line, "was": mutant.was, "change": mutant.change}
    return json.dumps(told | {"killed": killed} | changed)


def test_a_mutant_that_any_way_killed_is_killed_and_one_of_a_line_that_is_gone_is_left_out() -> None:
    lines = [line(0, killed=False), line(1, killed=False), line(0, killed=True), line(2, killed=False, was="gone")]
    found = outcomes([*lines, json.dumps({"mutants": 3, "killed": 1})])
    assert [(mutant.index, killed) for mutant, killed in found.items()] == [(0, True), (1, False)]


def test_what_lives_is_counted_by_whether_it_is_explained_and_its_reason_is_told() -> None:
    found = outcomes([line(0, killed=True), line(1, killed=False), line(2, killed=False)])
    explained = next(mutant for mutant in found if mutant.index == 1)
    text = table(found, {(FILE, explained.was, explained.change): "It makes no difference."})
    assert text.splitlines()[2:] == [
        f"| `{FILE}` | 3 | 1 (33%) | 1 | 1 |", "| all | 3 | 1 (33%) | 1 | 1 |", "",
        "What lived:", "", f"- `precedence.py`, `{explained.was}`: It makes no difference.",
    ]  # fmt: skip
