"""Listings: which names are hidden."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.spool.listing import hidden_names

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=4)


@given(st.lists(st.one_of(NAMES, NAMES.map(".{}".format), st.sampled_from(("-a", ".", "..", "0", "\x01")))))
def test_of_sorted_names_the_hidden_ones_are_those_that_begin_with_a_dot(names: list[str]) -> None:
    names.sort()
    assert list(hidden_names(names)) == [name for name in names if name.startswith(".")]
