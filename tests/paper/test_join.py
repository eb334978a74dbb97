"""Two venues on one clock, against a join that looks at one time after the other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbd.errors import DataError
from arbd.paper.market.importers import Funding, Joined, Rates, VenueQuotes, join, join_venues
from tests.paper.test_levels_and_funding import same


def venue(times: list[int], first_price: float) -> VenueQuotes:
    n = len(times)
    bid = first_price + np.arange(n, dtype=np.float64)
    return VenueQuotes(np.array(times, dtype=np.int64), bid, bid + 0.5, np.arange(n) + 1.0, np.arange(n) + 2.0)


def naive(a: VenueQuotes, b: VenueQuotes, fx: Rates | float, gap: int | None) -> list[dict[str, Any]]:
    """One time after the other, the last quote found by looking at all of them."""
    rows: list[dict[str, Any]] = []
    block = 0
    before: int | None = None
    for t in sorted({*a.ts_ns.tolist(), *b.ts_ns.tolist()}):
        if t > a.ts_ns[-1] or t > b.ts_ns[-1]:
            continue
        row: dict[str, Any] = {"ts_ns": t}
        for letter, quotes in (("a", a), ("b", b)):
            known = [i for i, when in enumerate(quotes.ts_ns.tolist()) if when <= t]
            if known:
                row |= {f"bid_{letter}": quotes.bid[known[-1]], f"ask_size_{letter}": quotes.ask_size[known[-1]]}
                row[f"age_{letter}_ns"] = t - int(quotes.ts_ns[known[-1]])
        if isinstance(fx, Rates):
            rates = [r for when, r in zip(fx.ts_ns.tolist(), fx.rate.tolist(), strict=True) if when <= t]
            row |= {"fx": rates[-1]} if rates else {}
        else:
            row["fx"] = fx
        if len(row) < 8 or (gap is not None and max(row["age_a_ns"], row["age_b_ns"]) > gap):
            continue
        if gap is not None and before is not None:
            for quotes in (a, b):
                times = quotes.ts_ns.tolist()
                if any(y - x > gap and before < y <= t for x, y in itertools.pairwise(times)):
                    block += 1
                    break
        before = t
        rows.append(row | {"block": block})
    return rows


times = st.lists(st.integers(0, 60), min_size=1, max_size=25).map(sorted)
rates = st.one_of(
    st.sampled_from([1.0, 1300.0]),
    times.map(lambda ts: Rates(np.array(ts, dtype=np.int64), np.arange(1, len(ts) + 1, dtype=np.float64))),
)


def joined_by(span_rows: int, *given: Any) -> Joined:
    """The join of so many quotes of a venue at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "SPAN_ROWS", span_rows)
        return join_venues(*given)


spans = st.sampled_from([1, 2, 5, 1 << 18])


@given(a=times, b=times, fx=rates, gap=st.one_of(st.none(), st.integers(0, 20)), span=spans)
@settings(max_examples=300, deadline=None)
def test_the_join_is_what_looking_at_every_time_gives(
    a: list[int], b: list[int], fx: Rates | float, gap: int | None, span: int
) -> None:
    left, right = venue(a, 100.0), venue(b, 200.0)
    expected = naive(left, right, fx, gap)
    if not expected:
        with pytest.raises(DataError, match="no time that all of them cover|no row in which both quotes"):
            joined_by(span, left, right, fx, "both", gap)
        return
    joined = joined_by(span, left, right, fx, "both", gap)
    columns = joined.quotes.columns()
    found = [{name: columns[name][i].item() for name in expected[0]} for i in range(len(joined.quotes))]
    assert found == expected
    assert joined.blocks == expected[-1]["block"] + 1
    assert len(found) + joined.outside + joined.silent == len({*a, *b})


payments = st.lists(st.integers(0, 60), max_size=8, unique=True).map(
    lambda ts: Funding(np.array(sorted(ts), dtype=np.int64), 0.001 + np.arange(len(ts)) / 1e5)
)


@given(a=times, b=times, gap=st.one_of(st.none(), st.integers(0, 20)), paid=st.tuples(payments, payments), span=spans)
@settings(max_examples=200, deadline=None)
def test_payments_are_in_the_first_row_that_is_not_before_them_however_much_is_joined_at_a_time(
    a: list[int], b: list[int], gap: int | None, paid: tuple[Funding, Funding], span: int
) -> None:
    given_ = (venue(a, 100.0), venue(b, 200.0), 1.0, "both", gap, dict(zip("ab", paid, strict=True)))
    try:
        found = joined_by(span, *given_)
    except DataError as error:
        with pytest.raises(DataError) as whole:
            joined_by(1 << 18, *given_)
        assert str(error) == str(whole.value)
        return
    whole_ = joined_by(1 << 18, *given_)
    assert same(found.quotes, whole_.quotes)
    assert (found.outside, found.silent, found.blocks, found.unpaid) == (
        whole_.outside, whole_.silent, whole_.blocks, whole_.unpaid,
    )  # fmt: skip
    ts_ns = found.quotes.ts_ns.tolist()
    for letter, funding in zip("ab", paid, strict=True):
        expected: dict[int, float] = {}
        for when, rate in zip(funding.ts_ns.tolist(), funding.rate.tolist(), strict=True):
            if ts_ns[0] <= when <= ts_ns[-1]:
                row = next(row for row, ts in enumerate(ts_ns) if ts >= when)
                expected[row] = expected.get(row, 0.0) + rate
        column = getattr(found.quotes, f"funding_{letter}")
        assert {row: column[row] for row in np.flatnonzero(~np.isnan(column)).tolist()} == expected


def test_a_gap_of_one_venue_ends_the_block_and_its_stale_quotes_are_left_out() -> None:
    a, b = venue([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 100.0), venue([0, 1, 2, 8, 9, 10], 200.0)
    joined = join_venues(a, b, 1.0, "both", 2)
    assert joined.quotes.ts_ns.tolist() == [0, 1, 2, 3, 4, 8, 9, 10]
    assert joined.quotes.block.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert joined.quotes.age_b_ns.tolist() == [0, 0, 0, 1, 2, 0, 0, 0]
    assert joined.silent == 3


def test_files_of_other_days_are_told_with_what_they_cover() -> None:
    with pytest.raises(DataError, match="venue A 1970-01-01T00:00:00Z to .*; venue B 1970-01-01T00:16:40Z to"):
        join_venues(venue([0, 1], 1.0), venue([10**12], 1.0), 1.0, "a.csv and b.csv")
