"""A metric that a job optimises and no result has is told wherever people look, with the name that is nearest to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arbd.results.missing_metrics import missing_text
from tests.conftest import Arbctl, Daemons

pytestmark = pytest.mark.bed
TEXT = "no result has the metric profit, which the job optimises: did you mean pnl? the objective returns pnl, sharpe"


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_it_ends_wait_and_is_shown_by_log_status_watch_and_summary(
    arbctl: Arbctl, daemons: Daemons, objectives: Path, tmp_path: Path, method: str
) -> None:
    (objectives / "named.py").write_text("def objective(params):\n    return {'pnl': params['x'], 'sharpe': 1.0}\n")
    job = tmp_path / "job.yaml"
    job.write_text(
        "session_id: named\nobjective: {python: 'named:objective'}\nmetric: profit\n"
        f"tuning: {{method: {method}, max_iterations: 60, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n"
    )
    daemon = daemons.start("a")
    code, _, err = arbctl("submit", job, "--wait")
    assert code == 1
    assert TEXT in err
    assert TEXT in arbctl("status", "named")[1]
    assert TEXT in arbctl("watch", "named", "--once")[1].replace("\n", " ")
    assert json.loads(arbctl("watch", "named", "--once", "--json")[1])["sessions"][0]["missing_metric"] == TEXT
    assert TEXT in json.loads(arbctl("summary", "named", "--json")[1])["notices"]
    assert TEXT in daemons.log()
    daemon.terminate()
    assert daemon.wait(60) == 0


@pytest.mark.parametrize(
    ("missing", "returned", "hint"),
    [
        ("sharp_ratio", ("pnl", "sharpe", "trades"), "did you mean sharpe? "),
        ("profit", ("pnl",), "did you mean pnl? "),
        ("value", ("budget", "loss"), "did you mean loss? "),
        ("value", (), "the objective returns none"),
    ],
)
def test_the_nearest_name_is_named(missing: str, returned: tuple[str, ...], hint: str) -> None:
    assert hint in missing_text((missing,), returned)
