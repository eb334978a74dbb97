"""Whoever is killed while promoting leaves parameters that somebody is on record for, or none; and the next one can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arbd.analysis.promotion import read_promotions
from arbd.spool.layout import SpoolLayout
from tests.analysis.test_robust_and_promote import _shown, make
from tests.conftest import Arbctl

# Of what is done after the code is checked, before which call the process dies.
DEATHS = {
    "before the record": "arbd.spool.files:Files.append",
    "between the record and the file": "arbd.analysis.promotion:whole_file",
    "while the file is written": "pathlib:Path.write_bytes",
    "before the file has its name": "arbd.atomic_file:_place",
}
KILLED = """
import importlib, os, signal, sys
module, _, name = sys.argv[1].partition(":")
owner = importlib.import_module(module)
*inside, name = name.split(".")
for each in inside:
    owner = getattr(owner, each)
setattr(owner, name, lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL))
from arbd.cli.__main__ import call
sys.exit(call(sys.argv[2:]))
"""


def _words(layout: SpoolLayout, to: Path, code: str) -> list[str]:
    return ["--spool", str(layout.root), "promote", "s", "--to", str(to), "--code", code]


def _on_record(layout: SpoolLayout) -> list[str]:
    return [entry["file"] for entry in read_promotions(layout.files(), layout)]


@pytest.mark.parametrize("before", [False, True], ids=["the first", "over another"])
@pytest.mark.parametrize("death", DEATHS)
def test_who_is_killed_leaves_no_parameters_without_a_record_and_the_next_one_goes_on(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, death: str, before: bool
) -> None:
    make(layout)
    to = tmp_path / "bot.json"
    if before:
        assert arbctl("promote", "s", "--to", to, "--code", _shown(arbctl, to))[0] == 0
    known = to.read_bytes() if before else None
    code = _shown(arbctl, to)
    ended = subprocess.run([sys.executable, "-c", KILLED, DEATHS[death], *_words(layout, to, code)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (to.read_bytes() if to.exists() else None) == known
    assert len(_on_record(layout)) == before + (death != "before the record")
    # What was shown is good until it is on record.
    again = arbctl("promote", "s", "--to", to, "--code", code)[0]
    assert again == (0 if death == "before the record" else 2)
    assert again == 0 or arbctl("promote", "s", "--to", to, "--code", _shown(arbctl, to))[0] == 0
    written = json.loads(to.read_text())
    assert written["provenance"] == read_promotions(layout.files(), layout)[-1]["provenance"]


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_half_a_record_hides_none_behind_it(arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, kept: float) -> None:
    make(layout)
    first, second = tmp_path / "one.json", tmp_path / "two.yaml"
    assert arbctl("promote", "s", "--to", first, "--code", _shown(arbctl, first))[0] == 0
    line = layout.promotions.read_bytes()
    layout.promotions.write_bytes(line + line[: int(kept * len(line))])
    assert arbctl("promote", "s", "--to", second, "--code", _shown(arbctl, second))[0] == 0
    assert _on_record(layout) == [str(first), str(second)]


def _both(one: Callable[[], subprocess.Popen[bytes]]) -> list[int]:
    running = [one(), one()]
    return sorted(each.wait(timeout=300) for each in running)


@pytest.mark.parametrize("same_file", [True, False], ids=["one file", "two files"])
def test_of_two_who_promote_at_once_one_is_on_record_for_what_it_was_shown(
    arbctl: Arbctl, layout: SpoolLayout, tmp_path: Path, same_file: bool
) -> None:
    make(layout)
    files = [tmp_path / "one.json", tmp_path / ("one.json" if same_file else "two.json")]
    given = [_words(layout, to, _shown(arbctl, to)) for to in files]
    turns = iter(given)

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "arbd.cli", *next(turns)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))

    # Whoever is second was shown what stood before the first.
    assert _both(start) == [0, 2]
    (recorded,) = _on_record(layout)
    assert [str(path) for path in dict.fromkeys(files) if path.exists()] == [recorded]
