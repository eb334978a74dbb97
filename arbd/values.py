"""Data classes as the standard library's, made four times as fast.

The standard library compiles six methods for each class when its module is imported: a third of the processor time in which
a daemon or a command starts. Here one is compiled, `__init__` with its parameters, and the others are functions that all
classes share. Fields, slots, `replace`, `asdict`, pickling and what type checkers see are the standard library's own.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ("dataclass",)

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, order=False, slots=False, kw_only=False):
        """As `dataclasses.dataclass`."""

        def make(cls: type) -> type:
            return _made(cls, frozen=frozen, eq=eq, order=order, slots=slots, kw_only=kw_only)

        return make if cls is None else make(cls)


def _made(cls: type, *, frozen: bool, eq: bool, order: bool, slots: bool, kw_only: bool) -> type:
    if order:
        return dataclasses.dataclass(frozen=frozen, eq=eq, order=True, slots=slots, kw_only=kw_only)(cls)
    _require_bases_fit(cls, frozen=frozen)
    own = dict(cls.__dict__)
    if not cls.__doc__:
        # Else the standard library makes one of the signature, which takes as long as all the rest.
        cls.__doc__ = cls.__name__
    has_init = "__init__" in own
    by_library = dataclasses.dataclass(
        init=not (frozen or has_init), repr=False, eq=False, frozen=frozen and _has_frozen_base(cls), slots=slots,
        kw_only=kw_only,
    )  # fmt: skip
    made: Any = by_library(cls)
    # As whoever derives a class of it is asked by the standard library.
    made.__dataclass_params__.frozen = frozen
    methods: dict[str, Any] = {"__repr__": _repr}
    if frozen:
        methods |= {"__setattr__": _refuse_assignment, "__delattr__": _refuse_deletion}
        if not has_init:
            methods["__init__"] = _init_of(made, slots=slots)
        if slots:
            methods |= {"__getstate__": _state, "__setstate__": _set_state}
    if eq:
        methods |= _comparison(made, frozen=frozen)
        if own.get("__hash__") is None:
            # Python's own, of a class that has an `__eq__`.
            own.pop("__hash__", None)
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    decorated: type = made
    return decorated


def _require_bases_fit(cls: type, *, frozen: bool) -> None:
    """The other way round the standard library refuses it, and it sees those of the bases."""
    if frozen and any(map(dataclasses.is_dataclass, cls.__mro__[1:])) and not _has_frozen_base(cls):
        raise TypeError(f"{cls.__qualname__}: cannot inherit frozen dataclass from a non-frozen one")


def _has_frozen_base(cls: type) -> bool:
    return any(base.__dataclass_params__.frozen for base in cls.__mro__[1:] if hasattr(base, "__dataclass_params__"))


def _init_of(cls: Any, *, slots: bool) -> Callable[..., None]:
    """What assigns to the fields of a class that refuses it; only this is compiled, so that calls cost what they did."""
    others = cls.__dataclass_fields__.keys() - {field.name for field in dataclasses.fields(cls)}
    if odd := [name for name in sorted(others) if "InitVar" in str(cls.__dataclass_fields__[name].type)]:
        raise TypeError(f"{cls.__qualname__}.{odd[0]}: a frozen class of arbd.values has no InitVar; use dataclasses")
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
    positional: list[str] = ["self"]
    keyword: list[str] = []
    lines: list[str] = []
    annotations: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        name, parameter, value = field.name, field.name, field.name
        if field.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
            value = name if field.init else f"_default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_missing"
            value = f"_make_{name}() if {name} is _missing else {name}" if field.init else f"_make_{name}()"
        if field.init:
            (keyword if field.kw_only else positional).append(parameter)
            annotations[name] = field.type
        # A slot has no value of its class's to fall back on.
        in_slot = slots and field.default is not dataclasses.MISSING
        if field.init or field.default_factory is not dataclasses.MISSING or in_slot:
            lines.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    parameters = ", ".join([*positional, *(["*", *keyword] if keyword else [])])
    exec(f"def __init__({parameters}):\n" + ("\n".join(lines) or " pass"), names)  # noqa: S102 - names of fields alone
    init: Callable[..., None] = names["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    init.__annotations__ = {**annotations, "return": None}
    return init


def _comparison(cls: Any, *, frozen: bool) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(cls) if field.compare]
    key: Callable[[object], tuple[Any, ...]]
    if len(names) == 1:
        one = operator.attrgetter(names[0])

        def key(self: object) -> tuple[Any, ...]:
            return (one(self),)
    else:
        key = operator.attrgetter(*names) if names else lambda self: ()

    def equal(self: object, other: object) -> bool:
        # Of exactly this class, as ever: a subclass has fields that this knows nothing of.
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return {"__eq__": equal, "__hash__": (lambda self: hash(key(self))) if frozen else None}


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    values = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({', '.join(values)})"


def _refuse_assignment(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
