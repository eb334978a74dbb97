"""More iterations for a session that is done: what comes is what a longer session would have had."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arbd.analysis.archive import restore_archive, write_archive
from arbd.analysis.table import load_table
from arbd.errors import UsageError
from arbd.job.spec import Terms
from arbd.job.stored import read_spec
from arbd.job.validation import ValidationSpec
from arbd.results import extension
from arbd.results.extension import extend
from arbd.search.problem import StopRules
from arbd.search.samplers import METHODS, adaptive, planned
from arbd.search.space import FloatDimension, IntDimension, SearchSpace
from arbd.spool import ledger
from arbd.spool.control import change_state, this_user
from arbd.spool.files import Files
from arbd.spool.history import history_of
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.queue import SessionQueue
from tests.results.worker import work
from tests.spool.sessions import make_session

SPACE = SearchSpace(
    (FloatDimension("x", 0.0, 1.0), FloatDimension("y", 1.0, 100.0, log=True), IntDimension("k", 1, 40))
)
SIZE = 6
FIXED = [name for name in METHODS.built_in() if adaptive(name) is None]
LEARN = [name for name in METHODS.built_in() if adaptive(name) is not None]
# These choose the points of a generation together: the first of a larger one are others.
TOGETHER = {"tpe", "nsga2"}
EXTENSIBLE = [*LEARN, *(name for name in FIXED if planned(name).prefix)]


def job(method: str, **changed: Any) -> dict[str, Any]:
    if method == "grid":
        changed["grid_points"] = {"x": 4, "y": 4, "k": 4}
    if method in LEARN:
        changed = {"generation_size": SIZE, "generation_lag": 2} | changed
    return {"method": method, "space": SPACE} | changed


def begin(layout: SpoolLayout, n: int, name: str, method: str, **changed: Any) -> SessionPaths:
    paths = make_session(layout, n, name, **job(method, **changed))
    assert work(paths).done
    return paths


def more(layout: SpoolLayout, paths: SessionPaths, iterations: int) -> None:
    before = SessionQueue(Files(), paths).refresh().n
    assert extend(layout, paths.session_id, iterations, this_user()) == before + iterations
    assert work(paths, worker_id="other").done


def rows(layout: SpoolLayout, name: str) -> dict[str, Any]:
    """Everything that a session computed, to the bit."""
    found = load_table(layout.root, name).rows
    assert found.iteration.tolist() == list(range(1, len(found.iteration) + 1))
    columns = {**found.params, **found.metrics, "origin": found.origins, "status": found.status}
    return {key: np.asarray(column).tobytes() for key, column in columns.items()}


def prefix(content: dict[str, bytes], n: int) -> dict[str, bytes]:
    return {key: data[: n * (1 if key == "status" else 8)] for key, data in content.items()}


@pytest.mark.parametrize("method", EXTENSIBLE)
def test_an_extended_session_is_the_one_that_was_longer_from_the_start(layout: SpoolLayout, method: str) -> None:
    # Long enough for the start of each method.
    paths = begin(layout, 48, "short", method)
    before = rows(layout, "short")
    more(layout, paths, SIZE)
    more(layout, paths, SIZE)
    begin(layout, 60, "long", method)
    now = rows(layout, "short")
    assert prefix(now, 48) == before
    assert now == rows(layout, "long")
    assert read_spec(Files(), paths).began_with == 48


@pytest.mark.parametrize("method", EXTENSIBLE)
def test_a_search_that_ended_in_the_middle_of_a_generation_goes_on_in_it(layout: SpoolLayout, method: str) -> None:
    paths = begin(layout, 45, "short", method)
    before = rows(layout, "short")
    more(layout, paths, 7)
    more(layout, paths, 8)
    now = rows(layout, "short")
    assert prefix(now, 45) == before
    begin(layout, 60, "long", method)
    if method not in TOGETHER:
        assert now == rows(layout, "long")
    # Whoever does the same gets the same.
    again = begin(layout, 45, "again", method)
    more(layout, again, 7)
    more(layout, again, 8)
    assert rows(layout, "again") == now


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_session_that_was_too_short_for_its_method_keeps_what_it_has_and_goes_on(
    layout: SpoolLayout, method: str
) -> None:
    paths = begin(layout, 5, "s", method)
    before = rows(layout, "s")
    more(layout, paths, 40)
    assert prefix(rows(layout, "s"), 5) == before
    again = begin(layout, 5, "t", method)
    more(layout, again, 40)
    assert rows(layout, "t") == rows(layout, "s")


def test_a_fixed_plan_that_a_rule_looks_at_goes_on_in_its_generations(layout: SpoolLayout) -> None:
    options = {"generation_size": SIZE, "stop": StopRules(target=1e9), "constraints": ("x < 0.7",), "refill": True}
    paths = begin(layout, 20, "short", "sobol", **options)
    more(layout, paths, 20)
    begin(layout, 40, "long", "sobol", **options)
    assert rows(layout, "short") == rows(layout, "long")


@pytest.mark.parametrize("method", ["halton", "tpe"])
def test_a_restored_archive_is_extended_like_the_session_that_it_was_made_of(
    layout: SpoolLayout, tmp_path: Path, method: str
) -> None:
    paths = begin(layout, 45, "s", method)
    archive = tmp_path / "s.tar.gz"
    write_archive(Files(), paths, SessionQueue(Files(), paths).refresh(), archive)
    more(layout, paths, 15)
    kept = rows(layout, "s")
    blocks = load_table(layout.root, "s", blocks=True).rows.blocks
    Files().remove_tree(paths.folder)
    restore_archive(Files(), layout, archive)
    more(layout, paths, 15)
    assert rows(layout, "s") == kept
    assert blocks is not None
    assert np.array_equal(load_table(layout.root, "s", blocks=True).rows.blocks, blocks)
    # Nothing that was there was evaluated once more.
    assert SessionQueue(Files(), paths).refresh().worker_counts["other"] == [15, 0, 0, 0]


REFUSED = {
    "lhs": ({"method": "lhs"}, "the points of lhs depend on how many there are"),
    # The 12 of the search and 10 more: what judges them is no part of what the job says.
    "validation": ({}, "has a validation.*tuning.max_iterations=22`"),
    "stopped": ({"generation_size": 4, "stop": StopRules(target=-1e9)}, "ended by its own rule"),
    "deadline": ({"terms": Terms(deadline_ns=1)}, "the deadline of session s is over"),
    "grid": ({"method": "grid", "n": 64}, "the grid has 64 points, and all are evaluated"),
    "rest of a grid": ({"method": "grid", "n": 60}, "of which 60 are evaluated: 4 more are the maximum"),
    "running": ({}, "is pending: extend it when it is done"),
    "cancelled": ({}, "is cancelled"),
    "too many": ({}, "the maximum here is 25"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_extended_says_why_and_what_to_do(
    layout: SpoolLayout, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, message = REFUSED[what]
    given = job(changed.get("method", "random")) | changed
    paths = make_session(layout, given.pop("n", 20), "s", **given)
    if what == "cancelled":
        change_state(layout, "s", ledger.CANCELLED)
    elif what == "stopped":
        SessionQueue(Files(), paths).change(lambda now: [ledger.stopped(8, "target -1e+09 was reached")])
        work(paths)
    elif what == "deadline":
        queue = SessionQueue(Files(), paths)
        queue.change(lambda now: [ledger.compacted((20, 0, 0, 0), 0)])
    elif what != "running":
        work(paths)
    if what == "validation":
        spec = replace(read_spec(Files(), paths), validation=ValidationSpec(12, neighbours=8), generation_size=12)
        monkeypatch.setattr(extension, "read_spec", lambda files, paths: spec)
    files_before = {path: path.read_bytes() for path in paths.folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=message):
        extend(layout, "s", 10, this_user(), 25 if what == "too many" else 1_000)
    assert {path: path.read_bytes() for path in paths.folder.rglob("*") if path.is_file()} == files_before
    assert [path.name for path in layout.sessions.iterdir()] == ["s"]


class Killed(BaseException):
    """The process ended here."""


@contextlib.contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends the process at one of its renames, fsyncs and writes."""
    calls = 0

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise Killed
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for name in ("rename", "fsync", "write", "link", "replace"):
            patched.setattr(os, name, counted(getattr(os, name)))
        yield


