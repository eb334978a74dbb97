"""Some hundred hostile cases in every run of the tests; bin/fuzz plays as many as one likes. And that they would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fuzz.corpus import make_corpus

PLAY = """
import sys
from pathlib import Path
{plant}
from tests.fuzz import play
# How fast a busy machine is, is not the question here.
play.MAX_CPU_S, play.MAX_WAIT_S = 20.0, 60.0
for number, reason, _ in play.play_range(Path(sys.argv[1]), 2026, range({cases})).failures:
    print(number, reason.partition(":")[0])
"""
# Records of foreign ledgers are believed, whatever is in them.
CARELESS = """
from typing import get_args
from arbd.records import RecordFormat, unpack
from arbd.spool import ledger_records
KINDS = {each.__struct_config__.tag: each for each in get_args(ledger_records.LedgerRecord)}
decode = RecordFormat.decode
def believe(self, payload, path="a record"):
    try:
        return decode(self, payload, path)
    except ValueError:
        plain = unpack(payload)
        kind = KINDS.get(plain.get("k")) if self is ledger_records.LEDGER and isinstance(plain, dict) else None
        if kind is None:
            raise
        names = zip(kind.__struct_fields__, kind.__struct_encode_fields__)
        return kind(**{name: plain.get(key) for name, key in names})
RecordFormat.decode = believe
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("fuzz") / "corpus").folder


def play(corpus: Path, cases: int, plant: str = "") -> list[str]:
    """In a process of its own, because timers and audit hooks are the process's; coverage would be measured there too."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    found = subprocess.run(
        [sys.executable, "-c", PLAY.format(plant=plant, cases=cases), str(corpus)], cwd=REPOSITORY,
        capture_output=True, text=True, check=False, env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_hostile_files_give_clean_errors_and_touch_nothing(corpus: Path) -> None:
    assert play(corpus, 600) == []


def test_a_reader_that_believes_what_it_reads_is_noticed(corpus: Path) -> None:
    assert any(line.endswith(("TypeError", "KeyError", "AttributeError")) for line in play(corpus, 150, CARELESS))


PATIENCE = """
import os, signal, time
from tests.fuzz import play
play.MAX_CPU_S, play.MAX_WAIT_S, play.LEAST_ON_ITS_WAY_S = 60.0, 0.5, 0.05
patience = play.Patience()
signal.signal(signal.SIGALRM, patience.expired)
signal.signal(signal.SIGPROF, patience.expired)
patience.begin()
until = time.process_time() + 1.5
while time.process_time() < until:
    pass
print("computed")
child = os.fork()
if not child:
    while time.process_time() < 1.5:
        pass
    os._exit(0)
os.waitpid(child, 0)
print("had it computed")
try:
    os.read(os.pipe()[0], 1)
except play.HangError as error:
    print(error)
patience.end()
"""


def test_a_case_that_waits_for_anything_but_a_processor_is_ended() -> None:
    told = subprocess.run([sys.executable, "-c", PATIENCE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["computed", "had it computed", "took longer than 0.5 s"]
