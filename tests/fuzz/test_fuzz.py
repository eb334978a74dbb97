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
from tests.fuzz.play import play_range
for number, reason, _ in play_range(Path(sys.argv[1]), 2026, range({cases})).failures:
    print(number, reason.partition(":")[0])
"""
# Records of foreign ledgers are believed, whatever is in them.
CARELESS = """
from arbd.spool import ledger_records
ledger_records._CHECKS = dict.fromkeys(ledger_records._CHECKS, lambda record, n: None)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("fuzz") / "corpus").folder


def play(corpus: Path, cases: int, plant: str = "") -> list[str]:
    """In a process of its own: timers and audit hooks are the process's."""
    found = subprocess.run(
        [sys.executable, "-c", PLAY.format(plant=plant, cases=cases), str(corpus)], cwd=REPOSITORY,
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_hostile_files_give_clean_errors_and_touch_nothing(corpus: Path) -> None:
    assert play(corpus, 600) == []


def test_a_reader_that_believes_what_it_reads_is_noticed(corpus: Path) -> None:
    assert any(line.endswith(("TypeError", "KeyError", "AttributeError")) for line in play(corpus, 150, CARELESS))
