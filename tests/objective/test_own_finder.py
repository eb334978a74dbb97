"""What says which code an objective ran is there for as long as the process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder

import pytest

from arbd.objective.interpreter_state import Hooks
from arbd.objective.modules import ObjectiveModules


@pytest.fixture
def hooks() -> Iterator[None]:
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize("beside", ["nothing", "first", "last"])
def test_it_stays_ahead_of_pythons_own_finder_when_a_process_becomes_what_it_was_before(beside: str) -> None:
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, ObjectiveModules)]
    empty = Hooks()
    finder = ObjectiveModules.of_this_process()
    if beside != "nothing":
        sys.meta_path.insert(0 if beside == "first" else len(sys.meta_path), _Foreign())
    for _ in range(2):
        empty.changed()
        empty.restore()
        assert sys.meta_path.index(finder) < sys.meta_path.index(PathFinder)
        assert not any(isinstance(each, _Foreign) for each in sys.meta_path)


class _Foreign:
    """An iteration's, which goes with it."""

    def find_spec(self, *_: object) -> None:
        return None
