"""A table of one venue, given where quotes of two are wanted, is told what it is and by which command it becomes quotes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Arbctl

DAY = "2025-03-03 00:0{}:00"
CANDLES = ("Date", "Open", "High", "Low", "Close", "Volume")
COMMAND = re.compile(r"by `arbctl (market import [^`]+)`")


def candles(path: Path, names: tuple[str, ...], sep: str, start: str, price: float) -> Path:
    rows = [[start, *([f"{price + minute:g}"] * 4), "1"] for minute, start in enumerate(map(start.format, range(6)))]
    path.write_text("\n".join(sep.join(row) for row in [list(names), *rows]) + "\n", encoding="utf-8-sig")
    return path


def touches(path: Path, names: tuple[str, ...], sep: str, price: float) -> Path:
    rows = [[str(1_740_960_000_000 + 1_000 * i), f"{price + i:g}", f"{price + i + 1:g}"] for i in range(6)]
    path.write_text("\n".join(sep.join(row) for row in [list(names), *rows]) + "\n", encoding="utf-8-sig")
    return path


HEADERS = [
    ("date", str.capitalize, ";"),
    ("datetime", str.lower, "\t"),
    ("time", str.upper, "|"),
    ("timestamp", str.capitalize, ","),
    ("ts", str.upper, ";"),
]


@pytest.mark.parametrize(("time", "capitals", "sep"), HEADERS)
def test_candles_of_a_vendor_are_told_the_command_that_takes_them(
    arbctl: Arbctl, tmp_path: Path, capitals: type[str], sep: str, time: str
) -> None:
    names = tuple(map(capitals, (time, *CANDLES[1:])))
    a = candles(tmp_path / "a.csv", names, sep, DAY, 100)
    b = candles(tmp_path / "b.csv", names, sep, DAY, 101)
    code, _, err = arbctl("market", "describe", a)
    assert code == 2
    assert err.count("\n") == 1
    assert "these are candles of one venue" in err
    code, out, err = arbctl(*told(err, a, b, tmp_path / "q.csv"))
    assert (code, "6 candles" in out) == (0, True), err
    assert arbctl("market", "describe", tmp_path / "q.csv")[0] == 0


@pytest.mark.parametrize(("capitals", "sep"), [(str.lower, ";"), (str.capitalize, ",")])
def test_bids_and_asks_of_a_venue_are_told_the_command_that_takes_them_or_what_to_rename(
    arbctl: Arbctl, tmp_path: Path, capitals: type[str], sep: str
) -> None:
    names = ("ts_ms", *map(capitals, ("bid", "ask")))
    a = touches(tmp_path / "a.csv", names, sep, 100)
    b = touches(tmp_path / "b.csv", names, sep, 101)
    err = arbctl("market", "describe", a)[2]
    assert "these are bids and asks of one venue" in err
    code, _, err = arbctl(*told(err, a, b, tmp_path / "q.csv"))
    if names[1] == "bid":
        assert (code, err) == (0, "")
    else:
        assert "rename Bid to bid, Ask to ask" in err


def told(err: str, a: Path, b: Path, output: Path) -> list[str]:
    """The command of a message, with files and numbers in the places of its words in capitals."""
    found = COMMAND.search(err)
    assert found is not None, err
    given = {"FILE_OF_A": str(a), "FILE_OF_B": str(b), "quotes.parquet": str(output), "BPS": "2"}
    return [given.get(word, word) for word in found[1].split()]
