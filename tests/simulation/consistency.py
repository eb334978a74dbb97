"""Every folded state and every turn of a coordinator is looked at: is it one that there can be?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from arbd.daemon.core.coordinator import Coordinator
from arbd.spool.ledger import LedgerState
from arbd.spool.ledger_records import LedgerRecord


@contextlib.contextmanager
def states_checked() -> Iterator[None]:
    """AssertionError as soon as a ledger's state after a fold, or a session's after a turn, contradicts itself."""
    fold, turn = LedgerState.fold, Coordinator._turn

    def fold_and_check(self: LedgerState, record: LedgerRecord) -> None:
        fold(self, record)
        self.assert_consistent()

    def turn_and_check(self: Coordinator) -> None:
        turn(self)
        for work in self._work.values():
            work.assert_consistent()

    with (
        mock.patch.object(LedgerState, "fold", fold_and_check),
        mock.patch.object(Coordinator, "_turn", turn_and_check),
    ):
        yield
