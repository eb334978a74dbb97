"""Files as exchanges and vendors give them, read into quotes; what is wrong with them is told with file and row."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from arbd.errors import DataError, UsageError
from arbd.paper.market.importers import FORMATS, VenueOptions, import_venue, rates_of_quotes, read_rates
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl

CANDLES = VenueOptions(half_spread_bps=5)
KLINES_MS = """\
1601510340000,4.15070000,4.15870000,4.15060000,4.15540000,539.23000000,1601510399999,2240.39860900,13,401.82000000,1669.98121300,0
1601510400000,4.15540000,4.16000000,4.15000000,4.15900000,100.00000000,1601510459999,415.90000000,7,50.00000000,207.95000000,0
"""
KLINES_US = """\
1735689600000000,93576.00000000,93610.93000000,93537.50000000,93610.93000000,8.21827000,1735689659999999,769144.94,2631,3.95,369757.32,0
1735689660000000,93610.93000000,93652.00000000,93606.20000000,93652.00000000,5.01000000,1735689719999999,469000.0,1700,2.1,197000.0,0
"""
KLINES_HEAD = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
BOOKTICKER = """\
update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time
5026006463823,66000.1,3.5,66000.2,1.25,1722470400003,1722470400009
5026006464011,66000.3,0.5,66000.4,2,1722470400020,1722470400026
5026006463990,66000.2,4,66000.3,1.5,1722470400019,1722470400025
"""
TARDIS = """\
exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount
huobi-dm-swap,BTC-USD,1585699201147000,1585699202147123,86,6423,6422.9,112
huobi-dm-swap,BTC-USD,1585699202147000,1585699203147456,88,6424,6423.9,114
"""


def upbit(minute: int, price: float, market: str = "KRW-BTC", **more: Any) -> dict[str, Any]:
    return {
        "market": market, "candle_date_time_utc": f"2025-01-01T00:{minute:02d}:00",
        "candle_date_time_kst": f"2025-01-01T09:{minute:02d}:00", "opening_price": price - 1, "high_price": price + 2,
        "low_price": price - 2, "trade_price": price, "timestamp": 1735689659000, "candle_acc_trade_price": 1e9,
        "candle_acc_trade_volume": 7.1, "unit": 1, **more,
    }  # fmt: skip


def stored(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem + ".csv", text)
    elif path.suffix == ".zst":
        duckdb.sql("SELECT 1")
        plain = path.with_suffix("")
        plain.write_text(text)
        duckdb.sql(
            f"COPY (SELECT * FROM read_csv('{plain}', header=false, all_varchar=true, delim='\x01', auto_detect=false, "
            f"columns={{'l':'VARCHAR'}})) TO '{path}' (FORMAT csv, HEADER false, DELIM '\x01', COMPRESSION zstd, QUOTE '')"
        )
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("packing", [".csv", ".csv.gz", ".csv.zst", ".zip"])
@pytest.mark.parametrize("head", ["", KLINES_HEAD])
def test_klines_in_milliseconds_count_from_their_end(tmp_path: Path, packing: str, head: str) -> None:
    path = stored(tmp_path / f"DOT-1m-2020-09{packing}", head + KLINES_MS)
    found = import_venue("binance-klines", [path], CANDLES)
    assert found.quotes.ts_ns.tolist() == [1601510400_000000000, 1601510460_000000000]
    assert found.quotes.bid.tolist() == [4.1554 * (1 - 5e-4), 4.159 * (1 - 5e-4)]
    assert found.quotes.ask.tolist() == [4.1554 * (1 + 5e-4), 4.159 * (1 + 5e-4)]
    assert np.isinf(found.quotes.bid_size).all()
    assert "2 candles" in found.notes[0]
    assert "-/+ 5 bps" in found.notes[0]


def test_klines_in_microseconds_and_windows_line_ends_are_read_alike(tmp_path: Path) -> None:
    plain = import_venue("binance-klines", [stored(tmp_path / "a.csv", KLINES_US)], CANDLES).quotes
    assert plain.ts_ns.tolist() == [1735689660_000000000, 1735689720_000000000]
    windows = stored(tmp_path / "b.csv", KLINES_US.replace("\n", "\r\n"))
    assert import_venue("binance-klines", [windows], CANDLES).quotes.bid.tolist() == plain.bid.tolist()


def test_files_of_two_units_follow_one_another_whatever_their_order(tmp_path: Path) -> None:
    files = [stored(tmp_path / "2025.csv", KLINES_US), stored(tmp_path / "2020.csv", KLINES_MS)]
    quotes = import_venue("binance-klines", files, CANDLES).quotes
    assert quotes.ts_ns.tolist() == [1601510400 * 10**9, 1601510460 * 10**9, 1735689660 * 10**9, 1735689720 * 10**9]
    with pytest.raises(DataError, match="must not overlap in time"):
        import_venue("binance-klines", [files[0], stored(tmp_path / "again.csv", KLINES_US)], CANDLES)


def test_bookticker_rows_are_put_in_the_order_of_the_matching_engine(tmp_path: Path) -> None:
    found = import_venue("binance-bookticker", [stored(tmp_path / "b.zip", BOOKTICKER)])
    assert found.quotes.ts_ns.tolist() == [1722470400_003000000, 1722470400_019000000, 1722470400_020000000]
    assert found.quotes.bid.tolist() == [66000.1, 66000.2, 66000.3]
    assert found.quotes.ask_size.tolist() == [1.25, 1.5, 2.0]
    assert found.notes == ("b.zip: 1 rows put in order, which stood after later ones",)


def test_tardis_quotes_count_from_when_they_arrived(tmp_path: Path) -> None:
    quotes = import_venue("tardis-quotes", [stored(tmp_path / "q.csv.gz", TARDIS)]).quotes
    assert quotes.ts_ns.tolist() == [1585699202_147123000, 1585699203_147456000]
    assert (quotes.bid.tolist(), quotes.ask.tolist()) == ([6422.9, 6423.9], [6423.0, 6424.0])
    assert (quotes.bid_size.tolist(), quotes.ask_size.tolist()) == ([112.0, 114.0], [86.0, 88.0])


def test_one_symbol_of_several_is_named(tmp_path: Path) -> None:
    line = "huobi-dm-swap,ETH-USD,1585699201147000,1585699202147123,1,{},130.1,2\n"
    path = stored(tmp_path / "q.csv", TARDIS + line.format(130.2) + line.format("x"))
    with pytest.raises(DataError, match="holds quotes of several .symbol: BTC-USD, ETH-USD.; name one"):
        import_venue("tardis-quotes", [path])
    with pytest.raises(DataError, match="nothing of 'XRP'; symbol is one of BTC-USD, ETH-USD"):
        import_venue("tardis-quotes", [path], VenueOptions(symbol="XRP"))
    assert len(import_venue("tardis-quotes", [path], VenueOptions(symbol="BTC-USD")).quotes) == 2
    with pytest.raises(DataError, match="ask_price is 'x', not a number") as caught:
        import_venue("tardis-quotes", [path], VenueOptions(symbol="ETH-USD"))
    assert caught.value.row == 4


def test_a_side_without_orders_is_a_bad_row(tmp_path: Path) -> None:
    path = stored(tmp_path / "q.csv", TARDIS + "huobi-dm-swap,BTC-USD,1,1585699204000000,,,6423,1\n")
    with pytest.raises(DataError, match="ask_amount is empty") as caught:
        import_venue("tardis-quotes", [path])
    assert caught.value.row == 3
    found = import_venue("tardis-quotes", [path], VenueOptions("drop"))
    assert (len(found.quotes), found.notes) == (2, ("q.csv: 1 bad rows dropped",))


def test_a_time_far_ahead_costs_its_own_row_alone(tmp_path: Path) -> None:
    path = stored(
        tmp_path / "v.csv", "ts_s,bid,ask\n1735689601,10,11\n9000000000,10,11\n1735689602,10,11\n1735689603,10,11\n"
    )
    found = import_venue("quotes", [path], VenueOptions("drop"))
    assert (found.quotes.ts_ns // 10**9 - 1735689600).tolist() == [1, 2, 3]
    assert found.notes == ("v.csv: 1 rows dropped whose time is out of order",)


@pytest.mark.parametrize("form", ["array", "lines", "csv"])
def test_upbit_candles_newest_first_are_put_in_order(tmp_path: Path, form: str) -> None:
    candles = [upbit(2, 140815000.0), upbit(1, 140814000.0), upbit(0, 140811000.0)]
    if form == "csv":
        body = "".join(",".join(map(str, c.values())) + "\n" for c in candles)
        path = stored(tmp_path / "u.csv", ",".join(candles[0]) + "\n" + body)
    elif form == "array":
        path = stored(tmp_path / "u.json", json.dumps(candles))
    else:
        path = stored(tmp_path / "u.jsonl", "\n".join(json.dumps(c) for c in candles) + "\n")
    quotes = import_venue("upbit-candles", [path], VenueOptions(half_spread_bps=0)).quotes
    assert quotes.ts_ns.tolist() == [(1735689600 + 60 * m) * 10**9 for m in (1, 2, 3)]
    assert quotes.bid.tolist() == quotes.ask.tolist() == [140811000.0, 140814000.0, 140815000.0]


def test_upbit_candles_without_a_unit_need_their_length(tmp_path: Path) -> None:
    days = [{k: v for k, v in upbit(0, 100.0).items() if k != "unit"}]
    path = stored(tmp_path / "days.json", json.dumps(days))
    with pytest.raises(UsageError, match="no unit; say how long one is"):
        import_venue("upbit-candles", [path], CANDLES)
    quotes = import_venue("upbit-candles", [path], VenueOptions(half_spread_bps=1, candle_s=86_400)).quotes
    assert quotes.ts_ns.tolist() == [(1735689600 + 86_400) * 10**9]


def test_one_venue_in_any_quotes_file(tmp_path: Path) -> None:
    plain = stored(tmp_path / "v.csv", "ts_ms,bid,ask,ask_size,venue\n1,10,11,3,x\n5,10.5,11,4,x\n")
    duckdb.sql(f"COPY (SELECT * FROM '{plain}') TO '{tmp_path / 'v.parquet'}'")
    np.savez(tmp_path / "v.npz", ts_ms=[1, 5], bid=[10.0, 10.5], ask=[11.0, 11.0], ask_size=[3.0, 4.0])
    for name in ("v.csv", "v.parquet", "v.npz"):
        quotes = import_venue("quotes", [tmp_path / name]).quotes
        assert quotes.ts_ns.tolist() == [1_000_000, 5_000_000]
        assert (quotes.bid.tolist(), quotes.ask_size.tolist()) == ([10.0, 10.5], [3.0, 4.0])
        assert np.isinf(quotes.bid_size).all()


@pytest.mark.parametrize(
    ("format_name", "text", "row", "reason"),
    [
        ("binance-klines", KLINES_MS.replace("4.15900000", "high"), 2, "close is 'high', not a number"),
        ("binance-klines", KLINES_HEAD + KLINES_MS.replace("4.15900000", ""), 2, "close is empty, not a number"),
        ("binance-klines", KLINES_MS.replace("1601510459999", "1601510459.5"), 2, "close_time is '1601510459.5', not an int"),
        ("binance-klines", KLINES_MS.replace("1601510399999", "1601510399"), 1, "close_time 1601510399 is before open_time"),
        ("binance-klines", KLINES_MS.replace("000,4.", ",4.").replace("459999", "459"), 2, "neither in ms nor in us"),
        ("binance-klines", KLINES_MS.replace(",0\n", "\n"), None, "has 11 columns; without a header there are 12: open_time"),
        ("binance-klines", KLINES_MS + "1601510460000,4.1\n", 3, "has 2 cells, the first line 12 columns"),
        ("binance-klines", "", None, "is empty"),
        ("binance-klines", KLINES_HEAD, None, "holds no rows"),
        ("binance-klines", TARDIS, None, "no column open_time, close, close_time; a file of klines has"),
        ("quotes", "ts_s,bid,ask\n5,1,2\n4,1,2\n6,1,2\n", 2, "time goes backwards"),
        ("binance-bookticker", BOOKTICKER.replace("66000.4", "66000.0"), 2, "the book is crossed: bid 66000.3 above ask 66000.0"),
        ("binance-bookticker", BOOKTICKER.replace(",3.5,", ",-3.5,"), 1, "bid_size is -3.5, not a size"),
        ("tardis-quotes", TARDIS.replace("6422.9", "0"), 1, "bid is 0.0, not a positive number"),
        ("tardis-quotes", TARDIS.replace("1585699203147456", "15856992031474560000"), 2, "local_timestamp is '1585"),
        ("quotes", "ts_ms,bid\n1,2\n", None, "no column ask; quotes of one venue have a time column, bid and ask"),
        ("quotes", "x,y\n1,2\n", None, "has none of the columns of quotes of one venue; it has x, y"),
        ("quotes", "ts_ms,bid,ask\n1,2,3\n2,three,4\n", 2, "bid is 'three', not a number"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_row_and_value(
    tmp_path: Path, format_name: str, text: str, row: int | None, reason: str
) -> None:
    path = stored(tmp_path / "bad.csv", text)
    options = CANDLES if format_name == "binance-klines" else VenueOptions()
    with pytest.raises(DataError, match=reason) as caught:
        import_venue(format_name, [path], options)
    assert (caught.value.path, caught.value.row) == (path, row)


def test_bad_candles_are_told(tmp_path: Path) -> None:
    for name, text, reason in (
        ("a.json", "{", "is not JSON"),
        ("b.json", "[]", "holds no candles"),
        ("c.json", '[{"error": {"name": "too_many_requests"}}]', "row 1: is no Upbit candle: no market, candle_date"),
        (
            "d.json",
            json.dumps([upbit(0, 5), upbit(1, 5) | {"trade_price": None}]),
            "row 2: candle_date_time_utc, trade",
        ),
        (
            "e.json",
            json.dumps([upbit(0, 5), upbit(0, 6)]),
            r"row 2: tells another trade_price \(6.0\) than row 1 \(5.0\)",
        ),
        ("f.json", json.dumps([upbit(0, 5), upbit(0, 6, "KRW-ETH")]), "several .market: KRW-BTC, KRW-ETH."),
        ("g.json", json.dumps([upbit(0, -5)]), "row 1: bid is -4.9"),
    ):
        with pytest.raises(DataError, match=reason):
            import_venue("upbit-candles", [stored(tmp_path / name, text)], CANDLES)
    with pytest.raises(UsageError, match="candles tell no bid and ask; say how far"):
        import_venue("upbit-candles", [stored(tmp_path / "h.json", json.dumps([upbit(0, 5)]))])
    with pytest.raises(UsageError, match="half-spread is -1 bps"):
        import_venue("upbit-candles", [tmp_path / "h.json"], VenueOptions(half_spread_bps=-1))


def test_a_file_that_is_not_there_or_not_what_its_name_says_is_told(tmp_path: Path) -> None:
    for format_name in FORMATS.names():
        with pytest.raises(DataError, match="no such file"):
            import_venue(format_name, [tmp_path / ("x.json" if format_name == "upbit-candles" else "x.csv")], CANDLES)
    for name in ("x.zip", "x.csv.gz", "x.csv.zst"):
        (tmp_path / name).write_bytes(b"not that at all")
        with pytest.raises(DataError, match="x\\."):
            import_venue("binance-klines", [tmp_path / name], CANDLES)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", KLINES_MS)
        archive.writestr("b.csv", KLINES_MS)
    with pytest.raises(DataError, match="holds 2 CSV files, not one"):
        import_venue("binance-klines", [tmp_path / "two.zip"], CANDLES)
    with pytest.raises(UsageError, match="unknown format 'binance-kline'; did you mean 'binance-klines'"):
        import_venue("binance-kline", [tmp_path / "two.zip"], CANDLES)


def test_rates_come_from_a_file_or_a_market(tmp_path: Path) -> None:
    rates = read_rates(stored(tmp_path / "fx.csv", "ts,rate\n2025-01-01T00:00:00Z,1470.5\n2025-01-01T00:01:00Z,1471\n"))
    assert (rates.ts_ns.tolist(), rates.rate.tolist()) == ([1735689600 * 10**9, 1735689660 * 10**9], [1470.5, 1471.0])
    market = import_venue("tardis-quotes", [stored(tmp_path / "t.csv", TARDIS)]).quotes
    assert rates_of_quotes(market, tmp_path / "mid").rate.tolist() == [(6422.9 + 6423) / 2, (6423.9 + 6424) / 2]
    for text, reason in (
        ("ts_s,rate\n2,1\n1,1\n", "row 2: time goes backwards"),
        ("ts_s,rate\n1,0\n", "row 1: rate is 0.0, not a positive number"),
        ("ts_s,price\n1,1\n", "no column rate"),
        ("ts_s,rate\n", "holds no rows"),
    ):
        with pytest.raises(DataError, match=reason):
            read_rates(stored(tmp_path / "bad.csv", text))


def test_the_command_joins_two_venues_and_says_what_it_did(tmp_path: Path, arbctl: Arbctl) -> None:
    stored(tmp_path / "u.json", json.dumps([upbit(m, 140_000_000.0 + m) for m in range(3)]))
    stored(tmp_path / "k.zip", KLINES_US)
    stored(tmp_path / "fx.json", json.dumps([upbit(m, 1500.0 + m, "KRW-USDT") for m in range(3)]))
    target = tmp_path / "out.parquet"
    command = [
        "market", "import", "--format-a", "upbit-candles", "--a", tmp_path / "u.json", "--half-spread-a-bps", "2",
        "--format-b", "binance-klines", "--b", tmp_path / "k.zip", "--half-spread-b-bps", "0.5",
        "--fx", tmp_path / "fx.json", "--fx-format", "upbit-candles", "--max-gap-s", "60", "--output", target,
    ]  # fmt: skip
    code, out, err = arbctl(*command)
    assert (code, err) == (0, "")
    assert out.startswith(f"2 rows in {target}, from 3 quotes of venue A and 2 of venue B\n")
    assert "venue B: k.zip: 2 candles, each known at its end; bid and ask are its close -/+ 0.5 bps" in out
    quotes, _ = read_quotes(target)
    assert quotes.fx.tolist() == [1500.0, 1501.0]
    assert quotes.ts_ns.tolist() == [1735689660 * 10**9, 1735689720 * 10**9]
    assert json.loads(arbctl(*command, "--json")[1])["rows"] == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "name the format of venue A's files"),
        (("--format", "tardis-quotes", "--half-spread-a-bps", "1"), "is for candles; tardis-quotes tells bid and ask"),
        (("--format", "tardis-quotes", "--fx", "0"), "--fx is 0; it is a positive number or a file"),
        (("--format", "tardis-quotes", "--fx", "none.csv"), "none.csv: no such file"),
        (("--format", "tardis-quotes", "--output", "nowhere/q.csv"), "nowhere does not exist: make it first"),
        (("--format", "tardis-quotes", "--output", "q.txt"), "cannot be told apart by its suffix"),
        (("--format", "tardis"), "unknown format 'tardis'; did you mean 'tardis-quotes'?"),
    ],
)
def test_a_wrong_command_is_told(tmp_path: Path, arbctl: Arbctl, options: tuple[str, ...], reason: str) -> None:
    path = stored(tmp_path / "t.csv", TARDIS)
    code, _, err = arbctl("market", "import", "--a", path, "--b", path, "--output", tmp_path / "o.csv", *options)
    assert code == 2
    assert reason in err
    assert not (tmp_path / "o.csv").exists()


def test_what_is_imported_survives_every_format_of_quotes_files(tmp_path: Path, arbctl: Arbctl) -> None:
    path = stored(tmp_path / "t.csv", TARDIS)
    first = tmp_path / "q.npz"
    assert arbctl("market", "import", "--format", "tardis-quotes", "--a", path, "--b", path, "--output", first)[0] == 0
    quotes, _ = read_quotes(first)
    for suffix in (".csv", ".csv.gz", ".csv.zst", ".parquet"):
        write_quotes(quotes, tmp_path / f"q{suffix}")
        again, _ = read_quotes(tmp_path / f"q{suffix}")
        assert all(
            np.array_equal(x, y, equal_nan=True)
            for x, y in zip(quotes.columns().values(), again.columns().values(), strict=True)
        )
