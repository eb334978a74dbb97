"""Functions are compiled as parts of their callers where Numba is as it was, in its public way elsewhere: the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from arbd.paper.compiled import KNOWN, PUBLIC_WAY
from tests.conftest import REPOSITORY, Arbctl

# What a Numba may be like inside that is another one, and what is said of it.
OTHERS = {
    "import numba; numba.__version__ = '0.99.0'": "this is 0.99.0",
    "import numba; numba.__version__ = '0.59.1'": "this is 0.59.1",
    "import numba.core.codegen as m; del m.JITCodeLibrary": "ImportError: cannot import name 'JITCodeLibrary'",
    "import numba.core.codegen as m; m.JITCodeLibrary = type('Other', (), {})": "TypeError: ",
    "import numba.core.codegen as m; "
    "m.JITCodeLibrary = type('Other', (m.JITCodeLibrary,), {'_get_module_for_linking': None})": "TypeError: ",
}


def answer(folder: Path, *statements: str, **environment: str) -> dict[str, str]:
    folder.mkdir(mode=0o700)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment}
    command = [sys.executable, "-m", "tests.paper.parts", *statements]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return answer(tmp_path_factory.mktemp("usual") / "code")


def test_this_numba_compiles_functions_as_parts_of_their_callers(usual: dict[str, str]) -> None:
    assert usual["why"] == ""
    assert KNOWN[0] <= tuple(int(part) for part in numba.__version__.split(".")[:2]) <= KNOWN[1]


@pytest.mark.parametrize("statement", OTHERS)
def test_another_numba_gives_the_same_bits_in_its_public_way(
    statement: str, usual: dict[str, str], tmp_path: Path
) -> None:
    found = answer(tmp_path / "code", statement)
    assert OTHERS[statement] in found["why"]
    assert found["bits"] == usual["bits"]


def test_whoever_asks_for_the_public_way_gets_the_same_bits(usual: dict[str, str], tmp_path: Path) -> None:
    found = answer(tmp_path / "code", **{PUBLIC_WAY: "1"})
    assert found == {"why": f"{PUBLIC_WAY} is set", "bits": usual["bits"]}


def test_the_doctor_says_which_way_is_taken_and_why(arbctl: Arbctl, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = json.loads(arbctl("doctor", "--json")[1])["findings"]
    assert [each["verdict"] for each in findings if each["check"] == "engine"] == ["ok"]
    monkeypatch.setenv(PUBLIC_WAY, "1")
    findings = json.loads(arbctl("doctor", "--json")[1])["findings"]
    [engine] = [each for each in findings if each["check"] == "engine"]
    assert engine["verdict"] == "warning"
    assert f"{PUBLIC_WAY} is set" in engine["found"]
