"""Small files in the formats that exchanges give away, written from what their documentation says of them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

START_MS = 1_735_689_600_000
KLINES_HEAD = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def candle(minute: int, close: float, volume: float = 7.5) -> list[Any]:
    return [START_MS + minute * 60_000, close - 1, close + 2, close - 2, close, volume]


CLOSES = {0: 100.0, 1: 101.5, 2: 99.25}
CANDLES = [candle(minute, close) for minute, close in CLOSES.items()]


def _lines(rows: list[list[Any]], head: str = "") -> str:
    return (head + "\n" if head else "") + "".join(",".join(map(str, row)) + "\n" for row in rows)


def mt4(rows: list[list[Any]]) -> str:
    """Three hours ahead of UTC, as those files are."""
    texts = [str(np.datetime64(row[0] + 3 * 3_600_000, "ms"))[:16].replace("-", ".").replace("T", " ") for row in rows]
    return _lines([[text, *row[1:]] for text, row in zip(texts, rows, strict=True)])


def texts(row: list[Any]) -> list[str]:
    return [str(cell) for cell in row]


def bybit_message(t: int, kind: str, bids: list[Any], asks: list[Any], u: int) -> dict[str, Any]:
    data = {"s": "BTCUSDT", "b": [texts(b) for b in bids], "a": [texts(a) for a in asks], "u": u, "seq": 10 * u}
    return {"topic": "orderbook.500.BTCUSDT", "type": kind, "ts": START_MS + t, "data": data, "cts": START_MS + t - 1}


BOOK = [
    ("snapshot", 0, [[100.0, 1.0], [99.5, 2.0], [99.0, 3.0]], [[100.5, 1.5], [101.0, 2.5]]),
    ("update", 100, [[100.0, 0.0]], [[100.75, 4.0]]),
    ("update", 200, [[50.0, 9.0]], []),
    ("update", 300, [[100.25, 0.5]], [[100.5, 0.0], [101.0, 1.0]]),
]
# Time in ms and the first two levels, bids then asks, after each message that changed them.
AFTER = [
    (0, [(100.0, 1.0), (99.5, 2.0)], [(100.5, 1.5), (101.0, 2.5)]),
    (100, [(99.5, 2.0), (99.0, 3.0)], [(100.5, 1.5), (100.75, 4.0)]),
    (300, [(100.25, 0.5), (99.5, 2.0)], [(100.75, 4.0), (101.0, 1.0)]),
]
SNAPSHOTS = [(t, bids, asks) for t, bids, asks in AFTER]


def bybit_orderbook() -> str:
    names = {"snapshot": "snapshot", "update": "delta"}
    messages = [bybit_message(t, names[kind], bids, asks, u) for u, (kind, t, bids, asks) in enumerate(BOOK, 1)]
    return "\n".join(json.dumps(message) for message in messages) + "\n"


def okx_orderbook() -> str:
    messages = [
        {
            "instId": "BTC-USDT", "action": kind, "ts": str(START_MS + t),
            "asks": [[*texts(level), "1"] for level in asks], "bids": [[*texts(level), "2"] for level in bids],
        }
        for kind, t, bids, asks in BOOK
    ]  # fmt: skip
    return "\n".join(json.dumps(message) for message in messages) + "\n"


def t_depth() -> str:
    rows = []
    for u, (kind, t, bids, asks) in enumerate(BOOK, 1):
        for side, levels in (("b", bids), ("a", asks)):
            word = "snap" if kind == "snapshot" else "set"
            rows += [["BTCUSDT", START_MS + t, u, u, side, word, price, size, u - 1] for price, size in levels]
    return _lines(rows, "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu")


def depth_snapshots() -> str:
    messages = [
        {"lastUpdateId": u, "E": START_MS + t + 5, "T": START_MS + t, "bids": [texts(b) for b in bids],
         "asks": [texts(a) for a in asks]}
        for u, (t, bids, asks) in enumerate(SNAPSHOTS)
    ]  # fmt: skip
    return "\n".join(json.dumps(message) for message in messages) + "\n"


EVENT = np.dtype([
    ("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8"), ("order_id", "<u8"),
    ("ival", "<i8"), ("fval", "<f8"),
])  # fmt: skip


def hftbacktest(version: int = 2) -> bytes:
    rows = []
    for kind, t, bids, asks in BOOK:
        for side, levels in ((1, bids), (-1, asks)):
            ns = (START_MS + t) * 1_000_000
            if kind == "snapshot" and levels:
                rows.append((3, ns, side, levels[-1][0], 0.0))
            rows += [(4 if kind == "snapshot" else 1, ns, side, price, size) for price, size in levels]
    rows.append((2, (START_MS + 250) * 1_000_000, 1, 100.5, 0.1))
    rows.sort(key=lambda row: row[1])
    packed = io.BytesIO()
    if version == 1:
        us = [(ev, ns // 1_000 - 3, ns // 1_000, side, px, qty) for ev, ns, side, px, qty in rows]
        np.savez_compressed(packed, data=np.array(us, dtype=np.float64))
        return packed.getvalue()
    data = np.zeros(len(rows), dtype=EVENT)
    for row, (ev, ns, side, px, qty) in enumerate(rows):
        flags = 1 << 31 | 1 << 30 | (1 << 29 if side > 0 else 1 << 28)
        data[row] = (ev | flags, ns - 3_000, ns, px, qty, 0, 0, 0.0)
    np.savez_compressed(packed, data=data)
    return packed.getvalue()


TRADES = [(0, 100.0, "Buy"), (250, 100.5, "Sell"), (700, 100.25, "Buy")]


def bybit_trades() -> str:
    head = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    rows = [
        [f"{(START_MS + t) / 1000:.4f}", "BTCUSDT", side, 0.5, price, "PlusTick", f"id-{t}", 1e9, 0.5, price / 2]
        for t, price, side in TRADES
    ]
    return _lines(rows, head)


def bybit_spot_trades() -> str:
    rows = [[i, START_MS + t, price, 0.5, side.lower()] for i, (t, price, side) in enumerate(TRADES)]
    return _lines(rows, "id,timestamp,price,volume,side")


def okx_trades() -> str:
    rows = [["BTC-USDT", i, side.lower(), price, 0.5, START_MS + t] for i, (t, price, side) in enumerate(TRADES)]
    return _lines(rows, "instrument_name,trade_id,side,price,size,created_time")


def okx_candles() -> str:
    rows = [["BTC-USDT", *row[1:], 1.0, 1.0, row[0], 1] for row in CANDLES]
    return _lines(rows, "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm")


def klines() -> str:
    return _lines([[*row, row[0] + 59_999, 1.0, 3, 0.5, 0.5, 0] for row in CANDLES], KLINES_HEAD)


def upbit() -> str:
    return json.dumps([
        {"market": "KRW-BTC", "candle_date_time_utc": str(np.datetime64(row[0], "ms"))[:19], "trade_price": row[4], "unit": 1}
        for row in reversed(CANDLES)
    ])  # fmt: skip


def answer(rows: list[Any], *keys: str) -> str:
    found: Any = rows
    for key in reversed(keys):
        found = {key: found, "retCode": 0}
    return json.dumps(found)


BOOKTICKER = (
    "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
    f"1,100.0,3.5,100.5,1.25,{START_MS},{START_MS + 6}\n2,100.25,0.5,100.5,2,{START_MS + 20},{START_MS + 26}\n"
)
TARDIS = (
    "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    f"x,BTC-USD,{START_MS}000,{START_MS}123,86,100.5,100,112\nx,BTC-USD,{START_MS + 9}000,{START_MS + 9}456,88,101,100,1\n"
)
VENUE = f"ts_ms,bid,ask,bid_2,bid_size_2,ask_2,ask_size_2\n{START_MS},10,11,9,1,12,2\n{START_MS + 5},10.5,11,,,12,2\n"

# By format: name of a file and what is in it.
FILES: dict[str, tuple[tuple[str, str | bytes], ...]] = {
    "binance-bookticker": (("b.csv", BOOKTICKER),),
    "binance-depth": (("snap.csv", t_depth()), ("depth20.jsonl", depth_snapshots())),
    "binance-klines": (("k.csv", klines()), ("bare.csv", klines().partition("\n")[2])),
    "bybit-klines": (
        ("mt4.csv", mt4(CANDLES)),
        ("kline.json", answer([texts([*row, 1.0]) for row in reversed(CANDLES)], "result", "list")),
    ),
    "bybit-orderbook": (("ob500.data", bybit_orderbook()),),
    "bybit-trades": (("perp.csv", bybit_trades()), ("spot.csv", bybit_spot_trades())),
    "ccxt-ohlcv": (
        ("o.json", json.dumps(CANDLES)),
        ("o.csv", _lines(CANDLES, "timestamp,open,high,low,close,volume")),
        ("bare.csv", _lines(CANDLES)),
        ("o.jsonl", "\n".join(map(json.dumps, CANDLES))),
    ),
    "hftbacktest": (("v2.npz", hftbacktest()), ("v1.npz", hftbacktest(1))),
    "okx-candles": (
        ("c.csv", okx_candles()),
        ("c.json", answer([texts([*row, 1.0, 1.0, 1]) for row in reversed(CANDLES)], "data")),
    ),
    "okx-orderbook": (("L2.data", okx_orderbook()),),
    "okx-trades": (("t.csv", okx_trades()),),
    "quotes": (("v.csv", VENUE),),
    "tardis-quotes": (("t.csv", TARDIS),),
    "upbit-candles": (("u.json", upbit()),),
}
FUNDED = [(0, 0.0001), (28_800_000, -0.00025), (57_600_000, 0.0003)]
FUNDING_FILES: dict[str, tuple[tuple[str, str], ...]] = {
    "binance": (
        ("f.csv", _lines([[START_MS + t, 8, rate] for t, rate in FUNDED], "calc_time,funding_interval_hours,last_funding_rate")),
        ("f.json", json.dumps([
            {"symbol": "BTCUSDT", "fundingTime": START_MS + t, "fundingRate": str(rate), "markPrice": "1"} for t, rate in FUNDED
        ])),
    ),
    "bybit": (
        ("f.json", answer([
            {"symbol": "BTCUSDT", "fundingRate": str(rate), "fundingRateTimestamp": str(START_MS + t)}
            for t, rate in reversed(FUNDED)
        ], "result", "list")),
        ("f.csv", _lines([["BTCUSDT", START_MS + t, rate] for t, rate in FUNDED], "symbol,fundingRateTimestamp,fundingRate")),
    ),
    "okx": (
        ("f.csv", _lines([["BTC-USDT-SWAP", rate, START_MS + t] for t, rate in FUNDED],
                         "instrument_name,funding_rate,funding_time")),
        ("f.json", answer([
            {"instId": "BTC-USDT-SWAP", "fundingRate": "9", "realizedRate": str(rate), "fundingTime": str(START_MS + t)}
            for t, rate in reversed(FUNDED)
        ], "data")),
    ),
    "rates": (("f.csv", _lines([[START_MS + t, rate] for t, rate in FUNDED], "ts_ms,rate")),),
}  # fmt: skip


def stored(path: Path, content: str | bytes, packing: str = "") -> Path:
    """A file, or what holds it packed."""
    data = content.encode() if isinstance(content, str) else content
    target = path.with_name(path.name + packing)
    if packing == ".gz":
        target.write_bytes(gzip.compress(data))
    elif packing == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(path.name, data)
    elif packing == ".tar.gz":
        with tarfile.open(target, "w:gz") as tar:
            info = tarfile.TarInfo(path.name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    else:
        target.write_bytes(data)
    return target
