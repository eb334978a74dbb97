"""Sessions that wait for others: which never begin, and what is said of each."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from arbd.daemon.core.waits import reasons_to_wait

NAMES = st.sampled_from("abcdefgh")
WAITS = st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True), max_size=8)


def begin_at_last(waits: dict[str, list[str]]) -> set[str]:
    """Those that begin when all others that are there come to their end, one after the other."""
    begun: set[str] = set()
    while more := {name for name, others in waits.items() if all(o in begun or o not in waits for o in others)} - begun:
        begun |= more
    return begun


@given(WAITS, st.sets(NAMES))
def test_who_never_begins_is_told_along_whom_and_of_nobody_else_that_is_said(
    waits: dict[str, list[str]], more: set[str]
) -> None:
    there = more | waits.keys()
    reasons = reasons_to_wait(waits, there.__contains__)
    assert reasons.keys() == waits.keys()
    begun = begin_at_last(waits)
    for name, reason in reasons.items():
        assert reason.startswith(f"waits for {', '.join(waits[name])} to be over")
        assert ("which never comes" in reason) == (name not in begun)
        if name in begun:
            missing = [other for other in waits[name] if other not in there]
            assert ("no session" in reason) == bool(missing)
            assert all(other in reason for other in missing)
        else:
            way = reason.partition("which never comes: ")[2].partition(";")[0].split(" -> ")
            assert way[0] == name
            assert way[-1] in way[:-1]
            assert all(after in waits[before] for before, after in pairwise(way))


def test_a_long_chain_is_judged_at_once() -> None:
    waits = {f"s{number}": [f"s{number + 1}"] for number in range(20_000)}
    assert not any("never" in reason for reason in reasons_to_wait(waits, lambda name: True).values())
