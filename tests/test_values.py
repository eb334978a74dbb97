"""`arbd.values.dataclass` against the standard library's: all classes of arbd, and drawn ones."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import arbd
from arbd import values

# Those that what is not installed everywhere is for.
OPTIONAL = {"redis", "dask", "distributed", "optuna", "pyarrow", "prometheus_client", "matplotlib", "plotly", "pandas"}


def arbd_modules() -> list[ModuleType]:
    """All that can be imported here."""
    found = []
    for each in pkgutil.walk_packages(arbd.__path__, "arbd."):
        if (
            each.name.endswith("__main__")
            or each.name.endswith("_template")
            or each.name == "arbd.daemon.slots.template"
        ):
            continue
        try:
            found.append(importlib.import_module(each.name))
        except ModuleNotFoundError as error:
            assert (error.name or "").partition(".")[0] in OPTIONAL, error
    return found


def arbd_classes() -> list[type]:
    """All data classes that arbd defines."""
    return [
        value
        for module in arbd_modules()
        for value in vars(module).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__
    ]


def of_library(cls: Any, *, frozen: bool) -> Any:
    """The same fields, as the standard library makes a class of them."""
    fields = []
    for each in dataclasses.fields(cls):
        options: dict[str, Any] = {
            "init": each.init,
            "repr": each.repr,
            "compare": each.compare,
            "kw_only": each.kw_only,
        }
        for name in ("default", "default_factory"):
            if getattr(each, name) is not dataclasses.MISSING:
                options[name] = getattr(each, name)
        fields.append((each.name, each.type, dataclasses.field(**options)))
    return dataclasses.make_dataclass(cls.__name__, fields, frozen=frozen)


def parameters(cls: type) -> list[tuple[str, Any, bool]]:
    """Names, kinds, and whether they may be left out."""
    given = inspect.signature(cls).parameters.values()
    return [(each.name, each.kind, each.default is not inspect.Parameter.empty) for each in given]


def refuses_assignment(cls: type) -> bool:
    return cls.__setattr__ is values._refuse_assignment


def test_each_data_class_of_arbd_takes_what_the_standard_library_would_have_it_take() -> None:
    classes = arbd_classes()
    assert len(classes) > 300
    for cls in classes:
        initial = [name for name, kind in vars(cls).get("__annotations__", {}).items() if "InitVar" in str(kind)]
        if vars(cls).get("__init__") is not None and not initial:
            twin = of_library(cls, frozen=refuses_assignment(cls))
            assert parameters(cls) == parameters(twin), cls
            assert cls.__match_args__ == twin.__match_args__, cls  # type: ignore[attr-defined]


OF_NAMES = ["one", "two", "three", "four"]


@st.composite
def made_twice(draw: st.DrawFn) -> tuple[type, type, dict[str, Any]]:
    """The same definition by both, and arguments for it."""
    options = {
        "frozen": draw(st.booleans()),
        "eq": draw(st.booleans()),
        "slots": draw(st.booleans()),
        "kw_only": draw(st.booleans()),
        "order": False,
    }
    if options["eq"]:
        options["order"] = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(OF_NAMES), unique=True))
    defaults = sorted(draw(st.lists(st.sampled_from(["no", "yes", "made", "hidden", "left out"]), min_size=len(names),
                                    max_size=len(names))), key=["no", "yes", "made", "hidden", "left out"].index)  # fmt: skip
    has_hook, has_hash, has_eq = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    pair = []
    for decorator in (values.dataclass, dataclasses.dataclass):
        body: dict[str, Any] = {"__annotations__": dict.fromkeys(names, "int"), "__doc__": "A class.", "seen": []}
        body["__module__"], body["__qualname__"] = __name__, "Drawn"
        if has_hook:
            body["__post_init__"] = lambda self: type(self).seen.append(tuple(getattr(self, name) for name in names))
        if has_hash:
            body["__hash__"] = lambda self: 17
        if has_eq:
            body["__eq__"] = lambda self, other: True
        for name, default in zip(names, defaults, strict=True):
            if default == "yes":
                body[name] = 5
            elif default == "made":
                body[name] = dataclasses.field(default_factory=lambda: [1])
            elif default == "hidden":
                body[name] = dataclasses.field(default=6, repr=False, compare=False)
            elif default == "left out":
                body[name] = dataclasses.field(default_factory=lambda: 7, init=False)
        pair.append(decorator(**options)(type("Drawn", (), body)))
    needed = [name for name, default in zip(names, defaults, strict=True) if default == "no"]
    more = [name for name, default in zip(names, defaults, strict=True) if default in ("yes", "made", "hidden")]
    told = {*needed, *(name for name in more if draw(st.booleans()))}
    return pair[0], pair[1], {name: draw(st.integers(0, 2)) for name in names if name in told}


def outcome(ask: Any) -> Any:
    try:
        return ask()
    except (TypeError, AttributeError, ValueError) as error:
        return type(error), str(error)


def answers_of(cls: Any, arguments: dict[str, Any], other: int) -> list[Any]:
    """What a class and a value of it answer to everything that can be asked of them."""
    value, same = cls(**arguments), cls(**arguments)
    changed = dict.fromkeys(arguments, other)
    names = [field.name for field in dataclasses.fields(cls)]
    positional = outcome(lambda: dataclasses.asdict(cls(*arguments.values())))
    is_before = outcome(lambda: value < same)
    told = [
        parameters(cls),
        positional if isinstance(positional, dict) else "takes names alone",
        repr(value).replace(hex(id(value)), ""),
        (value == same, value != same, value == cls(**changed), value == 5),
        outcome(lambda: hash(value)) if cls.__hash__ is not object.__hash__ else "its identity",
        is_before if isinstance(is_before, bool) else "no order",
        [outcome(lambda name=name: setattr(value, name, other)) for name in names],
        [outcome(lambda name=name: delattr(same, name)) for name in names],
        dataclasses.asdict(dataclasses.replace(cls(**arguments), **changed)),
        (cls.__match_args__, cls.seen, hasattr(value, "__dict__")),
    ]
    sys.modules[__name__].Drawn = cls  # type: ignore[attr-defined]
    copies = copy.copy(cls(**arguments)), pickle.loads(pickle.dumps(cls(**arguments)))
    return [*told, *map(dataclasses.asdict, copies)]


@given(drawn=made_twice(), other=st.integers(0, 2))
def test_a_data_class_does_what_the_standard_librarys_does(drawn: tuple[Any, Any, dict[str, Any]], other: int) -> None:
    ours, library, arguments = drawn
    assert answers_of(ours, arguments, other) == answers_of(library, arguments, other)


@pytest.mark.parametrize("above", [values.dataclass, dataclasses.dataclass], ids=["ours", "the library's"])
@pytest.mark.parametrize("below", [values.dataclass, dataclasses.dataclass], ids=["ours", "the library's"])
@pytest.mark.parametrize("slots", [False, True])
def test_a_class_is_derived_from_one_that_is_as_frozen_whoever_made_them(above: Any, below: Any, slots: bool) -> None:
    @above(frozen=True, slots=slots)
    class Above:
        a: int

    @below(frozen=True, slots=slots)
    class Below(Above):
        b: int = 2

    made = Below(1)
    assert (made, hash(made), shown(made)) == (Below(1, 2), hash(Below(1, 2)), "Below(a=1, b=2)")
    for name in ("a", "b"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 3)
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):

        @below
        class Open(Above):
            c: int = 3


def shown(made: object) -> str:
    return repr(made).rpartition(".")[2]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("slots", [True, False])
def test_a_field_that_nobody_gives_has_its_default(frozen: bool, slots: bool) -> None:
    for made in (values.dataclass, dataclasses.dataclass):

        @made(frozen=frozen, slots=slots)
        class Holder:
            given: int
            fixed: int = dataclasses.field(default=3, init=False)
            made: list[int] = dataclasses.field(default_factory=list, init=False)

        found = Holder(1)
        assert (found.given, found.fixed, found.made) == (1, 3, [])
        assert repr(found).endswith("Holder(given=1, fixed=3, made=[])")
        assert [name for name, *_ in parameters(Holder)] == ["given"]


def test_what_is_not_as_in_the_standard_library_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(TypeError, match="Early.first: a frozen class"):

        @values.dataclass(frozen=True)
        class Early:
            first: dataclasses.InitVar[int]

    @values.dataclass
    class Loose:
        value: int

    @values.dataclass(frozen=True)
    class Fixed:
        value: int

    for made in (values.dataclass, dataclasses.dataclass):
        with pytest.raises(TypeError, match="cannot inherit frozen dataclass from a non-frozen one"):

            @made(frozen=True)
            class Tight(Loose):
                other: int = 0

        with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):

            @made
            class Wide(Fixed):
                other: int = 0
