"""Programs that are kept between iterations, and interpreters of their own, in real slots."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.objective.processes import is_running
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl, Daemons, wait_until

pytestmark = pytest.mark.bed

PROGRAM = f"""#!{sys.executable} -S
import json, os, sys, time
open(%r + "/" + str(os.getpid()), "w").close()
for line in sys.stdin:
    q = json.loads(line)
    n = q["iteration"]
    if n == 7: time.sleep(60)
    if n == 11: sys.exit(7)
    print(json.dumps({{"id": q["id"], "metrics": {{"value": n, "pid": os.getpid()}}}}), flush=True)
    time.sleep(0.01)
"""


def write(tmp_path: Path, objective: str, n: int = 40) -> Path:
    job = tmp_path / "job.yaml"
    job.write_text(
        f"objective: {objective}\nmetric: value\nexecution: {{timeout_s: 2, retries: 0}}\n"
        f"tuning: {{method: random, max_iterations: {n}, search_space: {{x: {{type: float, bounds: [0, 1]}}}}}}\n"
    )
    return job


def test_what_hangs_or_dies_costs_its_iteration_and_a_start(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM % str(pids))
    program.chmod(0o755)
    assert (
        arbctl("submit", write(tmp_path, f"{{command: [{program}], protocol: lines}}"), "--session-id", "kept")[0] == 0
    )
    assert daemons.start("a", "--burst").wait(60) == 0
    rows = load_table(layout.root, "kept").rows
    assert {i + 1: s for i, s in enumerate(rows.status.tolist()) if s} == {7: 2, 11: 1}
    assert "exited with status 7" in rows.errors[11]
    assert [v for i, v in enumerate(rows.metrics["value"].tolist()) if i not in (6, 10)] == [
        i for i in range(1, 41) if i not in (7, 11)
    ]
    # One for each of two slots, one after the hang; one that died in 11, asked again of a fresh one, and one after that.
    started = {int(path.name) for path in pids.iterdir()}
    assert len(started) <= 5
    wait_until(lambda: not any(map(is_running, started)), 10, "the end of all programs")


def test_a_daemon_that_is_told_to_stop_leaves_no_program_behind(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    program = tmp_path / "program.py"
    program.write_text((PROGRAM % str(pids)).replace("n == 7", "False").replace("n == 11", "False"))
    program.chmod(0o755)
    arbctl("submit", write(tmp_path, f"{{command: [{program}], protocol: lines}}", 100_000), "--session-id", "kept")
    daemon = daemons.start("a")
    wait_until(lambda: len(list(pids.iterdir())) == 2, 30, "the start of both programs")
    daemon.terminate()
    assert daemon.wait(30) == 0
    assert not any(is_running(int(path.name)) for path in pids.iterdir())


def test_a_python_objective_runs_in_the_interpreter_that_it_names_where_that_is_allowed(
    arbctl: Arbctl, daemons: Daemons, layout: SpoolLayout, objectives: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "alpha", with_pip=False, symlinks=True)
    python = tmp_path / "alpha" / "bin" / "python"
    (objectives / "foreign_own.py").write_text(
        "import sys\nfrom foreign_helper import SCALE\n"
        "def f(params): return {'value': SCALE * params['x'], 'here': sys.prefix.endswith('alpha')}\n"
    )
    (objectives / "foreign_helper.py").write_text("SCALE = 3\n")
    job = write(tmp_path, f"{{python: 'foreign_own:f', interpreter: {python}}}")
    code, _, err = arbctl("run", job, "--workers", "1", "--session-id", "here")
    assert code == 0, err
    found = load_table(layout.root, "here").rows
    assert found.metrics["here"].all()
    assert found.metrics["value"].tolist() == [3 * x for x in found.params["x"].tolist()]
    # The daemon needs the interpreter on its list.
    arbctl("submit", job, "--session-id", "there")
    assert daemons.start("a", "--burst").wait(60) == 0
    assert f"interpreter:{python}" in arbctl("status", "there")[1] + arbctl("status", "there")[2]
    config = objectives.parent / "arbd.yaml"
    config.write_text(config.read_text().replace("'command:*'", f"'command:*', 'interpreter:{python}'"))
    assert f"interpreter: {python} is Python {sys.version.split()[0]}" in arbctl("doctor")[1]
    arbctl("submit", job, "--session-id", "again")
    assert daemons.start("b", "--burst").wait(60) == 0
    assert load_table(layout.root, "again").rows.metrics["value"].tolist() == found.metrics["value"].tolist()
    code, out, err = arbctl("replay", "again", "best")
    assert code == 0, (out, err)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("{python: 'samples:quick', interpreter: python3}", "interpreter: must be the absolute path of a Python"),
        ("{python: 'samples:quick', interpreter: /nowhere/python}", "'/nowhere/python' is no program on this host"),
        ("{command: [/usr/bin/env], protocol: line}", "did you mean 'lines'"),
        ("{command: [/usr/bin/env], protocoll: lines}", "did you mean 'protocol'"),
        ("{python: 'samples:quick', interpretr: /usr/bin/python3}", "did you mean 'interpreter'"),
        (
            "{command: [/usr/bin/env], interpreter: /usr/bin/python3}",
            "objective.interpreter: unknown field; known are command, protocol",
        ),
    ],
)
def test_what_is_wrong_is_told_once_where_it_stands(
    arbctl: Arbctl, objectives: Path, tmp_path: Path, objective: str, message: str
) -> None:
    code, out, err = arbctl("validate", write(objectives, objective))
    assert code == 2
    assert message in out + err
    assert (out + err).count("objective") <= 3
    assert (out + err).count("\n") == 1
