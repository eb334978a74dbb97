"""What a session gives of one iteration in Python: the best result, and one that was run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from arbd.api.table import html_table
from arbd.values import dataclass


@dataclass(frozen=True, slots=True)
class Best:
    """The best result: its parameters, those that were fixed included, its metrics and its iteration."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    iteration: int

    def _repr_html_(self) -> str:
        rows = [[name, value] for name, value in {**self.params, **self.metrics}.items()]
        return f"<p>iteration {self.iteration}</p>{html_table(['', ''], rows)}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """An iteration that was run again. `equal`: every metric has the recorded bits.

    Of a paper session `trades` are the fills in order of execution, and `equity` is the equity on the grid by market, in
    the currency of venue A.
    """

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    equal: bool
    trades: Sequence[Mapping[str, Any]] = ()
    equity: Mapping[str, Any] = field(default_factory=dict)
