"""Every format of an exchange's files: what is in them comes out, packed or not, and what is wrong is said."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import ArbdError, DataError, UsageError
from arbd.paper.market.importers import FORMATS, FUNDING_FORMATS, VenueOptions, import_venue, read_funding
from arbd.paper.market.importers.book import CLEAR, BookReplay
from arbd.paper.market.readers import read_quotes
from tests.conftest import Arbctl
from tests.paper import dumps
from tests.paper.dumps import FILES, FUNDED, FUNDING_FILES, START_MS, stored

MS = 1_000_000
CASES = [(name, file, content) for name, files in FILES.items() for file, content in files]
IDS = [f"{name}-{file}" for name, file, _ in CASES]
BOOKS = ("binance-depth", "bybit-orderbook", "okx-orderbook", "hftbacktest")
OPTIONS = VenueOptions(half_spread_bps=10, levels=2)


def options_for(name: str) -> VenueOptions:
    return OPTIONS if FORMATS.get(name).candles else VenueOptions(levels=2)


def test_there_is_a_sample_of_every_format() -> None:
    assert set(FILES) == set(FORMATS.built_in())
    assert set(FUNDING_FILES) == set(FUNDING_FORMATS.built_in())


@pytest.mark.parametrize(("name", "file", "content"), CASES, ids=IDS)
def test_what_is_in_a_file_comes_out(tmp_path: Path, name: str, file: str, content: str | bytes) -> None:
    found = import_venue(name, [stored(tmp_path / file, content)], options_for(name))
    quotes = found.quotes
    if name in BOOKS:
        assert ((quotes.ts_ns // MS) - START_MS).tolist() == [t for t, *_ in dumps.AFTER]
        for level, suffix in ((0, ""), (1, "_2")):
            columns = quotes.columns()
            for side, of in ((1, "bid"), (2, "ask")):
                told = [row[side][level] for row in dumps.AFTER]
                assert list(zip(columns[of + suffix], columns[f"{of}_size{suffix}"], strict=True)) == told
    elif name.endswith("trades"):
        assert ((quotes.ts_ns // MS) - START_MS).tolist() == [t for t, *_ in dumps.TRADES]
        assert quotes.bid.tolist() == [price * (1 - 1e-3) for _, price, _ in dumps.TRADES]
    elif FORMATS.get(name).candles:
        assert ((quotes.ts_ns // MS - START_MS) // 60_000).tolist() == [1, 2, 3]
        assert quotes.ask.tolist() == [close * (1 + 1e-3) for close in dumps.CLOSES.values()]
        assert found.step_ns == 60_000 * MS
    else:
        assert len(quotes) == 2


@pytest.mark.parametrize("packing", [".gz", ".zip", ".tar.gz"])
@pytest.mark.parametrize(("name", "file", "content"), CASES, ids=IDS)
def test_a_packed_file_is_the_same(tmp_path: Path, name: str, file: str, content: str | bytes, packing: str) -> None:
    if file.endswith(".npz") or (packing == ".tar.gz" and file.endswith(".csv")):
        pytest.skip("not a way in which such files are given")
    if name == "quotes" and packing == ".zip":
        pytest.skip("quotes files are told by their suffix")
    plain = import_venue(name, [stored(tmp_path / file, content)], options_for(name)).quotes.columns()
    packed = import_venue(name, [stored(tmp_path / file, content, packing)], options_for(name)).quotes.columns()
    assert plain.keys() == packed.keys()
    assert all(np.array_equal(plain[key], packed[key], equal_nan=True) for key in plain)


@pytest.mark.parametrize("taken_for", sorted(FILES))
def test_a_file_of_another_format_is_refused_and_said_what_it_is(tmp_path: Path, taken_for: str) -> None:
    for name, file, content in CASES:
        path = stored(tmp_path / f"{name}-{file}", content)
        if name == taken_for or {name, taken_for} <= {"bybit-klines", "ccxt-ohlcv", "okx-candles", "binance-klines"}:
            continue  # bare candles without names look alike
        with pytest.raises((DataError, UsageError)) as caught:
            import_venue(taken_for, [path], options_for(taken_for))
        marks = FORMATS.get(name).marks
        if isinstance(content, str) and marks and all(mark in content for mark in marks):
            assert f"it looks like a file of {name}" in str(caught.value), (name, file)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
            "Binance's aggTrades",
        ),
        ("timestamp,percentage,depth,notional", "Binance's bookDepth"),
        ("calc_time,funding_interval_hours,last_funding_rate", "funding rates of Binance: name them with --funding-a"),
        ("ts_ns,bid_a,ask_a,bid_b,ask_b", "quotes of two venues, which need no import"),
    ],
)
def test_files_without_quotes_of_a_venue_are_told_for_what_they_are(tmp_path: Path, head: str, what: str) -> None:
    path = stored(tmp_path / "x.csv", head + "\n" + ",".join("1" for _ in head.split(",")) + "\n")
    for name in FILES:
        with pytest.raises((DataError, UsageError)) as caught:
            import_venue(name, [path], options_for(name))
        assert name == "hftbacktest" or what in str(caught.value), name


# Of each size that breaks something else: the last of 64 bits, in the file's unit and in ns, and of a float.
EXTREMES = ("9223372036854775807", "9223372036854775808", "9" * 15, "9" * 400, "9" * 5_000)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")
TEXT_FILES = [
    *((name, file, content, import_venue) for name, file, content in CASES if isinstance(content, str)),
    *((name, file, content, None) for name, files in FUNDING_FILES.items() for file, content in files),
]


@pytest.mark.parametrize(
    "extreme", EXTREMES, ids=lambda text: text[:24] + ("" if len(text) < 25 else f"-of-{len(text)}")
)
@pytest.mark.parametrize(
    ("name", "file", "content", "reader"), TEXT_FILES, ids=[f"{name}-{file}" for name, file, *_ in TEXT_FILES]
)
def test_numbers_of_any_size_are_read_or_refused(
    tmp_path: Path, name: str, file: str, content: str, reader: object, extreme: str
) -> None:
    """Every number of a file in turn; times that come out are in the order in which they were told, none of them wrapped."""
    places = list(NUMBER.finditer(content))
    assert places
    # The first of a file have all kinds of fields; what follows repeats them.
    for place in places[:8]:
        path = stored(tmp_path / file, content[: place.start()] + extreme + content[place.end() :])
        try:
            ts_ns = (
                import_venue(name, [path], options_for(name)).quotes.ts_ns
                if reader is not None
                else read_funding(FUNDING_FORMATS.get(name), [path]).ts_ns
            )
        except ArbdError as error:
            assert file in str(error), place
            continue
        assert (np.diff(ts_ns) >= 0).all(), place


HOSTILE = [
    b"",
    b"\0" * 300,
    b"{",
    b"[" * 5000,
    b"\xff\xfe\x00",
    b'{"a": 1}',
    b"[]",
    b"[1, 2]",
    b"null",
    b"a,b\n1,2\n",
    b"\n\n",
]


@pytest.mark.parametrize(("name", "file", "content"), CASES, ids=IDS)
def test_hostile_files_end_in_an_error_that_names_them(
    tmp_path: Path, name: str, file: str, content: str | bytes
) -> None:
    """Garbage, and every kind of damage to a good file: cut, doubled, a cell that is something else."""
    rng = random.Random(name + file)
    good = content.encode() if isinstance(content, str) else content
    pieces = [*HOSTILE, good[: len(good) // 2], good[: len(good) - 3]]
    for value in (b"nan", b"-1", b"1e999", b'"x"', b"", b"99999999999999999999", b"0"):
        for _ in range(3):
            numbers = [
                at for at in range(len(good) - 1) if good[at : at + 1].isdigit() and not good[at - 1 : at].isalnum()
            ]
            at = rng.choice(numbers or [0])
            end = at
            while end < len(good) and good[end : end + 1] in b"0123456789.":
                end += 1
            pieces.append(good[:at] + value + good[end:])
    for number, piece in enumerate(pieces):
        path = stored(tmp_path / f"{number}-{file}", piece)
        for bad_rows in ("refuse", "drop"):
            options = VenueOptions(bad_rows, half_spread_bps=options_for(name).half_spread_bps, levels=2)
            try:
                quotes = import_venue(name, [path], options).quotes
            except ArbdError as error:
                assert path.name in str(error)
                continue
            assert (np.diff(quotes.ts_ns) >= 0).all()
            assert ((quotes.bid > 0) & (quotes.bid <= quotes.ask) & (quotes.ask < np.inf)).all()


def test_a_candle_without_a_trade_is_no_fresh_price_and_missing_ones_are_said(tmp_path: Path, arbctl: Arbctl) -> None:
    rows = [dumps.candle(0, 100.0), dumps.candle(1, 100.0, 0.0), dumps.candle(2, 101.0), dumps.candle(7, 103.0)]
    a = stored(tmp_path / "a.json", json.dumps(rows))
    b = stored(tmp_path / "b.json", json.dumps([dumps.candle(minute, 100.0) for minute in range(8)]))
    found = import_venue("ccxt-ohlcv", [a], OPTIONS)
    assert (found.quotes.ts_ns // MS - START_MS).tolist() == [60_000, 180_000, 480_000]
    assert any("1 candles without a trade left out" in note for note in found.notes)
    assert any("5 candles are missing in 2 places, the longest 300 s" in note for note in found.notes)
    target = tmp_path / "q.csv"
    command = ["market", "import", "--format", "ccxt-ohlcv", "--a", a, "--b", b, "--half-spread-a-bps", "1"]
    command += ["--half-spread-b-bps", "1", "--output", target]
    code, out, err = arbctl(*command)
    assert (code, err) == (0, "")
    assert "5 candles are missing in 2 places" in out
    quotes, _ = read_quotes(target)
    assert (quotes.age_a_ns // (60_000 * MS)).tolist() == [0, 1, 0, 1, 2, 3, 4, 0]
    assert arbctl(*command, "--max-gap-s", "60")[0] == 0
    gaps, _ = read_quotes(target)
    assert (gaps.age_a_ns // (60_000 * MS)).tolist() == [0, 1, 0, 1, 0]
    assert len(set(gaps.block.tolist())) == 3


@pytest.mark.parametrize(
    ("name", "file", "content"), [(n, f, c) for n, files in FUNDING_FILES.items() for f, c in files]
)
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_funding_comes_out_of_every_file_of_it(
    tmp_path: Path, name: str, file: str, content: str, packing: str
) -> None:
    found = read_funding(FUNDING_FORMATS.get(name), [stored(tmp_path / file, content, packing)])
    assert [(int(t) // MS - START_MS, rate) for t, rate in zip(found.ts_ns, found.rate, strict=True)] == FUNDED


@pytest.mark.parametrize("name", sorted(FUNDING_FILES))
def test_hostile_files_of_funding_end_in_an_error_that_names_them(tmp_path: Path, name: str) -> None:
    importer = FUNDING_FORMATS.get(name)
    for file, content in FUNDING_FILES[name]:
        bad = [*HOSTILE, content.replace("-0.00025", "x").encode(), content.replace("-0.00025", "25").encode()]
        bad.append(content.replace(str(START_MS), "12").encode())
        for number, piece in enumerate(bad):
            path = stored(tmp_path / f"{number}-{file}", piece)
            with pytest.raises(ArbdError, match=path.name):
                read_funding(importer, [path])
    path = stored(tmp_path / f"one-{file}", content)
    again = stored(tmp_path / f"two-{file}", content.replace("0.0001", "0.0002"))
    assert len(read_funding(importer, [path, path]).rate) == 3
    with pytest.raises(DataError, match="is told twice, as 0.0001 and as 0.0002"):
        read_funding(importer, [path, again])


def test_funding_is_joined_by_time_and_in_a_gap_with_the_first_row_after_it(tmp_path: Path, arbctl: Arbctl) -> None:
    day = [dumps.candle(minute * 60, 100.0 + minute % 3) for minute in range(24) if not 7 <= minute <= 9]
    venue = stored(tmp_path / "a.json", json.dumps(day))
    for name, (file, content) in {name: files[0] for name, files in FUNDING_FILES.items()}.items():
        funding = stored(tmp_path / f"{name}-{file}", content)
        target = tmp_path / "q.parquet"
        command = ["market", "import", "--format", "ccxt-ohlcv", "--a", venue, "--b", venue, "--output", target]
        command += ["--half-spread-a-bps", "1", "--half-spread-b-bps", "1"]
        code, out, err = arbctl(*command, "--funding-b", funding, "--funding-format-b", name)
        assert (code, err) == (0, "")
        assert "1 payments of funding outside of these rows left out" in out
        quotes, _ = read_quotes(target)
        paid = np.flatnonzero(~np.isnan(quotes.funding_b))
        assert [(int(quotes.ts_ns[r]) // MS - START_MS, float(quotes.funding_b[r])) for r in paid] == FUNDED[1:]
        assert "funding_a" not in quotes.told()
        assert arbctl(*command, "--funding-a", funding, "--funding-format-a", name, "--max-gap-s", "3599")[0] == 0
        quotes, _ = read_quotes(target)
        paid = np.flatnonzero(~np.isnan(quotes.funding_a))
        assert ((quotes.ts_ns[paid] // MS - START_MS) // 3_600_000).tolist() == [11, 16]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_book_played_back_is_that_of_a_dictionary(data: st.DataObject) -> None:
    levels = data.draw(st.integers(1, 4))
    prices = st.integers(1, 12).map(float)
    sizes = st.sampled_from([0.0, 0.5, 1.0, 2.0])
    change = st.tuples(st.booleans(), prices, st.one_of(sizes, st.just(CLEAR)))
    messages = data.draw(st.lists(st.tuples(st.booleans(), st.lists(change, max_size=6)), min_size=1, max_size=12))
    book = BookReplay(Path("x"), levels)
    sides: dict[bool, dict[float, float]] = {True: {}, False: {}}
    expected: list[tuple[int, list[Any]]] = []
    last: list[Any] = []
    changes: list[tuple[float, float, float]] = []
    ends: list[int] = []
    for number, (snapshot, updates) in enumerate(messages):
        if snapshot:
            sides = {True: {}, False: {}}
        for bid, price, size in updates:
            changes.append((float(bid), price, size))
            if size == CLEAR:
                sides[bid] = {p: q for p, q in sides[bid].items() if (p < price if bid else p > price)}
            elif size == 0:
                sides[bid].pop(price, None)
            else:
                sides[bid][price] = size
        ends.append(len(changes))
        best = [sorted(sides[True].items(), reverse=True), sorted(sides[False].items())]
        row = [side[level] if level < len(side) else None for level in range(levels) for side in best]
        if snapshot or row != last:
            expected.append((number, row))
        last = row
    n = len(messages)
    snapshots = np.array([snapshot for snapshot, _ in messages])
    book.arrays(np.arange(n), np.arange(n), snapshots, np.array(ends), np.array(changes, dtype=float).reshape(-1, 3))
    columns, numbers = book.columns()
    names = [("bid", "bid_size"), ("ask", "ask_size")]
    names = [(p + s, q + s) for s in ["", *(f"_{level}" for level in range(2, levels + 1))] for p, q in names]
    found = [
        (int(number), [
            None if np.isnan(columns[price][at]) else (float(columns[price][at]), float(columns[size][at]))
            for price, size in names
        ])
        for at, number in enumerate(numbers)
    ]  # fmt: skip
    first_empty = [row for row in expected if row[1] != [None] * (2 * levels) or snapshots[row[0]]]
    assert [row for row in found if row[1] != [None] * (2 * levels) or snapshots[row[0]]] == first_empty


def test_updates_before_a_snapshot_and_lost_ones_are_said(tmp_path: Path) -> None:
    lines = dumps.bybit_orderbook().splitlines()
    early = stored(tmp_path / "early.data", "\n".join([lines[1], *lines]))
    assert "1 updates before the first snapshot left out" in str(import_venue("bybit-orderbook", [early]).notes)
    lost = stored(tmp_path / "lost.data", "\n".join([lines[0], lines[3]]))
    assert "1 places where updates are missing" in str(import_venue("bybit-orderbook", [lost]).notes)
    with pytest.raises(DataError, match="holds updates but no snapshot"):
        import_venue("bybit-orderbook", [stored(tmp_path / "none.data", lines[1])])


def test_a_spot_snapshot_without_a_time_needs_when_it_was_received(tmp_path: Path) -> None:
    line = json.dumps({"lastUpdateId": 1, "bids": [["4.0", "431.0"]], "asks": [["4.2", "12"]]})
    with pytest.raises(DataError, match="tells no time: put when it was received, in ns"):
        import_venue("binance-depth", [stored(tmp_path / "a.jsonl", line)])
    received = stored(tmp_path / "b.jsonl", f"{START_MS * MS} {line}\n")
    assert import_venue("binance-depth", [received]).quotes.ts_ns.tolist() == [START_MS * MS]


def test_levels_are_kept_as_many_as_wanted_and_reach_the_quotes(tmp_path: Path, arbctl: Arbctl) -> None:
    path = stored(tmp_path / "ob.data", dumps.bybit_orderbook())
    for levels in (1, 2, 3):
        target = tmp_path / f"q{levels}.parquet"
        code, _, err = arbctl(
            "market", "import", "--format", "bybit-orderbook", "--a", path, "--b", path, "--levels", levels,
            "--output", target,
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert len(read_quotes(target)[0].levels) == levels - 1
    with pytest.raises(UsageError, match="levels is 99; it is 1 to 50"):
        import_venue("bybit-orderbook", [path], VenueOptions(levels=99))
