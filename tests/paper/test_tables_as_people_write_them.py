"""Tables as spreadsheets, other countries and other programs write them: read for what they say, or told for what they are."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

from arbd.errors import DataError
from arbd.paper.market.importers import VenueOptions, import_venue
from arbd.paper.market.readers import read_quotes
from tests.conftest import Arbctl

START = 1_735_689_600
TIMES = [START + second for second in range(4)]
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
LINE_ENDS = {"unix": "\n", "windows": "\r\n", "old mac": "\r"}


def table(rows: list[list[object]], delimiter: str = ",", end: str = "\n", last: bool = True) -> str:
    text = end.join(delimiter.join(map(str, row)) for row in rows)
    return text + end if last else text


def rows(*, quotes: bool, times: list[object] | None = None, name: str = "ts_s") -> list[list[object]]:
    head: list[object] = [name, "bid_a", "ask_a", "bid_b", "ask_b"] if quotes else [name, "bid", "ask"]
    values = ["10.5", "11", "10.5", "11.25"] if quotes else ["10.5", "11"]
    return [head, *([time, *values] for time in (times or TIMES))]


def read(path: Path, *, quotes: bool) -> list[int]:
    if quotes:
        found, _ = read_quotes(path)
        assert found.bid_a.tolist() == [10.5] * len(found)
        return found.ts_ns.tolist()
    venue = import_venue("quotes", [path]).quotes
    assert venue.bid.tolist() == [10.5] * len(venue)
    return venue.ts_ns.tolist()


@pytest.mark.parametrize("quotes", [True, False])
@pytest.mark.parametrize("delimiter", DELIMITERS.values(), ids=DELIMITERS)
@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_first_line_tells_what_separates_cells(
    tmp_path: Path, quotes: bool, delimiter: str, end: str, mark: str
) -> None:
    for packed in (False, True):
        for last in (False, True):
            path = tmp_path / ("q.csv.gz" if packed else "q.csv")
            data = (mark + table(rows(quotes=quotes), delimiter, end, last)).encode()
            path.write_bytes(gzip.compress(data) if packed else data)
            assert read(path, quotes=quotes) == [time * 10**9 for time in TIMES]


ZONES = {
    "Z": 0,
    " UTC": 0,
    "": 0,
    "+00:00": 0,
    "+09:00": 9,
    "+0900": 9,
    "+09": 9,
    " +09:00": 9,
    "-03:30": -3.5,
    " GMT": 0,
}


@pytest.mark.parametrize("quotes", [True, False])
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("between", ["T", " "])
def test_times_with_zones_are_taken_in_utc(tmp_path: Path, quotes: bool, zone: str, between: str) -> None:
    times: list[object] = [f"2025-01-01{between}00:00:0{second}.25{zone}" for second in range(3)]
    path = tmp_path / "q.csv"
    path.write_text(table(rows(quotes=quotes, times=times, name="ts")))
    first = int((START - ZONES[zone] * 3600) * 10**9) + 250_000_000
    assert read(path, quotes=quotes) == [first, first + 10**9, first + 2 * 10**9]


@pytest.mark.parametrize(
    "text",
    ["2025-13-01T00:00:00", "2025-01-01T00:00:00 CET", "01.02.2025 10:00", "1735689600", "2025-02-30", "", "NaT"],
)
def test_a_time_that_is_none_is_told_with_its_row(tmp_path: Path, text: str) -> None:
    path = tmp_path / "q.csv"
    path.write_text(table(rows(quotes=True, times=["2025-01-01T00:00:00Z", text], name="ts")))
    with pytest.raises(DataError, match="ts is .*, not a UTC time in ISO 8601") as caught:
        read_quotes(path)
    assert caught.value.row == 2


UNITS = {"ts_s": 1, "ts_ms": 10**3, "ts_us": 10**6, "ts_ns": 10**9}


@pytest.mark.parametrize("form", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("called", UNITS)
@pytest.mark.parametrize("unit", UNITS)
def test_times_of_another_unit_than_their_name_says_are_told_with_the_right_name(
    tmp_path: Path, form: str, called: str, unit: str
) -> None:
    times: list[object] = [time * UNITS[unit] for time in TIMES]
    path = tmp_path / f"q.{form}"
    if form == "csv":
        path.write_text(table(rows(quotes=True, times=times, name=called)))
    else:
        prices = {"bid_a": 10.5, "ask_a": 11.0, "bid_b": 10.5, "ask_b": 11.25}
        columns = {called: np.array(times), **{name: np.full(4, price) for name, price in prices.items()}}
        if form == "npz":
            np.savez(path, **columns)
        else:
            with duckdb.connect() as connection:
                connection.register("columns", columns)
                connection.execute(f"COPY (SELECT * FROM columns) TO '{path}' (FORMAT parquet)")
    if called == unit:
        assert read(path, quotes=True) == [time * 10**9 for time in TIMES]
        return
    with pytest.raises(DataError, match=f"call the column {unit}$") as caught:
        read_quotes(path)
    assert caught.value.row == 1


def test_a_clock_of_ones_own_is_read_and_told(tmp_path: Path, arbctl: Arbctl) -> None:
    path = tmp_path / "v.csv"
    path.write_text("ts_s,bid,ask\n0,1,2\n1,1,2\n")
    out = arbctl("market", "import", "--format", "quotes", "--a", path, "--b", path, "--output", tmp_path / "q.csv")[1]
    assert (
        "v.csv: times begin at 1970-01-01T00:00:00Z, outside of 2009 to 2100: they are taken as a clock of their own"
        in out
    )


def test_an_exchange_has_no_times_before_there_were_such_markets(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\nx,y,1,1000000000000,1,2,1,1\n"
    )
    with pytest.raises(DataError, match="its times begin at 1970-01-12T13:46:40Z, when no such market was"):
        import_venue("tardis-quotes", [path])


def test_a_file_that_is_newest_first_is_put_in_order_by_the_import_and_told_elsewhere(tmp_path: Path) -> None:
    venue, quotes = tmp_path / "v.csv", tmp_path / "q.csv"
    venue.write_text("ts_s,bid,ask\n" + "".join(f"{time},{10 + i},12\n" for i, time in enumerate(TIMES[:2]))[::1])
    venue.write_text(f"ts_s,bid,ask\n{START + 2},12,13\n{START + 1},11,13\n{START + 1},10.5,13\n{START},10,13\n")
    found = import_venue("quotes", [venue])
    assert found.quotes.bid.tolist() == [10.0, 10.5, 11.0, 12.0]
    assert found.notes == ("v.csv: is newest first; its rows were put in order of time",)
    quotes.write_text(table([rows(quotes=True)[0], *rows(quotes=True)[:0:-1]]))
    for policy in ("refuse", "drop"):
        with pytest.raises(DataError, match="is newest first: sort its rows by time"):
            read_quotes(quotes, policy)


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ("ts_s,bid,ask,bid\n1,2,3,4\n", None, "has 2 columns bid: which one counts"),
        ("ts_s,bid,ask,bid_size\n1,2,3,4\n2,2,3\n", 2, "has 3 cells, the first line 4 columns"),
        ("ts_s,bid,ask\n1,2,3\n2,2,3,4,5\n", 2, "has more cells than the first line has columns .3."),
        (
            "ts_s,bid,ask\n1,10,5,11,5\n",
            1,
            "more cells than .*decimal commas, write points",
        ),
        ("ts_s;bid;ask\n1;10,5;11,5\n", 1, "bid is '10,5', not a number; write a point, not a comma"),
        ("ts_s\tbid\task\n1\t10\tx\n", 1, "ask is 'x', not a number"),
        ("time;bid;ask\n1;2;3\n", None, "needs one time column"),
        ("a;b\n1;2\n", None, "has none of the columns of quotes of one venue; it has a, b .separated by ';'."),
        ('ts_s,bid,ask\n1,"2,3\n2,2,3\n', None, "quotation mark"),
        ("ts_s,bid,ask\n1,1_0,11\n", 1, "bid is '1_0', not a number"),
        ("ts_s,bid,ask\n1.5,10,11\n", 1, "ts_s is '1.5', not an integer"),
        ("ts_s,bid,ask\n" + "x" * 3_000_000 + ",1,2\n", None, "line of more than"),
    ],
)
def test_a_table_of_another_form_is_told_for_what_it_is(
    tmp_path: Path, text: str, row: int | None, reason: str
) -> None:
    path = tmp_path / "v.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        import_venue("quotes", [path], VenueOptions())
    if row is not None:
        assert caught.value.row == row
    assert "duckdb" not in str(caught.value).lower()
    assert "/proc/" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_text_of_another_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes("ts_s,bid,ask,note\n1,2,3,ü\n".encode(encoding))
    with pytest.raises(DataError, match="not UTF-8 text.*: save it as CSV in UTF-8"):
        import_venue("quotes", [path])


def test_whole_floats_of_pandas_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(
        ",ts_s,bid_a,ask_a,bid_b,ask_b,block\n0,1735689600.0,10.5,11,10,11,0.0\n1,1735689601.0,10.5,11,10,11,1.\n"
    )
    found, _ = read_quotes(path)
    assert (found.ts_ns // 10**9).tolist() == TIMES[:2]
    assert found.block.tolist() == [0, 1]


def test_a_broken_gzip_file_is_told_at_once(tmp_path: Path) -> None:
    """Cut and flipped at every place: none of them keeps the reader busy."""
    whole = gzip.compress(table(rows(quotes=True)).encode(), mtime=0)
    for at in range(len(whole)):
        for broken in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            path = tmp_path / "q.csv.gz"
            path.write_bytes(broken)
            try:
                assert read(path, quotes=True) == [time * 10**9 for time in TIMES]
            except DataError as error:
                assert "q.csv.gz" in str(error)


def test_a_name_of_a_column_that_is_far_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("x" * 200_000 + ",ts_s\n1,2\n")
    with pytest.raises(DataError, match="a name is far too long"):
        read_quotes(path)


ROW = "49999,50001,50009,50011"


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("BID_A,ask_a,bid_b,ask_b,ts_s", f"{ROW},1735689600", "rename BID_A to bid_a"),
        ("bid_a,ask_a,bid_b,ask_b,ts_s,Bid Size A", f"{ROW},1735689600,1", "rename Bid Size A to bid_size_a"),
        ("bid_a,ask_a,bid_b,ask_b,ts_s,FX", f"{ROW},1735689600,2", "rename FX to fx"),
        ("bid_a,ask_a,bid_b,ask_b,TS", f"{ROW},1735689600", "rename TS: ts where it is a date"),
        ("bid_a,ask_a,bid_b,ask_b,date,time", f"{ROW},2025-01-01,00:00", "write date and time into one column ts"),
        (",bid_a,ask_a,bid_b,ask_b", f"2025-01-01,{ROW}", "name the column without a name"),
        ("bid_a,ask_a,bid_b,ask_b,timestamp", f"{ROW},1735689600000", "rename timestamp"),
        (
            "bid_a,ask_a,bid_b,ask_b,ts",
            f"{ROW},1735689600",
            "in seconds it is 2025-01-01T00:00:00Z: call the column ts_s",
        ),
        ("bid_a,ask_a,bid_b,ask_b,ts", f"{ROW},1735689600000", "call the column ts_ms"),
        ("bid_a,ask_a,bid_b,ask_b,ts", f"{ROW},5", "integers are called ts_s, ts_ms, ts_us or ts_ns"),
        ("bid_a,ask_a,bid_b,ask_b,ts", f"{ROW},31/01/2025 13:45", "write it as in 2025-01-31 13:45:00.5"),
        ("bid_a,ask_a,bid_b,ask_b,ts_s", f"{ROW},1735689600.25", "need a smaller unit"),
        ("bid_a,ask_a,bid_b,ask_b,ts_ns", f"{ROW},1.7356896e+18", "write all its digits"),
        ("bid_a,ask_a,bid_b,ask_b,ts_s", '"49,999.5",50001,50009,50011,1735689600', "without signs between thousands"),
        ("bid_a,ask_a,bid_b,ask_b,ts_s", '"49999,5",50001,50009,50011,1735689600', "write a point, not a comma"),
        ("sep=;", "", "begins with sep=;, which is a spreadsheet's own line: remove it"),
    ],
)
def test_what_is_wrong_with_a_table_of_quotes_is_told_with_what_to_do(
    tmp_path: Path, header: str, row: str, told: str
) -> None:
    path = tmp_path / "quotes.csv"
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError, match=re.escape(told)):
        read_quotes(path)


@pytest.mark.parametrize(
    ("magic", "told"),
    [
        (b"\x1f\x8b\x08", "call it .csv.gz"),
        (b"PAR1", "call it .parquet"),
        (b"PK\x03\x04", "zip file"),
        (b"\x28\xb5\x2f\xfd", "call it .csv.zst"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
    ],
)
def test_a_file_under_the_name_of_another_format_is_told_for_what_it_is(
    tmp_path: Path, magic: bytes, told: str
) -> None:
    path = tmp_path / "quotes.csv"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(DataError, match=told):
        read_quotes(path)


def test_the_letter_case_of_a_suffix_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "QUOTES.CSV"
    path.write_text(f"ts_s,bid_a,ask_a,bid_b,ask_b\n1735689600,{ROW}\n")
    assert read_quotes(path)[0].bid_a.tolist() == [49999.0]


@pytest.mark.parametrize("count", [2, 3, 700])
@pytest.mark.parametrize("name", ["q.csv", "q.csv.gz", "q.parquet", "q.npz"])
@pytest.mark.parametrize("policy", ["refuse", "drop"])
def test_a_market_of_one_time_is_told_wherever_it_is_read(
    arbctl: Arbctl, tmp_path: Path, count: int, name: str, policy: str
) -> None:
    whole = rows(quotes=True, times=["2025-01-01"] * count, name="ts")
    plain, path = tmp_path / "plain.csv", tmp_path / name
    plain.write_text(table(whole))
    stamps = np.full(count, START * 10**9)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif name.endswith(".parquet"):
        duckdb.sql(f"copy (from '{plain}') to '{path}' (format parquet)")
    elif name.endswith(".npz"):
        np.savez(
            path, ts_ns=stamps, **dict.fromkeys(whole[0][1:3], stamps * 1.0), bid_b=stamps * 1.0, ask_b=stamps * 1.0
        )  # type: ignore[arg-type]
    else:
        path.write_bytes(plain.read_bytes())
    told = f"has one time in all of its {count:,} rows, {START * 10**9} ns"
    with pytest.raises(DataError, match=told):
        read_quotes(path, policy)
    for command in (("convert", path, tmp_path / "new.parquet"), ("describe", path)):
        code, out, err = arbctl("market", *command, "--on-bad-rows", policy)
        assert (code, out, told in err) == (2, "", True), err
    assert not (tmp_path / "new.parquet").exists()
    job = tmp_path / "job.yaml"
    job.write_text(
        f"data: [{path}]\ntuning: {{method: random, max_iterations: 4, "
        "search_space: {min_spread_pct: {type: float, bounds: [0.05, 0.5]}}}\n"
    )
    code, _, err = arbctl("run", job)
    assert (code, told in err) == (2, True), err


def test_a_market_of_one_row_is_one(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(table(rows(quotes=True, times=[START])))
    assert read(path, quotes=True) == [START * 10**9]


WIDE = {
    "hugeint": "HUGEINT", "uhugeint": "UHUGEINT", "decimal": "DECIMAL(38, 0)", "narrow decimal": "DECIMAL(19, 0)", "ubigint": "UBIGINT",
    "fractions": "DECIMAL(38, 9)",
}  # fmt: skip


@pytest.mark.parametrize("kind", WIDE)
def test_whole_numbers_of_wide_types_are_read_to_the_last_nanosecond_or_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "q.parquet"
    first = START * 10**9 + 1
    prices = "10.5 bid_a, 11 ask_a, 10.5 bid_b, 11 ask_b"
    duckdb.sql(
        f"copy (select ({first} + i)::{WIDE[kind]} ts_ns, {prices} from (select range i from range(3))) "
        f"to '{path}' (format parquet)"
    )
    described = duckdb.sql(f"describe from '{path}'").fetchall()[0][1]
    if kind == "fractions":
        with pytest.raises(DataError, match="ts_ns is '.*', not an integer"):
            read(path, quotes=True)
    elif described == "DOUBLE":
        # Parquet has no such type: the digits were gone when the file was written.
        with pytest.raises(DataError, match="one time in all of its 3 rows"):
            read(path, quotes=True)
    else:
        assert read(path, quotes=True) == [first, first + 1, first + 2]


def test_a_file_that_begins_with_an_empty_line_is_not_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("\n" + table(rows(quotes=True)))
    with pytest.raises(DataError, match="begins with an empty line: remove it"):
        read(path, quotes=True)
    path.write_text("")
    with pytest.raises(DataError, match="is empty"):
        read(path, quotes=True)
