"""Strict YAML: numbers as people mean them, limits, and errors with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from arbd import strict_yaml
from arbd.errors import JobError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1:30", "1:30"), ("no", "no"), ("on", "on"), ("012", 12), ("0o17", 15), ("0x1F", 31), ("-7", -7),
        (".5", 0.5), ("1_000", "1_000"), (".inf", float("inf")), ("-.inf", float("-inf")), ("~", None), ("", None),
        ("true", True), ("False", False), ("'12'", "12"), ('"true"', "true"), ("!!str 12", "12"), ("2024-01-01", "2024-01-01"),
        ("[1, 2.0, x]", [1, 2.0, "x"]), ("{a: {b: 1}}", {"a": {"b": 1}}), (str(2**63 - 1), 2**63 - 1),
    ],
)  # fmt: skip
def test_scalars_are_read_as_yaml_1_2_does(text: str, value: Any) -> None:
    found = strict_yaml.parse(text, "t").value
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert str(strict_yaml.parse(".nan", "t").value) == "nan"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML"),
        ("a:\n\t- 1\n", 2, "no tabs"),
        ("a: 1\nb: 2\na: 3\n", 3, "stands twice, first in line 1"),
        ("a: !!python/object:os.system 1\n", 1, "tag"),
        ("- !thing [1]\n", 1, "tag"),
        ("a: &x [*x]\n", 1, "an alias that contains itself"),
        ("? [1]\n: 2\n", 1, "a name must be a text"),
        ("base: &b {x: 1}\nc:\n  <<: *b\n", 3, "merge keys"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("a: \x07\n", 1, "does not allow"),
        ("a: *nothing\n", 1, "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(JobError, match=message) as caught:
        strict_yaml.parse(text, "job.yaml")
    assert caught.value.problems[0].line == line
    assert str(caught.value).startswith(f"job.yaml, line {line}: ")


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(JobError, match="more than 40,000 values once its aliases are expanded"):
        strict_yaml.parse(bomb, "bomb")


def test_depth_and_size_are_limited(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nested deeper than 32 levels"):
        strict_yaml.parse("[" * 40 + "]" * 40, "deep")
    with pytest.raises(JobError, match=r"nested deeper|maximum nesting depth"):
        strict_yaml.parse("[" * 100_000, "deeper")
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    with pytest.raises(JobError, match="larger than 1024 KiB"):
        strict_yaml.load(large)
    with pytest.raises(JobError, match="cannot be read: No such file"):
        strict_yaml.load(tmp_path / "absent.yaml")
    with pytest.raises(JobError, match="not UTF-8"):
        strict_yaml.parse(b"\xff\xfe\x00", "bytes")


def test_places_are_found_even_of_what_is_not_there() -> None:
    document = strict_yaml.parse("a:\n  b: [1,\n   2]\n", "t")
    assert document.locate(("a", "b", 1)) == (3, 4)
    assert document.locate(("a", "zzz")) == (1, 1)
    assert document.locate(()) == (1, 1)


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_a_clean_error(text: str) -> None:
    try:
        strict_yaml.parse(text, "any")
    except JobError as error:
        assert error.problems


_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
    | st.sampled_from(["1e3", "0o17", "0x1F", "1.", ".5", "-.inf", "null", "~", "", "no", "1:30", "2026-11-30", "a: b", "=", "<<"])
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_characters="\x7f", exclude_categories=["Cc"]), max_size=12),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.from_regex("[a-z1-9.]{1,8}", fullmatch=True), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.from_regex("[a-z]{1,8}", fullmatch=True), _plain, max_size=4))
def test_what_is_written_is_read_as_it_was(value: dict[str, Any]) -> None:
    """A text of a person that looks like a number stays one; by readers of YAML 1.1 too."""
    text = strict_yaml.dump(value)
    assert repr(strict_yaml.parse(text, "s").value) == repr(value)
    assert repr(yaml.safe_load(text)) == repr(value)


def test_values_that_stand_in_two_places_are_written_out() -> None:
    shared = {"type": "float", "bounds": [0, 1]}
    assert "&" not in strict_yaml.dump({"x": shared, "y": shared})
