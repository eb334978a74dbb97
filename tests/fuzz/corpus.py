"""The real files that are mutated: those of a small session that real slots evaluated, finished and half-way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from arbd.records import unpack
from arbd.spool.frames import encode_frame, scan_frames
from tests.conftest import REPOSITORY

OBJECTIVE = """
import numpy as np
from arbd.tuning import Outcome
def corpus(params, trial):
    if trial.iteration % 7 == 3: raise ValueError(f"no luck with {params}")
    trial.report(1, 0.5)
    return Outcome({"value": params["x"], "other": float(trial.iteration)}, np.ones((3, 2)))
"""

JOB = """
session_id: done
objective: {python: "fuzzed_objective:corpus"}
fixed: {c: 1.5, name: text}
metric: [value, other]
direction: [maximize, minimize]
tuning:
  method: random
  search_space:
    x: {type: float, bounds: [0.1, 1], log: true}
    s: {type: float, bounds: [0, 1], step: 0.25}
    k: {type: int, bounds: [1, 9]}
    kind: {type: choice, values: [up, down, 3]}
    flag: {type: bool}
  max_iterations: 40
  seed: 3
execution: {retries: 0, timeout_s: 60, priority: 1}
results: {csv: true}
"""

SETTINGS = """
allow: [paper, "python:fuzzed_objective:*", "python:rosenbrock:*", "python:day_by_day:*", "command:HOME/etc/objectives/*"]
objective_paths: [objectives, etc/objectives]
data_dirs: [etc/jobs, etc]
cache_dir: cache
"""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A folder with `spool/` (sessions `done` and `half`), `arbd.yaml` and what these need."""

    folder: Path

    @property
    def spool(self) -> Path:
        """The spool."""
        return self.folder / "spool"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.folder / "arbd.yaml"

    def jobs(self) -> list[bytes]:
        """Job files: the shipped ones, and the session's."""
        shipped = sorted((REPOSITORY / "etc" / "jobs").glob("*.yaml"))
        return [JOB.encode(), JOB.encode(), *(path.read_bytes() for path in shipped if "recorded" not in path.name)]


def make_corpus(folder: Path) -> Corpus:
    """Run the session. Takes some seconds."""
    corpus = Corpus(folder)
    for name in ("spool", "objectives", "cache"):
        (folder / name).mkdir(parents=True)
    (folder / "objectives" / "fuzzed_objective.py").write_text(OBJECTIVE)
    shutil.copytree(REPOSITORY / "etc", folder / "etc")
    corpus.config.write_text(SETTINGS)
    (folder / "job.yaml").write_text(JOB)
    command = [sys.executable, "-m", "arbd.cli", "--spool", str(corpus.spool), "--config", str(corpus.config)]
    quotes = ["market", "synth", "--output", str(folder / "etc" / "jobs" / "quotes.parquet"), "--ticks", "300"]
    subprocess.run([*command, *quotes], check=True, capture_output=True, cwd=REPOSITORY)
    for worker in ("host-a", "host-b"):
        subprocess.run(
            [*command, "run", str(folder / "job.yaml"), "--worker-id", worker, "--workers", "1"],
            check=True, capture_output=True, cwd=REPOSITORY, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    _half(corpus.spool / "sessions" / "done", corpus.spool / "sessions" / "half")
    return corpus


def _half(done: Path, half: Path) -> None:
    """The same session before it was compacted, with a part of it claimed and a part given back."""
    shutil.copytree(done, half)
    (half / "results.msgpack").unlink()
    (half / "results.csv").unlink()
    data = (half / "ledger").read_bytes()
    frames = [bytes(frame.payload) for frame in scan_frames(data).frames]
    kept = [payload for payload in frames if unpack(payload)["k"] != "done"]
    (half / "ledger").write_bytes(b"".join(encode_frame(payload) for payload in kept[:-1]))
