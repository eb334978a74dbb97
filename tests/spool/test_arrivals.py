"""However many pieces come back, and of whatever kind they are, each has its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.spool.arrivals import Turns

KINDS = 3


def whole(name: str) -> str:
    return name


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=KINDS, max_size=KINDS), min_size=1, max_size=12),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_back_and_comes_new_each_piece_is_served_in_as_many_turns_as_there_were_pieces(
    arrivals: list[list[int]], a_turn: int, random: object
) -> None:
    """Each turn serves `a_turn` pieces; every one of them comes back, and new ones come each turn."""
    turns = Turns(whole)
    there: list[list[str]] = [[] for _ in range(KINDS)]
    waits: dict[str, int] = {}
    for number, counts in enumerate(arrivals):
        for kind, count in enumerate(counts):
            names = [f"{kind} {number} {i}" for i in range(count)]
            there[kind] += names
            waits |= dict.fromkeys(names, 0)
            random.shuffle(there[kind])  # type: ignore[attr-defined]
        order = turns.order(there)
        assert sorted(name for _, name in order) == sorted(name for kind in there for name in kind)
        for kind, name in order[:a_turn]:
            turns.served(kind, name)
            waits[name] = 0
        for _, name in order[a_turn:]:
            waits[name] += 1
            # Of its own kind each other one may be before it twice (at worst it was served as this one came), and the
            # other kinds have their turns in between.
            kind = int(name[0])
            assert waits[name] <= 2 * KINDS * len(there[kind])


def test_new_pieces_keep_the_order_in_which_they_are_named() -> None:
    turns = Turns(whole)
    assert turns.order([["b", "a"], [], ["c"]]) == [(0, "b"), (2, "c"), (0, "a")]


def test_a_piece_that_is_known_by_another_name_meanwhile_keeps_its_place() -> None:
    turns = Turns(lambda name: name.partition(".")[0])
    turns.order([["a.1", "b.1"]])
    turns.served(0, "a.1")
    assert turns.order([["a.2", "b.1", "c.1"]]) == [(0, "b.1"), (0, "a.2"), (0, "c.1")]
