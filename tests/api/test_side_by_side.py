"""The work that docs/comparison.md shows beside Optuna: as many lines at most, every step done, also after a kill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbd.objective.processes import kill_tree
from arbd.spool.layout import SpoolLayout
from arbd.spool.queue import SessionQueue
from benchmarks.side_by_side import PEERS, lines, run
from tests.conftest import REPOSITORY, wait_until

PRINTED = ["b", "0.3", "200"]
STEPS = ["objective", "search", "best", "history, importance, contour", "table"]


def test_it_takes_no_more_lines_than_in_optuna_and_the_document_shows_both() -> None:
    counts = {peer: lines(peer) for peer in PEERS}
    assert [list(found) for found in counts.values()] == [STEPS, STEPS]
    assert sum(counts["arbd"].values()) <= sum(counts["optuna"].values())
    text = (REPOSITORY / "docs/comparison.md").read_text()
    for peer, found in counts.items():
        assert (REPOSITORY / f"docs/examples/python/side_by_side_{peer}.py").read_text().strip() in text
        assert str(sum(found.values())) in text


def test_every_step_is_done_by_the_same_lines_after_a_kill(tmp_path: Path) -> None:
    process = run("arbd", tmp_path)
    layout = SpoolLayout(tmp_path / "arbd" / "spool")
    paths = layout.session("side-by-side")

    def counted() -> int:
        return SessionQueue(layout.files(), paths).refresh().counted if paths.ledger.exists() else 0

    wait_until(lambda: counted() > 10, 60, "some iterations")
    kill_tree(process.pid)
    process.communicate()
    before = counted()
    assert before < 200
    again = run("arbd", tmp_path)
    assert again.communicate()[0].split() == PRINTED
    state = SessionQueue(layout.files(), paths).refresh()
    assert (state.done, state.counts) == (True, [200, 0, 0, 0])


@pytest.mark.skipif(not os.environ.get("ARBD_TEST_PEERS"), reason="ARBD_TEST_PEERS=1 runs the peers too: a minute")
def test_optuna_does_the_same(tmp_path: Path) -> None:
    assert run("optuna", tmp_path).communicate()[0].split() == PRINTED
