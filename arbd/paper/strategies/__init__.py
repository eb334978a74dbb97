"""Strategies of the paper engine. A new one is a new file here with a declaration `STRATEGY`.

What it does is in `reference/` for the reference engine and in `kernel/` for the compiled one; both know it by its
code. Those of other distributions cannot be added: the compiled engine sweeps over all strategies in one loop, which
is compiled and cached as a whole.
"""

from __future__ import annotations

from arbd.paper.strategy import Strategy
from arbd.registry import Registry

STRATEGIES: Registry[Strategy] = Registry("strategy", __name__, "STRATEGY", lambda: (Strategy,))


def by_code() -> dict[str, Strategy]:
    """All, in order of their codes, which are the numbers from 0 on."""
    found = sorted(((name, STRATEGIES.get(name)) for name in STRATEGIES.built_in()), key=lambda pair: pair[1].code)
    assert [strategy.code for _, strategy in found] == list(range(len(found)))
    return dict(found)
