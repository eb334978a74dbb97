"""Whatever an objective returns or raises: the fast loop makes the rows that the other one makes."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.daemon.slots.evaluation import evaluate
from arbd.daemon.slots.open_session import OpenSession
from arbd.daemon.slots.progress import ProgressPage
from arbd.daemon.slots.protocol import ChunkTask, SlotSetup, SubSpan
from arbd.job.spec import Execution
from arbd.job.stored import read_spec
from arbd.objective.plain import PlainCall
from arbd.objective.protocol import Outcome, Trial, check_outcome
from arbd.results.columns import RowBatch, concatenate
from arbd.results.segments import SegmentReader
from arbd.search.plan import NonAdaptivePlan
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.spans import Claim, Span
from arbd.spool.system import SystemClock
from tests.cells import KeepsNothing, OpenCell
from tests.spool.sessions import make_session

N = 60
numbers = st.one_of(st.floats(), st.integers(-(10**400), 10**400), st.booleans())
others = st.one_of(st.none(), st.text(max_size=3), st.just(Decimal("0.1")), st.builds(np.float32, st.floats(width=32)))
names = st.sampled_from(["value", "trades", "", "a\nb"])
ANSWERS = st.one_of(
    numbers,
    others,
    st.just([1.0]),
    st.dictionaries(names, st.one_of(numbers, others), max_size=3),
    st.builds(lambda x: Outcome({"value": x}, np.array([[x, x * x]])), st.floats(-9.0, 9.0)),
    st.builds(ValueError, st.text(max_size=3)),
)


class Scripted(KeepsNothing):
    """Answers each iteration with what is written for it; what raises, raises at its first call, or at all of them."""

    batch = False

    def __init__(self, answers: dict[int, Any], points: dict[float, int], *, plainly: bool, heals: bool) -> None:
        self.answers, self.points, self.heals = answers, points, heals
        self.seen: set[int] = set()
        self.plain = PlainCall(self.function, {"fee_bps": 1}, "value") if plainly else None

    def function(self, params: Any) -> Any:
        iteration = self.points[params["x"]]
        answer = self.answers.get(iteration, {"value": float(iteration)})
        again, _ = iteration in self.seen, self.seen.add(iteration)
        if isinstance(answer, Exception):
            if self.heals and again:
                return {"value": 7.0}
            raise answer
        return answer

    def evaluate(self, params: dict[str, Any], trial: Trial) -> Outcome:
        return check_outcome(self.function({"fee_bps": 1, **params}), trial, "value")


def rows(answers: dict[int, Any], *, plainly: bool, heals: bool, retries: int) -> RowBatch:
    with tempfile.TemporaryDirectory() as name:
        layout = SpoolLayout(Path(name) / "spool")
        layout.root.mkdir()
        layout.prepare()
        paths = make_session(layout, N, execution=Execution(retries=retries))
        points = NonAdaptivePlan(read_spec(Files(), paths)).rows(1, N).columns["x"].tolist()
        objective = Scripted(answers, {x: i for i, x in enumerate(points, 1)}, plainly=plainly, heals=heals)
        folder = Path(name)
        setup = SlotSetup("0", "w", 1, 1, folder / "p", folder / "o", folder / "c", (), ("python:*",))
        load: Any = lambda spec, name: objective  # noqa: E731
        session = OpenSession(Files(), SystemClock(), paths.folder, "0.1", setup, load, OpenCell())
        page = ProgressPage(folder / "progress", create=True)
        evaluate(session, ChunkTask(1, paths.folder, (SubSpan(Claim(1, Span(1, N), "w", 1), Span(1, N)),)), page)
        session.close()
        page.close()
        return concatenate([batch.rows for batch in SegmentReader(Files(), paths, blocks=True).poll()])


def facts(found: RowBatch) -> dict[str, Any]:
    columns = {name: getattr(found, name).tolist() for name in ("iteration", "status", "attempt", "epoch", "origins")}
    params = {name: column.tobytes() for name, column in found.params.items()}
    metrics = {name: column.tobytes() for name, column in found.metrics.items()}
    blocks = None if found.blocks is None else found.blocks.tobytes()
    # Without places, which are in this file where it stands for an objective's evaluator.
    errors = {
        iteration: told.partition(f" ({Path(__file__).parts[-4]}/")[0] for iteration, told in found.errors.items()
    }
    return {**columns, "params": params, "metrics": metrics, "blocks": blocks, "errors": errors}


@given(st.dictionaries(st.integers(1, N), ANSWERS, max_size=6), st.booleans(), st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_rows_are_those_of_iterations_that_are_called_with_a_trial(
    answers: dict[int, Any], heals: bool, retries: int
) -> None:
    if heals:
        # A function that answers otherwise when it is called again is to be called again for its own sake alone.
        answers = {i: answer for i, answer in answers.items() if isinstance(answer, float | ValueError)}
    found = [rows(answers, plainly=plainly, heals=heals, retries=retries) for plainly in (False, True)]
    assert found[1].iteration.tolist() == list(range(1, N + 1))
    assert facts(found[1]) == facts(found[0])


@pytest.mark.parametrize("kept", [{"value": 0.0}, {"value": np.zeros(())}], ids=["a mapping", "an array"])
def test_what_a_function_returns_and_changes_at_its_next_call_is_kept_as_it_was(kept: dict[str, Any]) -> None:
    class Reuses(dict[int, Any]):
        def get(self, iteration: int, default: Any = None) -> Any:
            if isinstance(kept["value"], np.ndarray):
                kept["value"][...] = iteration
            else:
                kept["value"] = float(iteration)
            return kept

    found = rows(Reuses(), plainly=True, heals=False, retries=0)
    assert found.metrics["value"].tolist() == list(range(1, N + 1))
