"""The best result of a session that is watched: it follows retries, and what is done is read as everybody reads it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arbd.analysis.best_so_far import BestSoFar
from arbd.errors import CorruptionError, DamageWarning
from arbd.job.stored import read_spec
from arbd.results.compaction import compact
from arbd.spool.files import Files
from arbd.spool.layout import SessionPaths, SpoolLayout
from arbd.spool.ledger import FAILED
from arbd.spool.queue import SessionQueue
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

FILES = Files()


class Watched:
    """A session and what is known of its best."""

    def __init__(self, paths: SessionPaths) -> None:
        self.paths = paths
        self.best = BestSoFar(FILES, paths, read_spec(FILES, paths))

    def look(self) -> tuple[int, float | None]:
        self.best.look(SessionQueue(FILES, self.paths).refresh())
        return self.best.iteration, self.best.value


def test_it_follows_what_comes_and_a_retry_that_is_worse(layout: SpoolLayout) -> None:
    watched = Watched(make_session(layout, 9))
    assert watched.look() == (0, None)
    write_rows(watched.paths, "a", rows_of(1, 3), rows_of(4, 2, status=FAILED), slot="0.1")
    assert watched.look() == (3, 3.0)
    assert watched.look() == (3, 3.0)
    write_rows(watched.paths, "b", rows_of(5, 1, epoch=1), rows_of(2, 2, status=FAILED, epoch=1), slot="0.2")
    assert watched.look() == (5, 5.0)
    write_rows(watched.paths, "a", rows_of(5, 1, status=FAILED, epoch=2), slot="0.3")
    assert watched.look() == (1, 1.0)
    # A row of a worker that was thought dead.
    write_rows(watched.paths, "c", rows_of(5, 1, value=9.0, epoch=1), slot="0.4")
    assert watched.look() == (1, 1.0)


def test_constraints_and_budgets_count_before_values(layout: SpoolLayout) -> None:
    bound = Watched(make_session(layout, 5, "bound", constraints=("value <= 3 - 0 * x",)))
    write_rows(bound.paths, "a", rows_of(4, 2), slot="0.1")
    assert bound.look() == (0, None)
    write_rows(bound.paths, "a", rows_of(1, 3), slot="0.2")
    assert bound.look() == (3, 3.0)
    halved = Watched(make_session(layout, 5, "halved", method="successive_halving"))
    rows = rows_of(1, 5)
    budget = np.array([1.0, 1.0, 1 / 3, 1 / 9, np.nan])
    write_rows(halved.paths, "a", replace(rows, metrics={**rows.metrics, "budget": budget}).select(np.arange(2, 4)))
    assert halved.look() == (3, 3.0)
    write_rows(halved.paths, "b", replace(rows, metrics={**rows.metrics, "budget": budget}).select(np.arange(2)))
    assert halved.look() == (2, 2.0)


def test_a_session_that_is_done_is_read_from_its_results_though_its_segments_are_gone(layout: SpoolLayout) -> None:
    paths = make_session(layout, 5)
    watched = Watched(paths)
    write_rows(paths, "a", rows_of(1, 5))
    assert watched.look() == (5, 5.0)
    exhaust(paths, 5)
    compact(FILES, paths)
    # What comes after compaction counts for nobody.
    write_rows(paths, "b", rows_of(1, 1, value=99.0, epoch=9))
    assert watched.look() == (5, 5.0)
    FILES.remove_tree(paths.segments)
    assert watched.look() == Watched(paths).look() == (5, 5.0)


def test_damaged_results_are_told_and_looked_at_again(layout: SpoolLayout) -> None:
    paths = make_session(layout, 5)
    write_rows(paths, "a", rows_of(1, 5))
    exhaust(paths, 5)
    compact(FILES, paths)
    whole = paths.results.read_bytes()
    paths.results.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(DamageWarning, match="results.msgpack"):
        assert Watched(paths).look() == (5, 5.0)
    FILES.remove_tree(paths.segments)
    watched = Watched(paths)
    with pytest.raises(CorruptionError):
        watched.look()
    paths.results.write_bytes(whole)
    assert watched.look() == (5, 5.0)
