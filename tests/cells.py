"""Stand-ins for what a slot's process is to its iterations."""

from __future__ import annotations

from collections.abc import Callable

from arbd.daemon.slots.cell import CLEAN, Finding
from arbd.objective.protocol import Plain


class KeepsNothing:
    """The part of an `Evaluator` that keeps no process between iterations, and is no function of parameters alone."""

    kept: tuple[int, ...] = ()
    plain: Plain | None = None

    def close(self) -> None:
        pass


class OpenCell:
    """A `Cell` in which nothing is looked at; `on_error` sees what an objective raised, `retires` ends the process."""

    def __init__(
        self,
        on_error: Callable[[BaseException], None] = lambda error: None,
        retires: Callable[[], bool] = lambda: False,
    ) -> None:
        self.evaluated = 0
        self.stain = ""
        self.is_foreign = False
        self._on_error = on_error
        self._retires = retires

    def baseline(self) -> None:
        return None

    def enter(self, baseline: object) -> None:
        pass

    def settle(self, baseline: object) -> Finding:
        return Finding(retire="something was left") if self._retires() else CLEAN

    def raised(self, error: BaseException) -> None:
        self._on_error(error)

    def leave(self, error: BaseException | None) -> None:
        raise AssertionError("nothing forks here")

    def seed(self, seed: int) -> None:
        pass

    def watch_randomness(self, seed: int) -> None:
        pass

    def randomness_used(self) -> bool:
        return False
