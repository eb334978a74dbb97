"""`arbctl slurm script`: what sbatch gets, and what a real Slurm makes of it when the time of its jobs is over."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbd.analysis.loading import load_session
from arbd.cli.commands.slurm import seconds_of
from arbd.errors import UsageError
from arbd.spool.layout import SpoolLayout
from tests.beds.slurm import SlurmBed
from tests.conftest import Arbctl, brought_up, wait_until

JOB = """
session_id: s
objective: {python: "samples:very_slow"}
metric: value
tuning:
  method: sobol
  search_space: {x: {type: float, bounds: [0, 1]}}
  max_iterations: 200
"""
# Half of the trials are pruned, at steps that depend on what the others reported.
PRUNED_JOB = """
session_id: pruned
objective: {python: "steps:steps"}
metric: value
tuning:
  method: random
  search_space: {x: {type: float, bounds: [0, 1]}}
  max_iterations: 60
  generation_size: 6
  prune: {rule: median, startup_trials: 4}
execution: {priority: 1}
"""
STEPS = """
import time
def steps(params, trial):
    for step in range(6):
        time.sleep(0.05)
        trial.report(step, params["x"] - 1 / (1 + step))
    return {"value": params["x"], "steps": step}
"""


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("90", 5_400), ("1:30", 90), ("2:00:05", 7_205), ("1-12", 129_600), ("1-0:30", 88_200), ("1-0:0:1", 86_401)],
)
def test_a_time_limit_is_what_sbatch_takes_it_for(limit: str, seconds: int) -> None:
    assert seconds_of(limit) == seconds


@pytest.mark.parametrize("limit", ["", "1h", "-5", "1:2:3:4", "UNLIMITED", "1-"])
def test_what_is_no_time_limit_is_refused(limit: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        seconds_of(limit)


def test_the_script_is_bash_and_says_all_that_was_asked_for(arbctl: Arbctl, tmp_path: Path) -> None:
    code, out, _ = arbctl(
        "slurm",
        "script",
        "--time",
        "2:00:00",
        "--jobs",
        "20",
        "--slots",
        "8",
        "--partition",
        "short",
        "--sbatch",
        "--mem=8G",
    )
    assert code == 0
    assert subprocess.run(["bash", "-n"], input=out, text=True, check=True).returncode == 0
    for option in ("--array=1-20", "--cpus-per-task=8", "--time=2:00:00", "--partition=short", "--mem=8G"):
        assert f"#SBATCH {option}\n" in out
    assert '--walltime "$((7200 - SECONDS))"' in out
    assert f"--config {tmp_path / 'arbd.yaml'}" in out


@pytest.mark.parametrize("separator", ["=", " "])
@pytest.mark.parametrize("name", ["time", "tim", "time-min", "array", "cpus-per-task", "cpus", "ntasks"])
def test_what_a_worker_has_to_know_is_not_changed_behind_it(arbctl: Arbctl, name: str, separator: str) -> None:
    code, out, err = arbctl("slurm", "script", "--time", "10", "--sbatch", f"--{name}{separator}5")
    assert (code, out) == (2, "")
    assert "is not passed to sbatch: use --" in err


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--mem=8G", "--mem=8G"),
        ("--requeue", "--requeue"),
        ("--nodes 1", "--nodes 1"),
        ("--job-name=two words", '--job-name="two words"'),
        ('--comment="two words"', '--comment="two words"'),
        ("--comment=8G # all of it", '--comment="8G # all of it"'),
        ("--comment=anna's", '--comment="anna\'s"'),
    ],
)
def test_a_value_is_one_value_for_sbatch_whatever_is_in_it(arbctl: Arbctl, option: str, line: str) -> None:
    code, out, _ = arbctl("slurm", "script", "--time", "10", "--sbatch", option)
    assert code == 0
    assert f"#SBATCH {line}\n" in out


@pytest.mark.parametrize(
    ("value", "told"), [('say "this" twice', "spaces and a double quote"), ('5"', "a double quote")]
)
def test_a_value_that_cannot_be_made_one_is_refused(arbctl: Arbctl, value: str, told: str) -> None:
    code, out, err = arbctl("slurm", "script", "--time", "10", "--sbatch", f"--comment={value}")
    assert (code, out) == (2, "")
    assert f"--comment={value}: the value has {told}, which sbatch cannot read: leave the double quotes out" in err


@pytest.mark.parametrize(("limit", "is_enough"), [("0", False), ("0:35", False), ("0:36", True), ("0-0", False)])
def test_a_time_that_draining_alone_would_use_up_is_refused_before_anything_is_queued(
    arbctl: Arbctl, limit: str, is_enough: bool
) -> None:
    code, out, err = arbctl("slurm", "script", "--time", limit)
    assert (code == 0) is is_enough
    assert ("but draining alone takes 35 s" in err) is not is_enough
    assert ("(no limit to Slurm, which is not supported)" in err) is (limit in ("0", "0-0"))


@pytest.mark.parametrize(("restarts", "worker_id"), [({}, "slurm-7-3"), ({"SLURM_RESTART_COUNT": "2"}, "slurm-7-3-2")])
def test_a_job_that_slurm_runs_again_is_another_worker_than_the_one_that_was_lost(
    arbctl: Arbctl, restarts: dict[str, str], worker_id: str
) -> None:
    _, out, _ = arbctl("slurm", "script", "--time", "10", "--slots", "8")
    said = re.sub(r"exec .* \\\n", 'printf "%s " \\\\\n', out)
    variables = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", **restarts}
    done = subprocess.run(["bash", "-u"], input=said, text=True, check=True, capture_output=True, env=variables)
    assert done.stdout.split() == ["--worker-id", worker_id, "--slots", "8", "--walltime", "600"]


@pytest.mark.parametrize("option", ["mem=8G", "--mem=8G\n#SBATCH --uid=0", "rm -rf /", "--mem=8G\x1b"])
def test_what_is_no_option_of_sbatch_does_not_get_into_the_script(arbctl: Arbctl, option: str) -> None:
    code, out, err = arbctl("slurm", "script", "--time", "10", "--sbatch", option)
    assert (code, out) == (2, "")
    assert "no option of sbatch" in err


def test_a_walltime_that_draining_alone_would_use_up_is_refused(layout: SpoolLayout) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arbd.daemon", "run", "--spool", layout.root, "--walltime", "60"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--walltime 60 leaves no time to work" in done.stderr


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmBed]:
    with brought_up(SlurmBed(tmp_path_factory.mktemp("slurm"))) as up:
        yield up


def rows_of_session(spool: Path) -> list[tuple[object, ...]]:
    found = sorted(load_session(spool, "pruned"), key=lambda result: result.iteration)
    return [(row.iteration, row.status, row.params, row.metrics, row.reports) for row in found]


@pytest.mark.bed
def test_jobs_of_slurm_give_back_what_they_have_before_their_time_is_over_and_the_next_go_on(
    layout: SpoolLayout, arbctl: Arbctl, slurm: SlurmBed, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    # No job of Slurm's has less than a minute; the more of it is set aside for draining, the less has to be waited for.
    settings = tmp_path / "arbd.yaml"
    settings.write_text(settings.read_text().replace("drain_timeout_s: 5", "drain_timeout_s: 20"))
    (tmp_path / "objectives" / "steps.py").write_text(STEPS)
    (tmp_path / "pruned.yaml").write_text(PRUNED_JOB)
    for name in ("job.yaml", "pruned.yaml"):
        assert arbctl("submit", tmp_path / name)[0] == 0
    script = tmp_path / "workers.sh"
    options = ("--time", "1", "--jobs", "2", "--slots", "2", "--sbatch", f"--chdir={tmp_path}")
    assert arbctl("slurm", "script", *options, "--output", script)[0] == 0

    def run_array() -> tuple[str, int]:
        number = slurm.run("sbatch", "--parsable", script).strip()
        wait_until(lambda: not slurm.run("squeue", "-h", "-j", number, check=False).strip(), 120, "the end of the jobs")
        told = slurm.run("scontrol", "show", "job", number)
        # Neither was ended by Slurm because its time was over.
        assert told.count("JobState=COMPLETED") == 2, told
        return number, len(load_session(layout.root, "s"))

    first, done = run_array()
    assert 0 < done < 200
    logs = [path.read_text() for path in tmp_path.glob(f"arbd-{first}-*.log")]
    assert ["the walltime" in log for log in logs] == [True, True]
    for _ in range(5):
        # Where the machine is busy, one more does not do it all.
        if done < 200:
            _, done = run_array()
    found = load_session(layout.root, "s")
    assert sorted(result.iteration for result in found) == list(range(1, 201))
    assert all(result.metrics["value"] == result.params["x"] for result in found)
    assert len({result.worker_id for result in found}) >= 3
    # Who is pruned, and at which step, is the same there, in two jobs, as in one slot here.
    (tmp_path / "alone").mkdir()
    assert arbctl("--spool", tmp_path / "alone", "run", tmp_path / "pruned.yaml", "--workers", "1")[0] == 0
    there, here = rows_of_session(layout.root), rows_of_session(tmp_path / "alone")
    assert there == here
    assert [row[1] for row in there].count("pruned") >= 10
