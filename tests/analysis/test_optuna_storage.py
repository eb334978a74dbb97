"""What `arbctl export --format optuna` writes, Optuna opens and its dashboard shows."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from socket import socket

import numpy as np
import pytest

from arbd.results.compaction import compact
from arbd.search.problem import MetricGoal
from arbd.search.space import ChoiceDimension, FloatDimension, IntDimension, SearchSpace
from arbd.spool.files import Files
from arbd.spool.layout import SpoolLayout
from arbd.spool.ledger import FAILED
from tests.conftest import Arbctl, wait_until
from tests.spool.sessions import exhaust, make_session, rows_of, write_rows

optuna = pytest.importorskip("optuna")


@pytest.fixture
def session(layout: SpoolLayout) -> str:
    """Every kind of parameter, two objectives, failures, a NaN."""
    space = SearchSpace(
        (
            FloatDimension("x", 0.0, 1.0),
            FloatDimension("stepped", 0.05, 0.5, step=0.01),
            IntDimension("whole", 1, 1000, log=True),
            IntDimension("even", 2, 9, step=2),
            ChoiceDimension("kind", ("up", True, 3)),
        )
    )
    goals = (MetricGoal("value", "maximize"), MetricGoal("risk", "minimize"))
    paths = make_session(layout, 10, "s", space=space, metrics=goals)

    def params(iteration: np.ndarray) -> dict[str, np.ndarray]:
        unit = np.random.default_rng(1).random((len(iteration), 5))
        return space.from_unit(unit)

    good, bad = rows_of(1, 8), rows_of(9, 2, status=FAILED)
    value = good.iteration.astype(float)
    risk = value.copy()
    risk[0] = np.nan
    metrics = {"value": value, "risk": risk, "other": value * 3}
    write_rows(paths, "host-a", replace(good, params=params(good.iteration), metrics=metrics))
    write_rows(paths, "host-b", replace(bad, params=params(bad.iteration)))
    exhaust(paths, 10, (8, 2, 0, 0))
    compact(Files(), paths)
    return "s"


@pytest.mark.parametrize("name", ["s.log", "s.db"])
def test_optuna_opens_what_was_written(arbctl: Arbctl, session: str, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    code, out, _ = arbctl("export", session, "--format", "optuna", "--output", output)
    assert (code, out) == (0, f"10 rows in {output}\n")
    if name.endswith(".db"):
        storage = optuna.storages.RDBStorage(f"sqlite:///{output}")
    else:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(output)))
    study = optuna.load_study(study_name="s", storage=storage)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", *["COMPLETE"] * 7, "FAIL", "FAIL"]
    results = json.loads(arbctl("summary", session, "--top-n", "10", "--json")[1])["ranking"]
    for result in results:
        trial = study.trials[result["iteration"] - 1]
        assert trial.params == result["params"]
        assert trial.user_attrs["other"] == result["metrics"]["other"]
        if trial.state.name == "COMPLETE":
            assert trial.values == [result["metrics"]["value"], result["metrics"]["risk"]]
    assert study.trials[9].user_attrs["error"] == "broken"
    assert len(study.best_trials) == 7  # more value is always more risk
    assert study.trials[0].duration.total_seconds() == 0.5
    assert sorted(path.name for path in tmp_path.iterdir() if "s." in path.name) == [name]
    storage.remove_session()


def test_its_dashboard_shows_it(arbctl: Arbctl, session: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    output = tmp_path / "s.log"
    arbctl("export", session, "--format", "optuna", "--output", output)
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "optuna-dashboard"
    command = [program, "--host", "127.0.0.1", "--port", str(port), output]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:

            def studies() -> list[dict[str, object]]:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                        found: list[dict[str, object]] = json.load(answer)["study_summaries"]
                        return found
                except OSError:
                    return []

            wait_until(studies, what="the dashboard's answer")
            assert [study["study_name"] for study in studies()] == ["s"]
        finally:
            server.terminate()


def test_optuna_needs_a_file(arbctl: Arbctl, session: str) -> None:
    code, _, err = arbctl("export", session, "--format", "optuna", "--output", "-")
    assert (code, "needs a file" in err) == (2, True)
