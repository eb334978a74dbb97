"""Searches from Python, with real processes: functions, jobs, farms, interruptions."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import arbd
from arbd.api.table import Results
from arbd.errors import ArbdError, JobError, NotFoundError, UsageError
from arbd.spool.layout import SpoolLayout
from tests.conftest import REPOSITORY, Daemons, wait_until

pytestmark = pytest.mark.bed
SPACE = {"x": {"type": "float", "bounds": [0, 1]}, "kind": {"type": "choice", "values": ["a", 1]}}
OFFSET = 2.0


def shifted(params: dict[str, Any]) -> dict[str, float]:
    return {"loss": (params["x"] - 0.3) ** 2 + OFFSET, "status": 1.0}


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def tuned(**changed: Any) -> arbd.Session:
    fields = {"objective": shifted, "search_space": SPACE, "method": "tpe", "max_iterations": 16, "metric": "loss",
              "direction": "minimize", "seed": 1, "workers": 2, "progress": False}  # fmt: skip
    return arbd.tune(**(fields | changed))


def test_a_function_is_tuned_and_its_results_are_tables(data_home: Path) -> None:
    session = tuned(session_id="here")
    assert session.status()["statuses"]["completed"] == 16
    assert session.is_over
    best = session.best
    assert best.metrics["loss"] == pytest.approx((best.params["x"] - 0.3) ** 2 + OFFSET)
    frame = session.results.to_pandas()
    assert list(frame.columns)[:6] == ["iteration", "status", "x", "kind", "loss", "metric_status"]
    assert frame["loss"].min() == best.metrics["loss"]
    assert len(session.results) == len(list(session.results)) == 16
    assert next(row.iteration for row in session.rank(top_n=2)) == best.iteration
    assert f"iteration {best.iteration}" in session._repr_html_()
    assert "the first 10 are shown" in session.results._repr_html_()
    # The same call again has nothing left to do; another function is another session.
    assert tuned(session_id="here").best == best
    with pytest.raises(UsageError, match="was begun with another function"):
        tuned(session_id="here", objective=lambda params: {"loss": 1.0})


def test_arrow_is_spoken_where_pyarrow_is_and_else_its_remedy_is_told(layout: SpoolLayout) -> None:
    session = tuned(spool=layout.root, max_iterations=4)
    results = Results(layout.root, session.session_id)
    try:
        import pyarrow as arrow
    except ImportError:
        with pytest.raises(UsageError, match="pip install pyarrow"):
            results.__arrow_c_stream__()
    else:
        assert arrow.table(results).num_rows == 4


def test_a_job_of_the_farm_is_waited_for(daemons: Daemons, layout: SpoolLayout) -> None:
    daemons.start("a")
    job = arbd.Job(objective={"python": "samples:quick"}, search_space={"x": SPACE["x"]}, method="random",
                   max_iterations=6, metric="value")  # fmt: skip
    session = arbd.submit(job, spool=layout.root, session_id="farm", timeout_s=None).wait(60)
    assert session.status()["done"] == 6
    with pytest.raises(UsageError, match="did you mean"):
        arbd.submit(job, spool=layout.root, sesion=3)
    with pytest.raises(UsageError, match="on this host alone"):
        arbd.submit(job.but(objective={"python": "samples:quick"}), spool=layout.root, objective=shifted)
    with pytest.raises(ArbdError, match="session farm exists already"):
        arbd.submit(job, spool=layout.root, session_id="farm")
    with pytest.raises(JobError, match=r"^arbd.Job: objective.command.0: '/nowhere' is no program"):
        arbd.submit(objective={"command": ["/nowhere"]}, search_space=SPACE, method="random", max_iterations=1,
                    spool=layout.root)  # fmt: skip


def test_what_is_wrong_is_one_line_about_the_job(layout: SpoolLayout) -> None:
    with pytest.raises(ArbdError, match="objective nowhere:f cannot be imported on this host"):
        tuned(objective={"python": "nowhere:f"}, spool=layout.root)
    with pytest.raises(NotFoundError):
        arbd.Session(layout.root, "nothing")


INTERRUPTED = """
import sys, time
import arbd

def slow(params):
    time.sleep(0.05)
    return {"loss": params["x"]}

arbd.tune(objective=slow, search_space={"x": {"type": "float", "bounds": [0, 1]}}, method="tpe", max_iterations=40,
          metric="loss", direction="minimize", workers=2, session_id="cut", progress=False)
print("done")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_interrupted_goes_on(tmp_path: Path, data_home: Path, how: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    spool = data_home / "arbd" / "spool"

    def done() -> int:
        try:
            return int(arbd.Session(spool, "cut").status()["done"])
        except (ArbdError, OSError):
            return 0

    first = subprocess.Popen([sys.executable, script], cwd=REPOSITORY, stderr=subprocess.PIPE)
    wait_until(lambda: done() >= 4, 60)
    first.send_signal(how)
    first.communicate(timeout=60)
    assert first.returncode != 0
    out = subprocess.run(
        [sys.executable, script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert out.stdout == "done\n"
    assert done() == 40


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]


def test_the_same_work_takes_no_more_lines_than_in_optuna(tmp_path: Path) -> None:
    folder = REPOSITORY / "docs" / "examples" / "python"
    ours, theirs = folder / "arbd_search.py", folder / "optuna_search.py"
    assert len(lines_of(ours)) <= len(lines_of(theirs))
    began = time.monotonic()
    for script in (ours, theirs):
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "b 0.3\n(3, 4)\n", (script, time.monotonic() - began)
