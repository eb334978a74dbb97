"""Constraints are read by a parser of their own, and say by how much they are broken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.search.constraints import MAX_DEPTH, ConstraintError, as_values, parse_constraint, renamed, total_violation

VALUES = {
    "a": np.array([1.0, 2.0, 3.0]),
    "b": np.array([2.0, 2.0, 2.0]),
    "k": np.array([1, 2, 3]),
    "kind": np.array(["up", "down", "up"]),
    "flag": np.array([True, False, True]),
    "gap": np.array([1.0, np.nan, 1.0]),
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a < b", [True, False, False]),
        ("a <= b", [True, True, False]),
        ("a >= 2 * b - 2", [False, True, True]),
        ("1 < a <= 3", [False, True, True]),
        ("a > b or k == 1", [True, False, True]),
        ("a > 1 and a < 3", [False, True, False]),
        ("not a < b", [False, True, True]),
        ("kind == 'up'", [True, False, True]),
        ("kind != 'up' or a > 2", [False, True, True]),
        ("flag == True", [True, False, True]),
        ("abs(a - 2) < 0.5", [False, True, False]),
        ("max(a, b) <= 2 and sqrt(k) < 1.5", [True, True, False]),
        ("-a < -1.5", [False, True, True]),
        ("k % 2 == 1", [True, False, True]),
        ("gap > 0", [True, False, True]),
        ("not gap > 0", [False, False, False]),
        ("nothing > 0", [False, False, False]),
        ("log(a) < 1", [True, True, False]),
        ("log(a - 2) < 5", [False, True, True]),
        ("kind + 1 > 0", [False, False, False]),
    ],
)
def test_what_a_constraint_says(text: str, holds: list[bool]) -> None:
    constraint = parse_constraint(text)
    found = constraint.violation(VALUES, 3)
    assert (found <= 0).tolist() == holds


def test_a_choice_of_numbers_and_texts_is_looked_at_row_by_row() -> None:
    window = as_values({"window": [1, 2, "auto"]})
    for text, holds in (("window != 1", [False, True, True]), ("window == 'auto'", [False, False, True])):
        assert (parse_constraint(text).violation(window, 3) <= 0).tolist() == holds
        for row in range(3):
            alone = as_values({"window": [[1, 2, "auto"][row]]})
            assert (parse_constraint(text).violation(alone, 1)[0] <= 0) == holds[row]
    assert (parse_constraint("window > 1").violation(window, 3) <= 0).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("text", "held", "holds"),
    [
        ("level + a > 0", None, [False, False, False]),
        ("level == 'up' and a > 1", "up", [False, True, True]),
        ("level + a > 0", "up", [False, False, False]),
        ("a < level", 2, [True, False, False]),
        ("a < level", 2.5, [True, True, False]),
        ("level == True", True, [True, True, True]),
    ],
)
def test_a_value_that_is_the_same_everywhere_is_one_of_any_kind(text: str, held: object, holds: list[bool]) -> None:
    found = parse_constraint(text).violation({**VALUES, "level": held}, 3)
    assert (np.broadcast_to(found, 3) <= 0).tolist() == holds


def test_a_constraint_says_which_names_it_computes_with_and_takes_others_for_them() -> None:
    constraint = parse_constraint("mode == 'a' or x < max(y, 2) and -z != 1")
    assert constraint.names == {"mode", "x", "y", "z"}
    assert constraint.numbers == {"x", "y", "z"}
    new = renamed(parse_constraint("old < 2 * x"), {"old": "new"})
    assert (new.text, new.names) == ("new < 2 * x", {"new", "x"})
    assert renamed(constraint, {"old": "new"}) is constraint


def test_a_violation_grows_with_the_distance_and_is_never_zero_where_it_does_not_hold() -> None:
    found = parse_constraint("a >= 30").violation({"a": np.array([30.0, 29.0, 10.0, 30 - 1e-12])}, 4)
    assert found[0] == 0
    assert 0 < found[1] < found[2]
    assert found[3] > 0
    assert total_violation([parse_constraint("a > 1"), parse_constraint("a < 0")], {"a": np.array([0.5])}, 1)[0] > 0


@pytest.mark.parametrize(
    ("text", "a", "violation"),
    [
        # In units of the larger side, and of 1 where both are smaller.
        ("a >= 30", 29.0, 1 / 30),
        ("a >= 30", 10.0, 20 / 30),
        ("a <= 30", 40.0, 10 / 40),
        ("a <= 0.5", 0.75, 0.25),
        ("a >= -0.5", -0.75, 0.25),
        ("a <= -4", -3.0, 1 / 4),
        ("a <= -4", 8.0, 12 / 8),
        ("a < 2", 2.0, 1e-9),
        ("a > 2", 2.0, 1e-9),
        ("a <= 2", 2.0, 0.0),
        ("a <= 1e12", 1e12 + 1, 1e-9),
        # Of several sides and conditions the sum, of alternatives the least, of what has no distance 1.
        ("4 <= a <= 1", 2.0, 2 / 4 + 1 / 2),
        ("a >= 4 and a <= 1", 2.0, 2 / 4 + 1 / 2),
        ("a >= 4 or a <= 1.5", 2.0, 0.5 / 2),
        ("a >= 4 or a <= 2", 2.0, 0.0),
        ("not a > 1", 2.0, 1.0),
        ("a == 3", 2.0, 1.0),
        ("a != 2", 2.0, 1.0),
        ("a > 1", math.nan, math.inf),
        ("a == 1", math.nan, math.inf),
        ("a > 5 or a < 5", math.nan, math.inf),
    ],
)
def test_the_unit_of_a_violation_is_that_of_its_sides(text: str, a: float, violation: float) -> None:
    found = parse_constraint(text).violation({"a": np.array([a])}, 1)
    assert found.tolist() == pytest.approx([violation], rel=1e-12)


@pytest.mark.parametrize(
    ("text", "a", "margin"),
    [
        ("a >= 30", 40.0, -10 / 40),
        ("a >= 30", 20.0, 10 / 30),
        ("a < 30", 30.0, 0.0),
        ("a <= 0.5", 0.25, -0.25),
        # Of several sides and conditions the one that is nearest to being broken, of alternatives that which holds best.
        ("1 <= a <= 4", 2.0, -1 / 2),
        ("1 <= a <= 4", 3.0, -1 / 4),
        ("4 <= a <= 1", 2.0, 1 / 2),
        ("a >= 1 and a <= 4", 3.0, -1 / 4),
        ("a >= 1 or a <= 4", 3.0, -2 / 3),
        ("a >= 1 or b <= 4", 3.0, -2 / 3),
        ("not a >= 30", 40.0, 10 / 40),
        # What has no distance is one away, on either side.
        ("a == 3", 3.0, -1.0),
        ("a == 3", 2.0, 1.0),
        ("a != 3", 2.0, -1.0),
        ("a != 3", 3.0, 1.0),
        ("a >= 1", math.nan, math.nan),
        ("a >= 1 and b <= 4", 3.0, math.nan),
    ],
)
def test_a_margin_is_how_far_a_value_is_from_where_a_constraint_begins_to_be_broken(
    text: str, a: float, margin: float
) -> None:
    found = parse_constraint(text).margin({"a": np.array([a])}, 1)
    assert found.tolist() == pytest.approx([margin], rel=1e-12, nan_ok=True)


@given(st.lists(st.sampled_from(["a >= 1", "a < 2", "b <= 1.5", "a == 2", "not b > 1", "a < b", "1 <= b <= 2"]),
                min_size=1, max_size=4), st.sampled_from([" and ", " or "]))  # fmt: skip
def test_a_margin_is_above_zero_where_there_is_a_violation_and_never_elsewhere(texts: list[str], joined: str) -> None:
    values = {name: column.ravel() for name, column in zip("ab", np.meshgrid(*2 * [[0.5, 1, 1.5, 2, 3]]), strict=True)}
    constraint = parse_constraint(joined.join(texts))
    violation, margin = constraint.violation(values, 25), constraint.margin(values, 25)
    assert not ((margin > 0) & (violation == 0)).any()
    assert not ((margin < 0) & (violation > 0)).any()


def test_the_violations_of_several_constraints_add_up() -> None:
    constraints = [parse_constraint(text) for text in ("a >= 4", "a <= 1", "a < 9")]
    assert total_violation(constraints, {"a": np.array([2.0, 4.0])}, 2).tolist() == pytest.approx([1.0, 0.75])
    assert total_violation([], {}, 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an inequality"),
        ("a", "not an inequality"),
        ("a + 1", "not an inequality"),
        ("a = 1", "not an inequality"),
        ("1 < 2", "names no parameter"),
        ("a in b", "compares with"),
        ("a is b", "compares with"),
        ("__import__('os').system('true') == 0", "not allowed"),
        ("open('x') > 0", "unknown function 'open'"),
        ("a.real > 0", "not allowed"),
        ("a[0] > 0", "not allowed"),
        ("(lambda: 1)() > a", "not allowed"),
        ("[a for a in b] > 0", "not allowed"),
        ("max(a) > 0", "max takes 2 values"),
        ("f'{a}' == 'x'", "not allowed"),
        ("a > 1j", "neither a number nor a text"),
        ("a > None", "neither a number nor a text"),
        ("a > " + "(" * 60 + "b" + ")" * 60, None),
        ("a > " + "-" * 60 + "b", "nested deeper"),
        ("a > " + "abs(" * 30 + "b" + ")" * 30, "nested deeper"),
        ("a > " + "1 + (" * 30 + "b" + ")" * 30, "nested deeper"),
        ("a > 1" + " " * 395, None),
        ("a > 1" + " " * 396, "longer than 400"),
        ("a > 1 and open('x') > 0", "unknown function 'open'"),
        ("open('x') + a > 0", "unknown function 'open'"),
        ("a + open('x') > 0", "unknown function 'open'"),
        ("not open('x') > a", "unknown function 'open'"),
        ("-open('x') > a", "unknown function 'open'"),
        ("a > b" + " " * 500, "longer than"),
        ("a > 10 ** 400", None),
        ("a > 1" + "0" * 350, "neither"),
        ("a > 1e300", None),
        ("a > 1.5e300", "neither"),
        ("a\x00 > 1", "not an inequality"),
    ],
)
def test_what_is_no_constraint_is_told(text: str, said: str | None) -> None:
    if said is None:
        parse_constraint(text)
        return
    with pytest.raises(ConstraintError, match=said):
        parse_constraint(text)


def nested(pattern: str, inner: str, levels: int) -> str:
    for _ in range(levels):
        inner = pattern.replace("@", inner)
    return inner


@pytest.mark.parametrize(
    ("pattern", "inner", "around"),
    [
        ("-@", "b", "a > @"),
        ("-@", "b", "@ > a"),
        ("abs(@)", "b", "a > @"),
        ("1 + (@)", "b", "a > @"),
        ("(@) * 2", "b", "a > @"),
        ("max(@, 1)", "b", "a > @"),
        ("max(1, @)", "b", "a > @"),
        ("not (@)", "a > b", "@"),
        ("a > 1 and (@)", "a > b", "@"),
        ("(@) or a > 1", "a > b", "@"),
    ],
)
def test_twenty_levels_of_whatever_is_nested_are_a_constraint_and_one_more_is_none(
    pattern: str, inner: str, around: str
) -> None:
    parse_constraint(around.replace("@", nested(pattern, inner, MAX_DEPTH - 1)))
    with pytest.raises(ConstraintError, match="nested deeper than 20"):
        parse_constraint(around.replace("@", nested(pattern, inner, MAX_DEPTH)))


@pytest.mark.parametrize(
    ("function", "values", "result"),
    [
        ("abs", ["-2"], 2.0),
        ("sqrt", ["9"], 3.0),
        ("log", ["1"], 0.0),
        ("exp", ["0"], 1.0),
        ("min", ["1", "2"], 1.0),
        ("max", ["1", "2"], 2.0),
    ],
)
def test_a_function_takes_its_values_and_no_other_number_of_them(
    function: str, values: list[str], result: float
) -> None:
    found = parse_constraint(f"a == {function}({', '.join(values)})").violation({"a": np.array([result])}, 1)
    assert found.tolist() == [0.0]
    for count in {0, 1, 2, 3} - {len(values)}:
        said = f"{function} takes {len(values)} value" + ("s$" if len(values) > 1 else "$")
        with pytest.raises(ConstraintError, match=said):
            parse_constraint(f"a == {function}({', '.join(['1'] * count)})")


@pytest.mark.parametrize("text", ["a < 'x'", "'x' < a", "a == b < 'x'", "a != 'y' >= b", "a < 1 > 'x'"])
def test_a_string_has_no_order(text: str) -> None:
    with pytest.raises(ConstraintError, match="texts are compared by == and != only"):
        parse_constraint(text)


@given(st.text(max_size=60))
def test_any_text_is_a_constraint_or_an_error(text: str) -> None:
    try:
        constraint = parse_constraint(text)
    except ConstraintError:
        return
    assert constraint.violation({name: np.ones(2) for name in constraint.names}, 2).shape == (2,)
