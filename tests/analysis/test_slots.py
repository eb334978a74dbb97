"""How busy slots were, as results tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.analysis.slots import busy_share
from arbd.search.samplers import METHODS, adaptive
from tests.conftest import Arbctl
from tests.jobs import write_job


def test_two_slots_that_take_turns_are_one_slot() -> None:
    assert busy_share(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0])) == (1.0, 1)


def test_a_slot_that_waits_between_iterations_is_not_busy() -> None:
    share, slots = busy_share(np.array([1.0, 4.0]), np.array([1.0, 1.0]))
    assert (share, slots) == (pytest.approx(0.5), 1)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 10)), min_size=1, max_size=30))
def test_no_slot_is_busier_than_always(found: list[tuple[float, float]]) -> None:
    started, duration = map(np.array, zip(*found, strict=True))
    share, slots = busy_share(started + duration, duration)
    assert 0 < share <= 1 + 1e-9
    assert 1 <= slots <= len(found)


def schedule_told(arbctl: Arbctl, job: Path, session: str) -> list[bool]:
    """Whether validate and summary speak of generations."""
    _, before, _ = arbctl("validate", job)
    code, _, told = arbctl("run", job, "--session-id", session, "--workers", "1")
    assert code == 0, told
    _, after, said = arbctl("summary", session)
    return ["a generation" in text for text in (before, after + said)]


@pytest.mark.parametrize("method", sorted(name for name in METHODS.names() if name != "successive_halving"))
def test_generations_are_spoken_of_where_a_search_waits_for_suggestions(
    method: str, arbctl: Arbctl, objectives: Path, tmp_path: Path
) -> None:
    (objectives / "quick.py").write_text("def objective(params): return {'value': params['x']}")
    space = {"x": {"type": "float", "bounds": [0, 1], "step": 0.01}}
    job = write_job(
        tmp_path / "job.yaml", "quick:objective", 40, space=space, method=method, validation={"neighbours": 8}
    )
    learns = adaptive(method) is not None
    assert schedule_told(arbctl, job, method) == [learns, learns]
