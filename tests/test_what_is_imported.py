"""What the processes of a job, and the verbs of `arbctl`, import: heavy libraries only where they are used.

It counts modules, not seconds: what is imported without need is what a person waits for at every start.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from arbd.cli.__main__ import HOMES

HEAVY = (
    "numba", "llvmlite", "scipy", "pandas", "pyarrow", "duckdb", "redis", "prometheus_client", "watchdog", "optuna", "moocore",
    "cmaes", "rich", "numpy", "pydantic", "msgspec", "yaml", "http.client", "smtplib", "ssl", "email.message",
    "importlib.metadata", "asyncio", "unittest",
)  # fmt: skip
COUNT = f"import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
# Of each kind of process: what it begins with, and what of HEAVY that brings.
PROCESSES = {
    "daemon": ("import arbd.daemon.service", "msgspec watchdog"),
    "what evaluates": ("from arbd.daemon.slots import process; process.import_what_evaluates()", "msgspec numpy"),
    "the paper engine": ("import arbd.daemon.slots.engine_template", "llvmlite msgspec numpy yaml"),
    # Pydantic looks for plug-ins of its own.
    "intake": (
        "import arbd.daemon.side.intake_template",
        "msgspec numpy pydantic yaml importlib.metadata email.message",
    ),
    "compaction": ("import arbd.daemon.side.compactor, arbd.results.compaction", "msgspec numpy"),
}
# Each verb's help in a copy of a process that has imported the command line.
HELP = f"""
import contextlib, io, json, os, sys
from arbd.cli.__main__ import HOMES, call

for verb in HOMES:
    read, write = os.pipe()
    if os.fork() == 0:
        with contextlib.redirect_stdout(io.StringIO()):
            call([verb, "--help"])
        os.write(write, json.dumps([verb, [name for name in {HEAVY!r} if name in sys.modules]]).encode())
        os._exit(0)
    os.close(write)
    print(os.read(read, 10_000).decode())
    os.wait()
"""
# Records of a spool are msgpack; sessions know of search spaces, which are arrays.
OF_VERBS = {"msgspec", "numpy"}


@pytest.mark.parametrize("kind", PROCESSES)
def test_a_process_imports_nothing_heavy_but_what_it_uses(kind: str) -> None:
    statement, allowed = PROCESSES[kind]
    command = [sys.executable, "-c", f"{statement}\n{COUNT}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) <= set(allowed.split())


def test_no_verb_imports_anything_heavy_to_tell_what_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], check=True, capture_output=True, text=True)
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert set(found) == set(HOMES)
    assert {verb: heavy for verb, names in found.items() if (heavy := set(names) - OF_VERBS)} == {}
