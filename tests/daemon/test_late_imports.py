"""A library that is imported within an iteration works in all later ones of its process as in that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbd.analysis.table import load_table
from arbd.spool.layout import SpoolLayout
from tests.conftest import Arbctl
from tests.jobs import write_job

N = 6
# It finds modules that are in no folder, as libraries do that stand for several versions of others.
LIBRARY = """
import importlib.machinery, sys

class Moves:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.startswith("late_library.moves"):
            return importlib.machinery.ModuleSpec(name, cls, is_package=name == "late_library.moves")

    @staticmethod
    def create_module(spec): return None

    @staticmethod
    def exec_module(module): module.VALUE = float(len(module.__name__))

__path__ = []
sys.meta_path.{how}
"""
OBJECTIVE = """
import importlib, os, threading, time

def objective(params, trial):
    with open({pids!r}, "a") as file: file.write(f"{{os.getpid()}}\\n")
    import late_library
    if {alone}: threading.Thread(target=time.sleep, args=(3600,)).start()
    return {{"value": params["x"] + importlib.import_module("late_library.moves.of" + "_" * trial.iteration).VALUE}}
"""


@pytest.mark.parametrize("how", ["append(Moves)", "insert(0, Moves)"])
def test_what_a_library_imports_later_is_found_whoever_evaluated_what(
    arbctl: Arbctl, layout: SpoolLayout, objectives: Path, tmp_path: Path, how: str
) -> None:
    (objectives / "late_library.py").write_text(LIBRARY.replace("{how}", how))
    rows = {}
    for name, alone in (("together", False), ("alone", True)):
        pids = tmp_path / name
        (objectives / f"{name}.py").write_text(OBJECTIVE.format(pids=f"{pids}", alone=alone))
        job = write_job(tmp_path / f"{name}.yaml", f"{name}:objective", N, execution={"retries": 0}, session_id=name)
        code, _, err = arbctl("run", job, "--worker-id", "w", "--workers", "1")
        assert code == 0, err
        # A process in which something is left running is replaced; fast iterations are tried together before.
        processes = len(set(pids.read_text().split()))
        assert processes >= N if alone else processes == 1
        found = load_table(layout.root, name).rows
        assert found.errors == {}
        rows[name] = list(zip(found.iteration.tolist(), found.metrics["value"].tolist(), strict=True))
    assert rows["together"] == rows["alone"]
    assert len(rows["alone"]) == N
