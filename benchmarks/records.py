"""What it costs to read the records of a ledger, with all checks, beside unpacking them with none. One JSON line.

    python benchmarks/records.py            a ledger of 20,000 records
    python benchmarks/records.py --smoke    a small one, to see that it runs

`read_us` is the least processor time for a record, in microseconds, of five passes over the ledger; `unpack_us` the same
for `msgpack.unpackb` alone, and `ratio` divides the one by the other. `fold_us` is for reading and folding.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

import msgpack

from arbd.spool import ledger
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import read_record
from arbd.spool.spans import Claim, Finish, Span

PASSES = 5
WORKER, INCARNATION, SLOTS = "host-1", 2**63 + 12_345, 8


def ledger_of(records: int) -> tuple[int, list[bytes]]:
    """How many iterations a session has, and its ledger: two chunks are claimed at once, and finished at once."""
    n = 10 * records
    payloads = [ledger.pack(ledger.opened(n))]
    for number in range(0, records - 1, 2):
        spans = [Span(10 * number + 1, 10), Span(10 * number + 11, 10)]
        claims = [Claim(number + i, span, WORKER, INCARNATION) for i, span in enumerate(spans)]
        done = [Finish(claims[0].claim_id, (10, 0, 0, 0)), Finish(claims[1].claim_id, (9, 1, 0, 0))]
        payloads.append(ledger.pack(ledger.claimed(claims, SLOTS, 10**18 + number)))
        payloads.append(ledger.pack(ledger.finished(INCARNATION, done, 10**18 + number)))
    return n, payloads


def least_us(do: Callable[[], object], records: int) -> float:
    """The least processor time of some passes, in microseconds for a record."""
    found = []
    for _ in range(PASSES):
        start = time.process_time()
        do()
        found.append(time.process_time() - start)
    return min(found) * 1e6 / records


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    n, payloads = ledger_of(200 if parser.parse_args().smoke else 20_000)
    following: Sequence[bytes] = payloads[1:]

    def read() -> None:
        for payload in following:
            read_record(payload, n)

    def fold() -> None:
        state = LedgerState()
        state.fold(read_record(payloads[0], 0))
        for payload in following:
            state.fold(read_record(payload, n))
        assert state.exhausted

    def unpack() -> None:
        for payload in following:
            msgpack.unpackb(payload)

    read_us, unpack_us, fold_us = (least_us(do, len(following)) for do in (read, unpack, fold))
    line = {
        "benchmark": "ledger records",
        "records": len(payloads),
        "read_us": round(read_us, 2),
        "unpack_us": round(unpack_us, 2),
        "ratio": round(read_us / unpack_us, 2),
        "fold_us": round(fold_us, 2),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