def test_whoever_dies_while_he_extends_leaves_a_session_that_can_be_extended(
    layout: SpoolLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(layout, 14, "long", "cmaes")
    long = rows(layout, "long")
    archive = tmp_path / "s.tar.gz"
    paths = begin(layout, 9, "s", "cmaes")
    short = rows(layout, "s")
    write_archive(Files(), paths, SessionQueue(Files(), paths).refresh(), archive)
    step, survived = 0, False
    while not survived:
        step += 1
        Files().remove_tree(paths.folder)
        restore_archive(Files(), layout, archive)
        with killed_at(step, monkeypatch):
            try:
                extend(layout, "s", 5, this_user())
            except Killed:
                pass
            else:
                survived = True
        state = SessionQueue(Files(), paths).refresh()
        if state.n == 9:
            # What is read meanwhile is what there was.
            assert prefix(rows(layout, "s"), 9) == short
            assert state.done
            extend(layout, "s", 5, this_user())
        assert SessionQueue(Files(), paths).refresh().n == 14
        work(paths)
        assert rows(layout, "s") == long
    assert step > 8


def test_who_extended_it_stands_in_its_history(layout: SpoolLayout) -> None:
    paths = begin(layout, 10, "s", "random")
    extend(layout, "s", 5, this_user("the best is at the edge"))
    found = [deed for deed in history_of(Files(), paths) if deed.what == "extend"]
    assert [(deed.user != "", deed.reason) for deed in found] == [
        (True, "from 10 to 15 iterations: the best is at the edge")
    ]
    assert work(paths).counts == [15, 0, 0, 0]
    assert [deed.what for deed in history_of(Files(), paths)].count("done") == 2
