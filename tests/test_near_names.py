"""What was perhaps meant is found however it is capitalised, for commands, fields, methods and parameters alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.near_names import nearest
from arbd.paper.params import PARAMETERS
from arbd.search.samplers import METHODS

KNOWN = sorted({*PARAMETERS, *METHODS.built_in(), "list", "max_iterations"})


@given(name=st.sampled_from(KNOWN), upper=st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_known_name_in_any_letters_is_itself(name: str, upper: list[bool]) -> None:
    typed = "".join(c.upper() if up else c for c, up in zip(name, upper, strict=False))
    assert nearest(typed, KNOWN) == [name]


@given(name=st.sampled_from([name for name in KNOWN if len(name) > 5]), at=st.integers(0, 5))
def test_a_name_without_one_of_its_letters_finds_a_known_one(name: str, at: int) -> None:
    (found,) = nearest(name[:at] + name[at + 1 :], KNOWN)
    assert found in KNOWN


def test_what_is_like_nothing_finds_nothing() -> None:
    assert nearest("§§§", KNOWN) == nearest("x", []) == nearest(17, ["list"]) == []
