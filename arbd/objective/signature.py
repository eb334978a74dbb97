"""How a Python objective is called: which of trial, budget and window it takes, and whether by name or by place.

`foreign.py` loads it too, in another interpreter: it is written for Python 3.8 and imports the standard library alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, NamedTuple

BUDGET, TRIAL, WINDOW = "budget", "trial", "window"
NAMES = (TRIAL, BUDGET, WINDOW)


class Call(NamedTuple):
    """What a function gets behind its parameters: by place, and by the names that it has for it.

    `keeps_window`: where there is no window, it keeps its own default for it.
    """

    by_place: tuple[str, ...] = ()
    by_name: tuple[tuple[str, str], ...] = ()
    keeps_window: bool = False

    @property
    def takes(self) -> frozenset[str]:
        """Which of `NAMES`."""
        return frozenset((*self.by_place, *(what for _, what in self.by_name)))

    def arguments(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Those behind the parameters, of the values by `NAMES`."""
        left_out = WINDOW if self.keeps_window and values[WINDOW] is None else ""
        named = {name: values[what] for name, what in self.by_name if what != left_out}
        return tuple(values[what] for what in self.by_place), named


def call_of(function: Callable[..., object]) -> Call:
    """How a function is called; TypeError when it takes none or too many parameters for that.

    Its first parameter gets the parameters, whatever it is called. `trial`, `budget` and `window` are known by their names;
    another second parameter without a default is the trial.
    """
    try:
        given = list(inspect.signature(function).parameters.values())
    except ValueError:
        return Call()
    placed = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    behind = [*placed[1:], *(p for p in given if p.kind is p.KEYWORD_ONLY)]
    meanings = {p.name: p.name for p in behind if p.name in NAMES}
    required = [p for p in (*placed[:1], *behind) if p.default is p.empty and p.name not in (BUDGET, WINDOW)]
    required = [p for p in required if p.kind is not p.KEYWORD_ONLY or p.name == TRIAL]
    # A wrapper that hands on whatever it gets has no places: what every function takes is `params`.
    if not (placed or any(p.kind is p.VAR_POSITIONAL for p in given)) or len(required) > 2:
        raise TypeError(f"takes {len(required)} parameters")
    second = next((p for p in placed[1:] if p.name not in NAMES), None)
    if second is not None and second.default is Parameter.empty:
        meanings.pop(TRIAL, None)
        meanings[second.name] = TRIAL
    by_place: list[str] = []
    for at, parameter in enumerate(placed[1:]):
        what = meanings.get(parameter.name)
        # A decorated function may take by its place alone what the one within it has a name for.
        if what is None or not (parameter.kind is parameter.POSITIONAL_ONLY or (at == 0 and what == TRIAL)):
            break
        by_place.append(meanings.pop(parameter.name))
    keeps = any(p.name == WINDOW and p.name in meanings and p.default is not p.empty for p in behind)
    return Call(tuple(by_place), tuple(meanings.items()), keeps)
