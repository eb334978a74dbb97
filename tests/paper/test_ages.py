"""Ages that are kept as one column are those that were given, whoever reads which rows of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.paper.market import ages as ages_module
from arbd.paper.market.ages import LAG, ODD_AGES, ODD_ROWS, LagAges, write_lag
from arbd.paper.market.cache import load_market, read_arrays
from arbd.paper.market.importers import Funding, VenueQuotes, join_venues
from arbd.paper.market.prepared import prepare
from arbd.paper.market.quotes import Quotes
from arbd.paper.market.readers import read_quotes
from arbd.paper.market.writers import write_quotes
from tests.conftest import Arbctl
from tests.paper.test_levels_and_funding import same

ROWS = 400


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every market several."""
    monkeypatch.setattr(ages_module, "PIECE_ROWS", 37)


@given(
    pairs=st.lists(
        st.tuples(st.sampled_from("abz"), st.integers(0, 2**62)) | st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)),
        min_size=1, max_size=120,
    ),
    start=st.integers(-130, 130), stop=st.integers(-130, 130), step=st.integers(1, 9), again=st.integers(0, 20),
)  # fmt: skip
def test_any_rows_of_any_ages_are_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str | int, int]],
    start: int,
    stop: int,
    step: int,
    again: int,
) -> None:
    rows = [(age if v == "a" else 0, age if v == "b" else 0) if isinstance(v, str) else (v, age) for v, age in pairs]
    given_ages = np.array(rows, dtype=np.int64).reshape(-1, 2)
    folder = tmp_path_factory.mktemp("ages")
    for name, column in zip("ab", given_ages.T, strict=True):
        np.save(folder / f"age_{name}_ns.npy", np.ascontiguousarray(column))
    write_lag(folder / "age_a_ns.npy", folder / "age_b_ns.npy", folder)
    arrays = read_arrays(folder)
    odd = int((given_ages.min(axis=1) > 0).sum())
    if odd > len(rows) // ages_module.ODD_SHARE:
        assert sorted(arrays) == ["age_a_ns", "age_b_ns"]
        return
    assert sorted(arrays) == sorted([LAG, ODD_ROWS, ODD_AGES])
    for venue, column in enumerate(given_ages.T):
        found = LagAges(arrays, venue)
        assert np.asarray(found).tolist() == column.tolist()
        assert np.asarray(found[start:stop:step]).tolist() == column[start:stop:step].tolist()
        assert np.asarray(found[start:stop:step][again:]).tolist() == column[start:stop:step][again:].tolist()
        assert found.max() == column.max()


def joined(max_gap_ns: int | None) -> Quotes:
    """Two venues as an import joins them: with silences, and payments that fall between quotes."""
    rng = np.random.default_rng(5)

    def venue(price: float) -> VenueQuotes:
        steps = rng.integers(1, 40, ROWS) * 10**6 + (rng.random(ROWS) < 0.01) * 90 * 10**9
        bid = price + rng.normal(0, 0.1, ROWS)
        return VenueQuotes(np.cumsum(steps), bid, bid + 0.1, rng.random(ROWS), rng.random(ROWS))

    a, b = venue(100.0), venue(101.0)
    paid = Funding(np.array([3 * 10**9 + 7, 95 * 10**9 + 1]), np.array([1e-4, -2e-4]))
    return join_venues(a, b, 1.0, "both", max_gap_ns, {"a": paid}).quotes


@pytest.mark.parametrize("max_gap_ns", [None, 60 * 10**9])
def test_what_an_import_joins_is_kept_so_and_read_as_it_was(
    tmp_path: Path, arbctl: Arbctl, max_gap_ns: int | None
) -> None:
    quotes = joined(max_gap_ns)
    path = tmp_path / "q.parquet"
    write_quotes(quotes, path)
    found, market = load_market(path, tmp_path / "cache")
    (entry,) = [each for each in (tmp_path / "cache").iterdir() if each.is_dir()]
    names = {each.stem for each in entry.glob("*.npy")}
    assert LAG in names
    assert not {"age_a_ns", "age_b_ns"} & names
    assert same(found, quotes)
    whole = prepare(quotes)
    for limits in ((0.01, 0.0, 0.0), (0.0, 0.02, 0.0), (0.0, 0.0, 0.005), (100.0, 0.0, 0.02)):
        for part, other in ((market, whole), (market.part(100, 333), whole.part(100, 333))):
            one, two = (each.series(*limits, carry_over_gaps=False) for each in (part, other))
            for name in ("edge_ab", "edge_ba", "unusable", "ends", "fresh"):
                assert np.array_equal(getattr(one, name), getattr(two, name), equal_nan=True), (limits, name)
    assert arbctl("market", "convert", path, tmp_path / "q.csv")[0] == 0
    assert same(read_quotes(tmp_path / "q.csv")[0], quotes)
    code, out, _ = arbctl("market", "describe", "--json", path)
    assert code == 0
    assert json.loads(out)["oldest_quote_a_s"] == int(np.asarray(quotes.age_a_ns).max()) / 1e9
