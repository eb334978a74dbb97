"""What an iteration leaves in an interpreter of its own, or in a kept program, is no other iteration's affair."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arbd.errors import ObjectiveError
from arbd.job.spec import ObjectiveSpec
from arbd.objective.load import load_evaluator
from arbd.objective.processes import children, kill_children
from arbd.objective.program import CommandError
from arbd.objective.protocol import Trial
from tests.daemon.leftovers import KINDS, running_with, write_module
from tests.objective.test_objectives import SPEC

GAP = 3
COMBINATIONS = 200 if os.environ.get("ARBD_FULL") else 3


def play(objective: ObjectiveSpec, folder: Path, n: int) -> dict[int, Any]:
    """What each iteration comes to: its metrics, or the kind of its error."""
    found: dict[int, Any] = {}
    own = children()
    spec = replace(SPEC, objective=objective)
    with closing(load_evaluator(spec, f"{folder}", None, [folder])) as evaluator:
        for iteration in range(1, n + 1):
            try:
                metrics = evaluator.evaluate({"x": 0.5}, Trial(iteration, 7 + iteration, "s")).metrics
            except (ObjectiveError, CommandError) as error:
                found[iteration] = f"failed: {error}"
            else:
                found[iteration] = dict(metrics)
            # As a slot's cell does.
            kill_children(except_for=own | evaluator.kept)
    assert children() == own
    # Programs get the session's name in their environment, and hand it on to whatever they start.
    assert running_with(f"ARBD_SESSION_ID={folder}") == []
    return found


def interpreted(folder: Path, left: Mapping[int, str], n: int) -> dict[int, Any]:
    folder.mkdir(exist_ok=True)
    write_module(folder / "own.py", left)
    return play(ObjectiveSpec("python", ("own:objective",), interpreter=sys.executable), folder, n)


def assert_others_are_equal(found: Mapping[int, Any], undisturbed: Mapping[int, Any], left: Mapping[int, str]) -> None:
    assert {i: row for i, row in found.items() if i not in left and row != undisturbed[i]} == {}
    assert not [row for row in undisturbed.values() if isinstance(row, str)]


def test_every_other_iteration_in_the_interpreter_is_as_if_nothing_was_left(tmp_path: Path) -> None:
    left = {GAP * (position + 1): kind for position, kind in enumerate(KINDS)}
    n = GAP * len(KINDS) + 2
    found = interpreted(tmp_path / "left", left, n)
    assert_others_are_equal(found, interpreted(tmp_path / "not", {}, n), left)


@pytest.mark.parametrize("seed", range(COMBINATIONS))
def test_combinations_of_what_is_left_in_the_interpreter_disturb_no_other_iteration(tmp_path: Path, seed: int) -> None:
    rng = random.Random(f"interpreter {seed}")
    n = 30
    left = {rng.randint(1, n): rng.choice(KINDS) for _ in range(rng.randint(2, 8))}
    found = interpreted(tmp_path / "left", left, n)
    assert_others_are_equal(found, interpreted(tmp_path / "not", {}, n), left)


# What programs of any language do, each before or after the answer.
DEEDS = {
    "child": "subprocess.Popen(['sleep', '3600'])",
    "detached": "subprocess.run(['sh', '-c', 'setsid sleep 3600 > /dev/null 2>&1 &'])",
    "child with the outputs": "subprocess.Popen(['sleep', '3600'], stdout=1, stderr=2, start_new_session=True)",
    "stubborn": "subprocess.Popen(['sh', '-c', \"trap '' TERM INT HUP; sleep 3600\"])",
    "thread": "threading.Thread(target=time.sleep, args=(3600,)).start()",
    "signals": "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]",
    "umask": "os.umask(0o777)",
    "folder": "os.chdir('/')",
    "noise": "print('50 %', flush=True)",
    "errors": "os.write(2, b'x' * 300000)",
    "closed errors": "os.close(2)",
    "exit": "os._exit(3)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "child, and exit": "subprocess.Popen(['sleep', '3600'], start_new_session=True); os._exit(0)",
    "limits": "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))",
    "nonsense": "print('{oops}', flush=True)",
    "another answer": "print(json.dumps({'id': q['id'], 'metrics': {'v': -1}}), flush=True)",
    "descriptors": "[os.dup(2) for _ in range(50)]",
    "stopped": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
}
PROGRAM = """#!{python} -S
import json, os, resource, signal, subprocess, sys, threading, time
def do(kind):
{deeds}
LEFT = {left!r}
for line in sys.stdin:
    q = json.loads(line)
    when, kind = LEFT.get(q["iteration"], ("", ""))
    if when == "before": do(kind)
    print(json.dumps({{"id": q["id"], "metrics": {{"v": q["iteration"]}}}}), flush=True)
    if when == "after": do(kind)
"""


@pytest.mark.parametrize("seed", range(COMBINATIONS + 3))
def test_combinations_of_what_a_kept_program_does_disturb_no_other_iteration(tmp_path: Path, seed: int) -> None:
    rng = random.Random(f"lines {seed}")
    n = 40
    left = {i: (rng.choice(("before", "after")), rng.choice(list(DEEDS))) for i in rng.sample(range(1, n), 10)}
    program = tmp_path / "program"
    deeds = "\n".join(f"    if kind == {kind!r}: {deed}" for kind, deed in DEEDS.items())
    program.write_text(PROGRAM.format(python=sys.executable, deeds=deeds, left=left))
    program.chmod(0o755)
    found = play(ObjectiveSpec("command", (str(program),), "lines"), tmp_path, n)
    assert {i: row for i, row in found.items() if i not in left} == {
        i: {"v": float(i)} for i in range(1, n + 1) if i not in left
    }
