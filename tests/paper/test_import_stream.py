"""Files of one venue pass through in pieces: what comes out, and what is refused, is what checking the whole gives."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import DataError
from arbd.paper.market import readers
from arbd.paper.market.importers import FORMATS, VenueOptions, VenuePiece, import_venue, pieces
from arbd.paper.market.importers.pieces import stored_pieces
from arbd.paper.market.importers.venue import Imported, checked
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.synth import synth_profile
from tests.conftest import Arbctl
from tests.paper.test_levels_and_funding import same

PATH = Path("venue.csv")


def columns(times: list[int], seed: int, *, sizes: bool) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    bid = rng.uniform(99, 100, len(times))
    made = {"ts_ns": np.array(times, dtype=np.int64), "bid": bid, "ask": bid + 0.5}
    return made | ({name: rng.uniform(1, 2, len(times)) for name in ("bid_size", "ask_size")} if sizes else {})


def outcome(imported: Any) -> Any:
    try:
        done: Imported = imported()
    except DataError as error:
        return error.reason, error.row
    quotes = done.quotes.columns()
    return done.notes, {name: (column.strides == (0,), column.tolist()) for name, column in quotes.items()}


@given(
    times=st.one_of(
        st.lists(st.integers(0, 30), min_size=1, max_size=30),
        st.lists(st.integers(0, 30), min_size=1, max_size=30).map(sorted),
        st.lists(st.integers(0, 30), min_size=1, max_size=30).map(lambda each: sorted(each, reverse=True)),
    ),
    bad=st.sets(st.integers(0, 29), max_size=3),
    sequenced=st.booleans(),
    sizes=st.booleans(),
    rows=st.integers(1, 8),
    seed=st.integers(0, 5),
)
@settings(max_examples=300, deadline=None)
def test_pieces_of_a_file_are_checked_and_put_in_order_as_the_whole_of_it(
    times: list[int], bad: set[int], sequenced: bool, sizes: bool, rows: int, seed: int
) -> None:
    made = columns(times, seed, sizes=sizes)
    made["bid"][[row for row in bad if row < len(times)]] = np.nan
    n = len(times)
    sequence = np.random.default_rng(seed).integers(0, 5, n) if sequenced else None
    number = np.arange(n) * 3 + 7

    def parts() -> Generator[VenuePiece, None, None]:
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            own = None if sequence is None else sequence[part]
            yield VenuePiece({name: column[part] for name, column in made.items()}, own, number[part])

    for on_bad_rows in ("refuse", "drop"):
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "ORDER_ROWS", rows)
            patch.setattr(pieces, "SAMPLES", 2)
            found = outcome(lambda how=on_bad_rows, to=name: stored_pieces(PATH, parts(), how, Path(to) / "v"))
        assert found == outcome(lambda how=on_bad_rows: checked(PATH, made, how, sequence=sequence, rows=number))


@pytest.mark.parametrize("kept", [1000, 3])
def test_formats_of_quotes_give_in_pieces_what_they_give_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """A file of several symbols, with rows of one that is bad, mixed up, packed, and in two parts."""
    quotes = columns(sorted(np.random.default_rng(3).integers(0, 10**6, 40).tolist()), 3, sizes=True)
    us = quotes["ts_ns"] + 1_700_000_000_000_000
    tardis = ["exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"]
    ticker = [",".join(("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty",
                        "transaction_time", "event_time"))]  # fmt: skip
    own = ["ts_us,bid,ask,bid_size,ask_size"]
    for row in range(40):
        bid, ask, bids, asks = (quotes[name][row] for name in ("bid", "ask", "bid_size", "ask_size"))
        price = "" if row == 17 else bid
        tardis += [f"x,B,{us[row]},{us[row]},{asks},{ask},{price},{bids}", f"x,C,{us[row]},{us[row]},1,2,1,1"]
        ticker.append(f"{40 - row},{bid},{bids},{ask},{asks},{us[row] // 2_000_000 * 1000},{us[row]}")
        own.append(f"{us[row]},{bid if row != 11 else -1},{ask},{bids},{asks}")
    files = {"tardis-quotes": tardis, "binance-bookticker": ticker, "quotes": own}
    found: dict[str, Any] = {}
    for how in ("whole", "pieces"):
        if how == "pieces":
            monkeypatch.setattr(readers, "CHUNK_ROWS", kept)
            monkeypatch.setattr(readers, "WHOLE_CSV_BYTES", 0)
            monkeypatch.setattr(readers, "WHOLE_BYTES", {})
        for name, lines in files.items():
            assert FORMATS.get(name).pieces is not None
            path = tmp_path / f"{name}.csv"
            path.write_text("\n".join(lines) + "\n")
            for on_bad_rows in ("refuse", "drop"):
                options = VenueOptions(on_bad_rows, "B" if name == "tardis-quotes" else None)
                got = outcome(lambda name=name, path=path, options=options: import_venue(name, [path], options))
                assert found.setdefault(f"{name} {on_bad_rows}", got) == got, (name, on_bad_rows)


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv", ".csv.zst"])
def test_a_join_of_many_spans_is_written_as_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arbctl: Arbctl, suffix: str
) -> None:
    from arbd.paper.market.importers import join

    quotes = synth_profile("kimchi", 3, 600)
    for letter, rows in (("a", slice(0, None, 2)), ("b", slice(1, None, 2))):
        sides = {name: getattr(quotes, f"{name}_{letter}")[rows] for name in ("bid", "ask", "bid_size", "ask_size")}
        np.savez(tmp_path / f"{letter}.npz", ts_ns=quotes.ts_ns[rows], **sides)
    given_ = ["market", "import", "--format", "quotes", "--a", tmp_path / "a.npz", "--b", tmp_path / "b.npz"]
    outputs = []
    for span_rows in (1 << 18, 50):
        monkeypatch.setattr(join, "SPAN_ROWS", span_rows)
        output = tmp_path / f"q{span_rows}{suffix}"
        code, out, err = arbctl(*given_, "--output", output, "--max-gap-s", "3600")
        assert (code, err) == (0, "")
        assert "598 rows in" in out
        outputs.append(read_quotes(output)[0])
    assert same(*outputs)


LIMITED = """
import resource, sys
from arbd.cli.__main__ import call
import duckdb, numpy
base = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (base + (int(sys.argv[1]) << 20),) * 2)
sys.exit(call(sys.argv[2:]))
"""


def test_two_venues_are_joined_in_less_memory_than_their_columns_have(tmp_path: Path) -> None:
    rows = int(1.5e6)
    bid = np.resize(np.linspace(99, 100, 1000), rows)
    for letter, first in (("a", 0), ("b", 1)):
        ts_ns = 1_700_000_000 * 10**9 + (first + 2 * np.arange(rows, dtype=np.int64)) * 10**6
        np.savez(tmp_path / f"{letter}.npz", ts_ns=ts_ns, bid=bid, ask=bid + 1, bid_size=bid, ask_size=bid)
    held_mb = 2 * rows * 8 * (5 + 11) >> 20
    arguments = ["market", "import", "--format", "quotes", "--a", tmp_path / "a.npz", "--b", tmp_path / "b.npz",
                 "--output", tmp_path / "q.npz"]  # fmt: skip
    command = [sys.executable, "-c", LIMITED, str(held_mb // 2), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{2 * rows - 2:,} rows" in done.stdout
    assert len(read_quotes(tmp_path / "q.npz")[0]) == 2 * rows - 2
